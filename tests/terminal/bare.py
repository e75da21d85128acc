"""A shell in a folder without any sandbox, and terminals of such shells."""

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from eai_mcp.observe import Fact
from eai_mcp.terminal import Limits
from eai_mcp.terminal.run import Run
from eai_mcp.terminal.sandbox import Launch
from eai_mcp.terminal.terminals import Shelter, Terminals

# Orphans stay below the shell, as below the launcher.
ADOPTING = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0);"
    " signal.signal(signal.SIGPIPE, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Bare:
    """The seam's fake: plain bash. `released` names the terminals that were given back."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.released: list[tuple[str, str]] = []

    async def prepared(self, space: str, pty_session_id: str, *, rc: str) -> Launch:
        work = self.folder(space, pty_session_id)
        scripts = work.with_name("scripts")
        for folder in (work, scripts):
            folder.mkdir(parents=True, exist_ok=True)
        (scripts / "rc").write_text(rc, encoding="utf-8")
        shell = ("bash", "--noprofile", "--rcfile", str(scripts / "rc"), "--noediting", "-i")
        return Launch(
            argv=(sys.executable, "-I", "-S", "-c", ADOPTING, *shell) if sys.platform == "linux" else shell,
            env={"PATH": os.environ["PATH"], "HOME": str(work), "LANG": "C.UTF-8", "TERM": "xterm-256color"},
            cwd=work,
            scripts=scripts,
            scripts_inside=str(scripts),
            state=work.with_name("state"),
            state_inside=str(work.with_name("state")),
            release=lambda: self.released.append((space, pty_session_id)),
        )

    def folder(self, space: str, pty_session_id: str) -> Path:
        return self.root / f"space-{space}" / pty_session_id / "work"


class Floor:
    """Terminals in a folder, with what was told of them and a clock that stands still."""

    def __init__(self, terminals: Terminals, sandbox: Bare, tasks: TaskGroup, told: list[Fact]) -> None:
        self.tasks = tasks
        self.terminals = terminals
        self.sandbox = sandbox
        self.told = told
        self.now = 0.0

    async def run(self, script: str, *, at: str = "work", space: str = "") -> Run:
        """A script that has ended."""
        run = await self.terminals.run(space, at, script)
        with anyio.fail_after(15):
            await run.done.wait()
        return run

    async def said(self, script: str, *, at: str = "work", space: str = "") -> tuple[str, int | None]:
        """What a script printed, and its exit code."""
        run = await self.run(script, at=at, space=space)
        return run.page().text, run.exit_code

    async def started(self, script: str, *, until: str, at: str = "work") -> Run:
        """A script that has printed this."""
        run = await self.terminals.run("", at, script)
        await printed(run, until)
        return run


@asynccontextmanager
async def floor(folder: Path, *, sandbox: Shelter | None = None, **limits: Any) -> AsyncIterator[Floor]:
    """Terminals that are gone at the end."""
    bare, told = Bare(folder), list[Fact]()
    async with anyio.create_task_group() as tasks:
        terminals = Terminals(
            sandbox=sandbox or bare,
            tasks=tasks,
            limits=Limits(**limits),
            observe=told.append,
            clock=lambda: made.now,
        )
        made = Floor(terminals, bare, tasks, told)
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await terminals.aclose()
            tasks.cancel_scope.cancel()
            shutil.rmtree(folder, ignore_errors=True)


async def printed(run: Run, text: str) -> None:
    """Wait until the run has printed this."""
    with anyio.fail_after(10):
        while text not in run.page(tail=4000).text:
            assert not run.done.is_set(), run.page().text
            await anyio.lowlevel.checkpoint()


def alive(pid: int) -> bool:
    """Whether a process runs; one whose parent has not asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
