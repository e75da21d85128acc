"""How a script is stopped: politely, then not, and within a second.

    INT    to the job in the foreground and to the shell, which then gives the script up
    TERM   to all that the script started
    KILL   to what is left of that
    the end of the shell, if it is still not back at its prompt

What the script started in the background is ended as well. It is a signal and no typed Ctrl-C, since a
program may read that as any other key.
"""

import signal
from collections.abc import Callable

import anyio

from eai_mcp.terminal import processes
from eai_mcp.terminal.processes import Process
from eai_mcp.terminal.run import Run
from eai_mcp.terminal.shell import Shell

LOOKS = 4
AFTER_INT_S, AFTER_TERM_S, KILL_LIMIT_S, BACK_S = 0.2, 0.15, 0.15, 0.1


async def stopped(run: Run, shell: Shell, began: int) -> None:
    """End the script, and what began with it at `began` or later."""

    def started() -> set[Process]:
        return processes.since(began, shell.pty.pid, shell.pid)

    if not await _interrupted(run, shell) and (left := started()):
        processes.send(signal.SIGTERM, (process.pid for process in left))
        shell.signal_foreground(signal.SIGINT)
        await _over(run, AFTER_TERM_S)
    if not run.done.is_set():
        await processes.ended(started, within_s=KILL_LIMIT_S)
        shell.signal_foreground(signal.SIGINT)
        await _over(run, BACK_S)
    if not run.done.is_set():
        await shell.end("interrupt", polite_s=0.05)
    elif left := processes.surely(started):
        processes.send(signal.SIGTERM, (process.pid for process in left))
        await _gone(started)
        if not await processes.ended(started, within_s=KILL_LIMIT_S):
            await shell.end("interrupt", polite_s=0.05)


async def _interrupted(run: Run, shell: Shell) -> bool:
    """Whether SIGINT ended it. Who takes the foreground just then hears it too, but nobody twice."""
    told = shell.signal_foreground(signal.SIGINT)
    for _ in range(LOOKS):
        if await _over(run, AFTER_INT_S / LOOKS):
            return True
        if shell.pty.foreground != told:
            told = shell.signal_foreground(signal.SIGINT)
    return False


async def _over(run: Run, within_s: float) -> bool:
    with anyio.move_on_after(within_s):
        await run.done.wait()
    return run.done.is_set()


async def _gone(started: Callable[[], set[Process]]) -> None:
    with anyio.move_on_after(AFTER_TERM_S):
        while started():  # noqa: ASYNC110  # nobody tells of the end of what is not our child
            await anyio.sleep(processes.LOOK_S)
