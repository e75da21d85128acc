"""Scripts whose caller leaves while they are being started: the next one is none the worse."""

import anyio
import pytest


@pytest.mark.parametrize("after_ms", [0, 1, 5, 10, 20, 30, 40, 60, 80])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_script_that_is_given_up_while_it_starts_leaves_a_terminal_that_works(
    ground, after_ms, is_first
):
    """Issue 7: interrupt: "history valid, next turn clean", at any moment."""
    if not is_first:
        await ground.run("true")
    with anyio.move_on_after(after_ms / 1000):
        run = await ground.terminals.run("", "work", "sleep 1000")
        await run.wait(60)
    for known in ground.terminals.standing(""):
        if (running := ground.terminals.running("", known.pty_session_id)) is not None:
            await running.interrupt()
    with anyio.fail_after(10):
        assert await ground.said("echo fine; (exit 3)") == ("fine\n", 3)
