"""What a client hears while its call waits for something else than a reply, on a clock that jumps."""

import anyio
import mcp_types as types
import pytest
from trio.testing import MockClock

from tests.fakes import Held
from tests.server.sitting import Sitting, asks, at
from tests.server.tasking import Polling, talk

LEGACY, MODERN = "legacy", "2026-07-28"


@pytest.fixture
def anyio_backend():
    """Seconds pass as soon as everybody waits."""
    return ("trio", {"clock": MockClock(autojump_threshold=0.01)})


class Heard:
    """What came as progress: seconds and words."""

    def __init__(self):
        self.told = []

    async def __call__(self, seconds, total, text):
        self.told.append((seconds, text))


def rising(heard):
    seconds = [each for each, _ in heard.told]
    return seconds == sorted({*seconds})


@pytest.mark.parametrize("era", [MODERN])
async def test_who_takes_tasks_waits_in_line_as_long_as_others_and_hears_so(connected):
    """Issue 8: "heartbeat every 5 s", "strictly rising"; a task is made once its turn has begun."""
    first, heard, answers = Held(), Heard(), []
    options = {"extensions": [Polling()]}
    async with connected(first, Held("", "framed"), client=options) as (client, _):
        await talk(client, timeout_ms=0)

        async def wait():
            arguments = {"content": "frame", "if_busy": "wait"}
            answers.append(
                await client.session.call_tool("talk", arguments, progress_callback=heard, allow_claimed=True)
            )

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.sleep(6)
            first.let_go.set()
    assert answers[0].model_extra["status"] == "working"
    assert heard.told[0][1] == "waiting for session 'default' (5 s)"
    assert rising(heard)


@pytest.mark.parametrize("era", [LEGACY])
@pytest.mark.parametrize("mode", ["human", "function"])
async def test_while_a_form_is_open_there_are_signs_of_life(connected, mode):
    """Issue 8: "heartbeat every 5 s", "strictly rising"."""

    async def slowly():
        await anyio.sleep(6)
        return types.ElicitResult(action="decline")

    heard = Heard()
    async with connected(asks("Which colour?"), **at(Sitting(slowly))) as (client, _):
        arguments = {"content": "paint", "mode": mode, "timeout_ms": 60_000}
        await client.call_tool("talk", arguments, progress_callback=heard)
    assert heard.told[-1][1] == "waiting for the person at the client (5 s)"
    assert rising(heard)
