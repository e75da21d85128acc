"""How a script is stopped: politely, then not, and within a second.

    INT    to the job in the foreground and to the shell, which then gives the script up
    TERM   to all that the script started
    KILL   to what is left of that
    the end of the shell, if it is still not back at its prompt, or if all that took too long

The last of these takes one signal, whose effect no number of processes can delay for long. With a fork bomb
in all cores we may be woken too late even to send it, so the leash is told first, and does it unless we tell
it not to. What the script started in the background is ended as well. It is a signal and no typed Ctrl-C,
since a program may read that as any other key.
"""

import signal
from collections.abc import Callable
from typing import TypeAlias

import anyio

from eai_mcp.terminal import launcher, processes
from eai_mcp.terminal.processes import Process
from eai_mcp.terminal.run import Run
from eai_mcp.terminal.shell import Shell

Find: TypeAlias = Callable[[], set[Process]]

POLITE_S = 0.5  # for all steps together but the last
LEASH_S = 0.3
LOOKS = 4
AFTER_INT_S, AFTER_TERM_S, KILL_LIMIT_S, BACK_S = 0.2, 0.15, 0.15, 0.1


async def stopped(run: Run, shell: Shell, began: int) -> None:
    """End the script, and what began with it at `began` or later."""

    def started() -> set[Process]:
        return processes.since(began, shell.pty.pid, shell.pid)

    over = False
    processes.send(launcher.END_SOON, [shell.pty.pid])
    with anyio.move_on_after(POLITE_S):
        over = await _given_up(run, shell, started) and await _gone(started)
    if over:
        processes.send(launcher.END_NOT, [shell.pty.pid])
    else:
        await shell.end("interrupt", polite_s=LEASH_S)


async def _given_up(run: Run, shell: Shell, started: Find) -> bool:
    """Whether the shell is back at its prompt."""
    shell.pty.forget_input()
    if not await _interrupted(run, shell) and (left := await processes.found(started)):
        processes.send(signal.SIGTERM, (process.pid for process in left))
        shell.signal_foreground(signal.SIGINT)
        await _over(run, AFTER_TERM_S)
    if not run.done.is_set():
        await processes.ended(started, within_s=KILL_LIMIT_S)
        shell.signal_foreground(signal.SIGINT)
        await _over(run, BACK_S)
    return run.done.is_set()


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


async def _gone(started: Find) -> bool:
    """Whether what the script left is ended too, by force if it must be."""
    if left := await processes.surely(started):
        processes.send(signal.SIGTERM, (process.pid for process in left))
        with anyio.move_on_after(AFTER_TERM_S):
            while await processes.found(started):  # noqa: ASYNC110  # nobody tells of the end of no child of ours
                await anyio.sleep(processes.LOOK_S)
        return await processes.ended(started, within_s=KILL_LIMIT_S)
    return True
