"""Turns that wait for an answer, and turns that come to nothing, through server processes."""

import anyio
import pytest

from tests.e2e.silent_provider import answered, asking, begun, dialogue, told
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
PAINT = {"content": "paint it", "model": "asks", "chara_card": "asker"}


@ERAS
async def test_a_failed_answer_leaves_the_question_open(house, era):
    """DESIGN section 4: the pending question is removed only once the resume succeeded."""
    async with house.server(era=era) as wire:
        asked = await told(wire, "talk", **PAINT)
        error = await wire.error("talk", content="green", model="broken")
        assert error["details"]["turn_id"] == asked["turn_id"]
        (row,) = (await told(wire, "list_sessions"))["sessions"]
        assert (row["status"], row["turn_id"]) == ("awaiting_input", asked["turn_id"])
        done = await told(wire, "talk", content="blue", model="asks")
        assert (done["turn_id"], done["reply"]) == (asked["turn_id"], "You said: blue")
        assert len(await dialogue(wire)) == 4
    assert [text for role, text in house.provider.asked[-1].messages if role == "tool"] == ["blue"]


@ERAS
async def test_an_interrupted_answer_closes_the_question(house, era):
    """Issue 4: tool pairing always valid."""
    async with house.server(era=era) as wire:
        asked = await told(wire, "talk", **PAINT)
        limits = {"timeout_ms": 200, "on_timeout": "interrupt"}
        stopped = await told(wire, "talk", content="blue", model="silent", **limits)
        assert (stopped["status"], stopped["turn_id"]) == ("interrupted", asked["turn_id"])
        assert "question" not in await told(wire, "get_history")
        await told(wire, "talk", content="hello", model="echo")
    roles = [role for role, _ in house.provider.asked[-1].messages]
    assert roles[-4:] == ["user", "assistant", "tool", "user"]


@ERAS
async def test_a_request_id_of_a_turn_that_asked_gives_the_question_and_then_the_reply(house, era):
    """Issue 4: idempotent `request_id`; a turn id stays the same through questions and answers."""
    async with house.server(era=era) as one, house.server(era=era) as other:
        asked = await told(one, "talk", **PAINT, request_id="r1")
        again = await told(other, "talk", **PAINT, request_id="r1")
        assert (again["status"], again["reply"]) == ("awaiting_input", "Which colour?")
        assert again["turn_id"] == asked["turn_id"]
        done = await told(other, "talk", content="blue", request_id="r2")
        for wire in (one, other):
            for number in ("r1", "r2"):
                repeated = await told(wire, "talk", content="blue", request_id=number)
                assert (repeated["turn_id"], repeated["reply"]) == (asked["turn_id"], done["reply"])
    assert len(house.provider.asked) == 2


async def test_of_two_answers_at_once_one_counts_and_the_other_finds_the_session_busy(house):
    outcomes, one_is_in = [], anyio.Event()

    async def answer(wire):
        outcomes.append(await answered(wire, await begun(wire, content="blue", model="held")))
        one_is_in.set()

    async with house.server() as one, house.server() as other:
        asked = await told(one, "talk", **PAINT)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, one)
            tasks.start_soon(answer, other)
            await one_is_in.wait()
            (await house.provider.request(2)).go_on.set()
        refused, done = outcomes
        assert refused["error"]["code"] == "busy"
        assert (done["turn_id"], done["reply"]) == (asked["turn_id"], "So far. The rest.")
        assert len(await dialogue(other)) == 4


@ERAS
async def test_a_failed_turn_leaves_no_trace_and_is_told_in_every_process(house, era):
    """Issue 4: all-or-nothing history."""
    async with house.server(era=era) as one, house.server(era=era) as other:
        error = await one.error("talk", content="hello?", model="broken", request_id="r1")
        assert (error["code"], error["retryable"]) == ("provider_unavailable", True)
        for wire in (one, other):
            again = await wire.error("wait_for_reply", turn_id=error["details"]["turn_id"])
            assert (again["code"], again["message"]) == (error["code"], error["message"])
        assert await dialogue(other) == []
        assert (await told(other, "talk", content="hello!", model="echo"))[
            "reply"
        ] == "messages=1 last=hello!"


@ERAS
async def test_many_interrupts_at_once_stop_one_turn_once(house, era):
    async with house.server(era=era) as one, house.server(era=era) as other:
        waiting, asked = await asking(house, one, content="a story", model="silent")
        stops = [
            (wire, await wire.begin("tools/call", name="interrupt", arguments={}))
            for wire in (one, other, other, one)
        ]
        outcomes = [await answered(wire, number) for wire, number in stops]
        stopped = await answered(one, waiting)
        assert stopped["status"] == "interrupted"
        told_all = [each["error"]["code"] if "error" in each else each["turn_id"] for each in outcomes]
        assert stopped["turn_id"] in told_all
        assert set(told_all) <= {stopped["turn_id"], "no_task"}
        with anyio.fail_after(5):
            await asked.left.wait()
        clean = await told(other, "talk", content="hello", model="echo")
        assert (clean["status"], clean["reply"]) == ("completed", "messages=1 last=hello")


async def test_a_busy_session_can_be_copied_and_read(house):
    async with house.server() as wire:
        await told(wire, "talk", content="one")
        waiting, asked = await asking(house, wire, content="two", model="held")
        copy = await told(wire, "fork_session", chat_session="default", new_session="copy")
        assert copy["message_count"] == len(await dialogue(wire)) == 2
        assert (await told(wire, "talk", content="else", chat_session="copy", model="echo"))["reply"] == (
            "messages=3 last=else"
        )
        asked.go_on.set()
        assert (await answered(wire, waiting))["status"] == "completed"


async def test_a_session_that_goes_while_its_turn_runs_does_not_lose_the_reply(house):
    """The file is removed under a running turn: whoever waits gets the reply in the error."""
    async with house.server() as wire:
        waiting, asked = await asking(house, wire, content="a story", model="held")
        for path in house.store.parent.glob("sessions.db*"):
            if path.is_file():
                path.unlink()
        asked.go_on.set()
        outcome = await answered(wire, waiting)
        assert outcome["error"]["code"] == "conflict"
        assert outcome["error"]["details"]["partial"] == "So far. The rest."
        assert (await told(wire, "talk", content="hello", model="echo"))["reply"] == "messages=1 last=hello"
