import os
import signal

import anyio
import pytest

from eai_mcp.server.shutdown import AT_ONCE, TOO_LATE, Ending


@pytest.fixture
def quits():
    """The exit codes with which the process would have ended."""
    return []


@pytest.fixture
def ending(quits):
    return Ending(limit_s=None, quit_now=quits.append)


@pytest.fixture
def handlers():
    """Puts the handlers of all signals back that a test changes."""
    changed = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in changed}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_first_signal_asks_for_the_end_and_the_second_quits(ending, handlers, number):
    quit_code = anyio.Event()
    ending = Ending(limit_s=None, quit_now=lambda code: quit_code.set())
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await tasks.start(ending.watch_signals)
            os.kill(os.getpid(), number)
            await ending.asked.wait()
            assert not quit_code.is_set()
            os.kill(os.getpid(), number)
            await quit_code.wait()
            tasks.cancel_scope.cancel()


async def test_a_signal_that_our_starter_ignores_stays_ignored(ending, handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await tasks.start(ending.watch_signals)
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert not ending.asked.is_set()
            tasks.cancel_scope.cancel()


async def test_with_every_signal_ignored_there_is_nothing_to_watch(ending, handlers):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await tasks.start(ending.watch_signals)


async def test_the_death_of_the_parent_asks_for_the_end(ending):
    parents = iter([500, 500, 1])
    with anyio.fail_after(5):
        await ending.watch_parent(parent=lambda: next(parents), every_s=0)
    assert ending.asked.is_set()


async def test_after_the_limit_the_process_is_ended_hard(capfd):
    quit_codes = []
    gone, send = anyio.Event(), anyio.from_thread.BlockingPortal()
    async with send:

        def quit_now(code):
            quit_codes.append(code)
            send.call(gone.set)

        ending = Ending(limit_s=0.01, quit_now=quit_now)
        with anyio.fail_after(5):
            ending.begin("asked")
            ending.begin("asked again")
            await gone.wait()
    assert quit_codes == [TOO_LATE]
    assert "cleaning up took longer than 0.01 s" in capfd.readouterr().err


async def test_once_nobody_watches_a_signal_quits_at_once(ending, quits, handlers):
    ending.leave()
    assert ending.asked.is_set()
    os.kill(os.getpid(), signal.SIGTERM)
    assert quits == [AT_ONCE]
