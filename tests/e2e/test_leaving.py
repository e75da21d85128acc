"""Turns whose caller does not wait for the end: time-outs, cancelled calls, limits; and over HTTP."""

import anyio
import pytest
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.silent_provider import answered, asking, begun, dialogue, heard, told
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])


async def left(asked):
    with anyio.fail_after(10):
        await asked.left.wait()


async def cancel(wire, number):
    params = {"requestId": number, "reason": "enough"}
    await wire.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


@ERAS
async def test_a_turn_may_be_stopped_at_the_time_limit_of_its_caller(house, era):
    """Issue 4: `timeout_ms` and `on_timeout`."""
    async with house.server(era=era) as wire:
        stopped = await told(
            wire, "talk", content="a story", model="held", timeout_ms=3000, on_timeout="interrupt"
        )
        assert (stopped["status"], stopped["reply"]) == ("interrupted", "So far. ")
        assert stopped["warnings"] == ["stopped after 3 s, as asked"]
        await left(house.provider.asked[0])
        assert (await told(wire, "talk", content="go on", model="echo"))["reply"] == "messages=3 last=go on"


@ERAS
async def test_without_a_limit_of_its_own_a_call_waits_as_long_as_the_server_says(house, era):
    """Issue 4: the server's `inline_wait`."""
    async with house.server("--inline-wait", "0.3", era=era) as wire:
        running = await told(wire, "talk", content="a story", model="held")
        assert running["status"] == "running"
        assert (await told(wire, "wait_for_reply"))["status"] == "running"
        (await house.provider.request(1)).go_on.set()
        assert (await told(wire, "wait_for_reply", timeout_ms=9000))["reply"] == "So far. The rest."


@ERAS
async def test_a_cancelled_call_only_leaves_its_turn(house, era):
    """Issue 4: detach on disconnect."""
    async with house.server(era=era) as wire:
        number, asked = await asking(house, wire, content="a story", model="held")
        standing = await heard(wire)
        await cancel(wire, number)
        assert (await told(wire, "wait_for_reply", timeout_ms=300))["status"] == "running"
        assert not asked.left.is_set()
        asked.go_on.set()
        done = await told(wire, "wait_for_reply")
        assert (done["turn_id"], done["reply"]) == (standing["turn_id"], "So far. The rest.")


@ERAS
async def test_a_cancelled_call_stops_its_turn_where_the_operator_wants_that(house, era):
    """Issue 4: interrupt on disconnect."""
    async with house.server("--on-disconnect", "interrupt", era=era) as wire:
        number, asked = await asking(house, wire, content="a story", model="held")
        standing = await heard(wire)
        await cancel(wire, number)
        await left(asked)
        done = await told(wire, "wait_for_reply", turn_id=standing["turn_id"])
        assert (done["status"], done["reply"]) == ("interrupted", "So far. ")
        assert done["warnings"] == ["stopped: its caller left"]


async def test_a_caller_that_leaves_stops_nothing_while_another_waits_for_the_same_request(house):
    """DESIGN section 4: `on_disconnect: interrupt` ends what nobody waits for."""
    async with house.server("--on-disconnect", "interrupt") as wire:
        first, asked = await asking(house, wire, content="a story", model="held", request_id="r1")
        joined = await begun(wire, content="a story", model="held", request_id="r1")
        await told(wire, "list_sessions")
        await cancel(wire, joined)
        await told(wire, "list_sessions")
        asked.go_on.set()
        assert (await answered(wire, first))["status"] == "completed"


@ERAS
async def test_a_call_that_was_cancelled_while_it_stood_in_line_says_nothing(house, era):
    async with house.server(era=era) as wire:
        first, asked = await asking(house, wire, content="first", model="held")
        second = await begun(wire, content="second", model="echo", if_busy="wait")
        third = await begun(wire, content="third", model="echo", if_busy="wait")
        for name in ("x", "y", "z"):  # whose writing waits behind the first try of the second
            await told(wire, "ensure_session", chat_session=name)
        await cancel(wire, second)
        await told(wire, "list_sessions")
        asked.go_on.set()
        assert (await answered(wire, third))["reply"] == "messages=3 last=third"
        assert (await answered(wire, first))["status"] == "completed"
        assert [text for role, text, _ in await dialogue(wire) if role == "user"] == ["first", "third"]


async def test_a_turn_that_nobody_waits_for_is_stopped_after_a_while(house):
    """Issue 4: detach on disconnect with `orphan_limit`."""
    async with house.server("--orphan-limit", "1") as wire:
        running = await told(wire, "talk", content="a story", model="held", timeout_ms=300)
        assert running["status"] == "running"
        await left(await house.provider.request(1))
        done = await told(wire, "wait_for_reply")
        assert (done["status"], done["reply"]) == ("interrupted", "So far. ")
        assert done["warnings"] == ["stopped: nobody waited for it for 1 s"]


async def test_a_turn_is_no_orphan_while_another_process_waits_for_it(house):
    """DESIGN section 4: without a waiter, in any process."""
    options = ("--orphan-limit", "9")
    async with house.server(*options) as one, house.server(*options) as other:
        await told(one, "talk", content="a story", model="held", timeout_ms=100)
        standing = await told(other, "wait_for_reply", timeout_ms=16_000)
        assert standing["status"] == "running"
        house.provider.asked[0].go_on.set()
        assert (await told(other, "wait_for_reply"))["reply"] == "So far. The rest."


@ERAS
async def test_a_turn_has_a_limit_of_its_own(house, era):
    """Issue 4: `turn_limit_s`."""
    async with house.server("--turn-limit", "3", era=era) as wire:
        error = await wire.error("talk", content="a story", model="held")
        assert (error["code"], error["details"]["partial"]) == ("timeout", "So far. ")
        await left(house.provider.asked[0])
        again = await wire.error("wait_for_reply", turn_id=error["details"]["turn_id"])
        assert again == error
        silent = await wire.error("talk", content="hello?", model="silent", chat_session="other")
        assert (silent["code"], silent["retryable"]) == ("timeout", True)
        assert await dialogue(wire, "other") == []


@pytest.mark.parametrize(
    ("option", "limit", "said"),
    [
        ("--session-turns", "2", "has used 2 turns of the 2 that a session may"),
        ("--session-tokens", "30", "has used 36 tokens of the 30 that a session may"),
        ("--session-usd", "0.9", "has used 1 US dollars of the 0.9 that a session may"),
    ],
)
async def test_a_used_up_session_asks_no_provider_any_more(house, option, limit, said):
    """Issue 4: per-session limits (turns, tokens, cost) that stop before the call."""
    model = "paid" if option == "--session-usd" else "echo"
    async with house.server(option, limit) as wire:
        for _ in range(2):
            await told(wire, "talk", content="hello", model=model)
        asked = len(house.provider.asked)
        error = await wire.error("talk", content="hello")
        assert (error["code"], error["retryable"]) == ("limit_exceeded", False)
        assert said in error["message"]
        assert len(house.provider.asked) == asked
        assert len(await dialogue(wire)) == 4
        assert (await told(wire, "talk", content="hello", chat_session="new"))["status"] == "completed"
    async with house.server(option, limit) as wire:
        assert (await wire.error("talk", content="hello"))["code"] == "limit_exceeded"


@pytest.mark.parametrize(
    ("transport", "mode"), [("http", "legacy"), ("http", MODERN), ("sse", "legacy")], ids=" ".join
)
async def test_over_http_another_connection_interrupts_and_a_restart_keeps_the_session(
    house, transport, mode
):
    """Issue 4: interrupt across connections; sessions that survive a restart."""
    outcome = []

    async def talk(client):
        outcome.append((await client.call_tool("talk", STORY)).structured_content)

    async with house.carried(transport) as base, connected(base, mode) as one, connected(base, mode) as other:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(talk, one)
                asked = await house.provider.request(1)
                while not (await other.call_tool("wait_for_reply", LOOK)).structured_content["reply"]:
                    pass
                stopped = await other.call_tool("interrupt", {"chat_session": "tale"})
        await left(asked)
        assert outcome == [stopped.structured_content]
        assert (outcome[0]["status"], outcome[0]["reply"]) == ("interrupted", "So far. ")
    async with house.carried(transport) as base, connected(base, mode) as client:
        done = await client.call_tool("talk", {**STORY, "content": "go on", "model": "echo"})
        assert done.structured_content["reply"] == "messages=3 last=go on"


async def test_a_caller_that_hangs_up_over_http_only_leaves_its_turn(house):
    """DESIGN section 4: modern HTTP turns every client time-out into a cancel: the turn goes on."""
    async with house.carried("http") as base, connected(base, MODERN) as client:
        with anyio.move_on_after(1):
            await client.call_tool("talk", STORY)
        asked = await house.provider.request(1)
        standing = await client.call_tool("wait_for_reply", {**LOOK, "timeout_ms": 500})
        assert standing.structured_content["status"] == "running"
        assert not asked.left.is_set()
        asked.go_on.set()
        done = await client.call_tool("wait_for_reply", {"chat_session": "tale"})
        assert done.structured_content["reply"] == "So far. The rest."


async def test_a_caller_that_hangs_up_over_http_stops_its_turn_where_the_operator_wants_that(house):
    """Issue 4: interrupt on disconnect."""
    house.command += ["--on-disconnect", "interrupt"]
    async with house.carried("http") as base, connected(base, MODERN) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "talk", STORY)
            asked = await house.provider.request(1)
            tasks.cancel_scope.cancel()
        await left(asked)
        done = await client.call_tool("wait_for_reply", {"chat_session": "tale"})
        assert done.structured_content["status"] == "interrupted"


STORY = {"chat_session": "tale", "content": "a story", "model": "held"}
LOOK = {"chat_session": "tale", "timeout_ms": 20}


def connected(base, mode):
    """A client of the SDK, over SSE if that is what the URL says."""
    where = sse_client(base) if base.endswith("/sse") else streamable_http_client(base)
    return Client(where, mode=mode)
