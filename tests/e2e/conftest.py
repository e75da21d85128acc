"""The built wheel in an environment of its own, the way a user has it, and the embedded model's weights."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.silent_provider import built

TOP = Path(__file__).parents[2]
CLEAN = {"EAI_MCP_STORE": "memory:"} | {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("EAI_MCP_", "COVERAGE_", "PYTHON")) and not name.endswith("_API_KEY")
}


@pytest.fixture(scope="session")
def anyio_backend():
    """Real processes do not care which loop watches them."""
    return "asyncio"


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The folder with the commands of a fresh environment in which the wheel was installed with pip."""
    if given := os.environ.get("EAI_MCP_TEST_INSTALLED"):
        return Path(given)
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, TOP)
    (wheel,) = folder.glob("eai_mcp-*.whl")
    run(sys.executable, "-m", "venv", folder / "venv")
    commands = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(commands / "python", "-m", "pip", "install", "--quiet", f"{wheel}[local]")
    return commands


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where downloads are kept for the whole run."""
    return Path(os.environ.get("EAI_MCP_TEST_CACHE") or tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def fetched(installed, cache):
    """The same folder, once `eai-mcp fetch` has been there."""
    run(installed / "eai-mcp", "fetch", env={**CLEAN, "EAI_MCP_CACHE": str(cache)})
    return cache


@pytest.fixture
def environment(tmp_path, cache):
    """What a host hands to the server: no keys, and folders of this test's own."""
    return {**CLEAN, "EAI_MCP_CACHE": str(cache), "EAI_MCP_CONFIG": str(tmp_path / "config")}


@pytest.fixture
async def house(installed, environment, tmp_path):
    """Servers that share one file with sessions, and a provider that records who asks and who leaves."""
    async with built(installed, environment, tmp_path) as house:
        yield house


@pytest.fixture
def work():
    """Where work directories may be, also for the other users as whom root's terminals run."""
    folder = Path(tempfile.mkdtemp(prefix="eai-mcp-work-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run(*command, **options):
    """Run a command to its end, and show what it said if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done
