"""Watches a script while it runs: whether a program waits to be typed to, and whether the shell has ended."""

import anyio
from anyio import to_thread

from eai_mcp.terminal import processes, waiting
from eai_mcp.terminal.clean import cleaned
from eai_mcp.terminal.run import Run
from eai_mcp.terminal.shell import Shell

QUIET_S = 0.3
FIRST_LOOK_S, LAST_LOOK_S, SLOWER = 0.1, 1.0, 1.5
LAST_LINE = 400


async def watched(run: Run, shell: Shell) -> None:
    """Look now and then, less often while nothing changes."""
    pause = FIRST_LOOK_S
    while not run.done.is_set():
        changed, stirred_at = run.changed, run.stirred_at
        with anyio.move_on_after(pause):
            await changed.wait()
        if run.done.is_set():
            return
        if shell.pty.reaped():
            await shell.end("")  # a program that it left has the terminal open, so its end is not read
            return
        quiet = anyio.current_time() - run.stirred_at
        if quiet < QUIET_S:
            pause = max(QUIET_S - quiet, FIRST_LOOK_S)
            continue
        run.waits(await waits(run, shell))
        pause = FIRST_LOOK_S if run.stirred_at != stirred_at else min(pause * SLOWER, LAST_LOOK_S)


async def waits(run: Run, shell: Shell) -> bool:
    """Whether a program of the script waits to be typed to; where that cannot be known, by its last line."""
    said = await to_thread.run_sync(_said, shell.pid, shell.pty.foreground, abandon_on_cancel=True)
    if said is None:
        output = run.output
        near = output.read(max(output.total - LAST_LINE, output.dropped), output.total)
        return waiting.looks_like_prompt(cleaned(near).rpartition("\n")[2])
    return said


def _said(shell: int, foreground: int) -> bool | None:
    # Of a storm of programs there is no end of looking, and so long nothing else is watched here.
    return waiting.reads(processes.group(shell, foreground))
