"""Several server processes on one file of sessions: what they see of each other, restarts and kill -9."""

import signal

import anyio
import pytest

from tests.e2e.silent_provider import answered, asking, begun, dialogue, heard, told
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])


async def killed(wire):
    wire.process.send_signal(signal.SIGKILL)
    await wire.process.wait()


async def row(wire, session="default"):
    rows = (await told(wire, "list_sessions", prefix=session))["sessions"]
    (found,) = [each for each in rows if each["name"] == session]
    return found


async def left(asked):
    with anyio.fail_after(5):
        await asked.left.wait()


@ERAS
async def test_an_interrupt_from_another_process_stops_the_turn_and_the_next_one_is_clean(house, era):
    """Issue 4: `talk` in one process, `interrupt` from another: the waiting call answers `interrupted` with
    the partial text; the provider connection is closed; the next turn is clean.
    """
    async with house.server(era=era) as one, house.server(era=era) as other:
        waiting, asked = await asking(house, one, content="a story", model="held")
        standing = await heard(one)
        stopped = await told(other, "interrupt")
        answer = await answered(one, waiting)
        await left(asked)

        assert (answer["status"], answer["stop_reason"]) == ("interrupted", "interrupted")
        assert answer["reply"] == "So far. "
        assert stopped == answer
        assert answer["turn_id"] == standing["turn_id"]
        for wire in (one, other):
            clean = await told(wire, "talk", content="go on", model="echo")
            assert (clean["status"], clean["warnings"]) == ("completed", [])
        assert house.provider.asked[1].messages == [
            ("user", "a story"),
            ("assistant", "So far. "),
            ("user", "go on"),
        ]


@ERAS
async def test_an_interrupt_in_the_same_process_stops_the_turn(house, era):
    """Issue 4: same process; the provider connection is closed; the next turn is clean."""
    async with house.server(era=era) as wire:
        waiting, asked = await asking(house, wire, content="a story", model="held")
        standing = await heard(wire)
        stopped = await told(wire, "interrupt", turn_id=standing["turn_id"])
        answer = await answered(wire, waiting)
        await left(asked)

        assert stopped == answer
        assert (answer["status"], answer["reply"]) == ("interrupted", "So far. ")
        assert (await wire.error("interrupt"))["code"] == "no_task"
        clean = await told(wire, "talk", content="go on", model="echo")
        assert clean["reply"] == "messages=3 last=go on"
        assert await dialogue(wire) == [
            ("user", "a story", False),
            ("assistant", "So far. ", True),
            ("user", "go on", False),
            ("assistant", "messages=3 last=go on", False),
        ]


@ERAS
async def test_a_turn_is_waited_for_in_every_process_as_often_as_asked(house, era):
    """Issue 4: A silent provider and `timeout_ms=500`: the call returns `running` at 0.5 s; `wait_for_reply`
    returns the same outcome each time it is asked, also from another process.
    """
    async with house.server(era=era) as one, house.server(era=era) as other:
        running = await told(one, "talk", content="hello", model="silent", timeout_ms=500)
        assert (running["status"], running["reply"]) == ("running", "")
        assert "wait_for_reply(" in running["next"]
        for wire in (one, other):
            standing = await told(wire, "wait_for_reply", turn_id=running["turn_id"], timeout_ms=0)
            assert (standing["status"], standing["turn_id"]) == ("running", running["turn_id"])
            assert standing["effective"] == {"model": "silent"}
        asked = await house.provider.request(1)
        stopped = await told(other, "interrupt", turn_id=running["turn_id"])
        for wire in (one, one, other, other):
            assert await told(wire, "wait_for_reply", turn_id=running["turn_id"]) == stopped
        await left(asked)

        done = await told(one, "talk", content="hello", model="echo")
        for wire in (one, other, other):
            assert await told(wire, "wait_for_reply") == done
            assert await told(wire, "wait_for_reply", turn_id=done["turn_id"]) == done
        assert house.provider.asked[-1].messages == [("user", "hello")]  # what came to nothing left no trace


async def test_a_waiter_in_another_process_sees_the_text_so_far_and_then_the_outcome(house):
    async with house.server() as one, house.server() as other:
        waiting, asked = await asking(house, one, content="a story", model="held", chat_session="shared")
        standing = await heard(other, "shared")
        assert (standing["status"], standing["reply"]) == ("running", "So far. ")
        last = await other.begin("tools/call", name="wait_for_reply", arguments={"chat_session": "shared"})
        asked.go_on.set()
        outcome = await answered(other, last)
        assert outcome == await answered(one, waiting)
        assert (outcome["status"], outcome["reply"]) == ("completed", "So far. The rest.")


@ERAS
async def test_a_session_that_is_busy_in_one_process_is_busy_in_the_other(house, era):
    async with house.server(era=era) as one, house.server(era=era) as other:
        waiting, asked = await asking(house, one, content="first", model="held")
        busy = await row(other)
        assert busy["status"] == "busy"
        for wire in (one, other):
            error = await wire.error("talk", content="second")
            assert (error["code"], error["details"]["turn_id"]) == ("busy", busy["turn_id"])
            assert error["details"]["running_s"] >= 0
            assert (await wire.error("ensure_session", chat_session="/"))["code"] == "invalid_argument"
        second = await begun(other, content="second", model="echo", if_busy="wait")
        await told(other, "ensure_session", chat_session="meanwhile")
        asked.go_on.set()
        assert (await answered(one, waiting))["reply"] == "So far. The rest."
        assert (await answered(other, second))["reply"] == "messages=3 last=second"
        assert (await row(one))["status"] == (await row(other))["status"] == "idle"
        assert [each["name"] for each in (await told(one, "list_sessions"))["sessions"]] == [
            "default",
            "meanwhile",
        ]


async def test_waiting_for_another_processs_turn_has_a_limit(house):
    async with house.server() as one, house.server() as other:
        waiting, asked = await asking(house, one, content="first", model="held")
        error = await other.error("talk", content="second", if_busy="wait", timeout_ms=300)
        assert (error["code"], error["retryable"]) == ("busy", True)
        asked.go_on.set()
        assert (await answered(one, waiting))["status"] == "completed"
        assert (await row(other))["message_count"] == 2
    assert len(house.provider.asked) == 1


@ERAS
async def test_a_talk_may_stop_the_turn_of_another_process_first(house, era):
    async with house.server(era=era) as one, house.server(era=era) as other:
        waiting, asked = await asking(house, one, content="first", model="held")
        await heard(one)
        second = await told(other, "talk", content="second", model="echo", if_busy="interrupt")
        stopped = await answered(one, waiting)
        await left(asked)
        assert (stopped["status"], stopped["reply"]) == ("interrupted", "So far. ")
        assert second["reply"] == "messages=3 last=second"


@ERAS
async def test_sessions_survive_a_restart_with_all_that_they_remember(house, era):
    """Issue 4: what a session remembers."""
    remembered = {"model": "echo", "prompt": "coder", "card": "asker", "pty_session_id": "term"}
    async with house.server(era=era) as wire:
        first = await told(
            wire,
            "talk",
            content="one",
            chat_session="work",
            model="echo",
            prompt="coder",
            chara_card="asker",
            pty_session_id="term",
        )
        assert first["effective"] == remembered
        before = await told(wire, "get_history", chat_session="work")
    async with house.server("--model", "silent", era=era) as wire:
        assert await told(wire, "get_history", chat_session="work") == before
        assert await told(wire, "wait_for_reply", chat_session="work") == first
        second = await told(wire, "talk", content="two", chat_session="work")
        assert second["effective"] == remembered
        assert second["usage"] == first["usage"] == {
            "input": 11, "output": 7, "cache_read": 0, "cache_write": 0, "reasoning": 0
        }  # fmt: skip
        dropped = await told(wire, "talk", content="three", chat_session="work", chara_card="", prompt="")
        assert dropped["effective"] == {"model": "echo", "pty_session_id": "term"}
    assert [text for _, text in house.provider.asked[1].messages[1:]] == ["one", first["reply"], "two"]


@pytest.mark.parametrize("model", ["script", "asks"])
@pytest.mark.parametrize("ending", ["EOF", "SIGKILL"])
async def test_a_question_survives_a_restart_and_its_answer_completes_the_turn(house, model, ending):
    """Issue 4: A turn that yields, a restart of the server, the answer: the turn completes."""
    async with house.server() as wire:
        asked = await told(wire, "talk", content="paint it", model=model, chara_card="asker")
        assert (asked["status"], asked["reply"]) == ("awaiting_input", "Which colour?")
        assert asked["next"] == "talk(chat_session='default') answers the question; interrupt drops it"
        if ending == "SIGKILL":
            await killed(wire)
    async with house.server() as wire:
        waiting = await row(wire)
        assert (waiting["status"], waiting["question"]) == ("awaiting_input", "Which colour?")
        assert (await told(wire, "get_history"))["question"] == "Which colour?"
        assert await told(wire, "wait_for_reply") == asked
        done = await told(wire, "talk", content="blue")
        assert (done["status"], done["turn_id"]) == ("completed", asked["turn_id"])
        assert done["reply"] == ("Painted." if model == "script" else "You said: blue")
        assert await told(wire, "wait_for_reply", turn_id=asked["turn_id"]) == done
        assert (await row(wire))["status"] == "idle"
        assert "question" not in await told(wire, "get_history")
        again = await told(wire, "talk", content="thanks", model="echo")
        assert again["reply"].endswith("last=thanks")
    offered = [[tool["function"]["name"] for tool in each.body["tools"]] for each in house.provider.asked]
    assert all(names == ["ask_user"] for names in offered)


async def test_a_question_is_withdrawn_by_an_interrupt_from_another_process(house):
    async with house.server() as one, house.server() as other:
        asked = await told(one, "talk", content="paint it", model="asks", chara_card="asker")
        dropped = await told(other, "interrupt")
        assert (dropped["status"], dropped["turn_id"]) == ("interrupted", asked["turn_id"])
        assert (await row(one))["status"] == "idle"
        assert (await told(one, "talk", content="hello", model="echo"))["reply"].endswith("last=hello")
    sent = house.provider.asked[-1].body["messages"]
    uses = [call["id"] for each in sent for call in each.get("tool_calls", [])]
    assert uses == [each["tool_call_id"] for each in sent if each["role"] == "tool"]


async def test_a_request_id_begins_one_turn_however_often_and_wherever_it_comes(house):
    """Issue 4: The same `request_id` twice, also concurrently and after kill -9: one turn."""
    same = {"content": "once", "model": "held", "request_id": "r1"}
    async with house.server() as one, house.server() as other:
        numbers = [(wire, await begun(wire, **same)) for wire in (one, other, one, other)]
        (await house.provider.request(1)).go_on.set()
        outcomes = [await answered(wire, number) for wire, number in numbers]
        assert [outcome.get("error") for outcome in outcomes] == [None] * 4
        assert {outcome["turn_id"] for outcome in outcomes} == {outcomes[0]["turn_id"]}
        assert {outcome["reply"] for outcome in outcomes} == {"So far. The rest."}
        await killed(one)
        again = await told(other, "talk", **same)
        assert again["reply"] == "So far. The rest."
        assert "request_id was used before" in again["warnings"][0]
    async with house.server() as wire:
        again = await told(wire, "talk", **same)
        assert (again["turn_id"], again["status"]) == (outcomes[0]["turn_id"], "completed")
        assert len(await dialogue(wire)) == 2
        elsewhere = await told(wire, "talk", content="hi", request_id="r1", chat_session="elsewhere")
        assert elsewhere["turn_id"] != again["turn_id"]
    assert len(house.provider.asked) == 2


@ERAS
async def test_a_turn_whose_process_was_killed_is_cut_off_for_the_others(house, era):
    """Issue 4: cut-off turns found by lease or owner lock; the same `request_id` after kill -9: one turn."""
    async with house.server(era=era) as other:
        async with house.server(era=era) as one:
            _, asked = await asking(house, one, content="first", model="held", request_id="r1")
            standing = await heard(other)  # so it was saved
            await killed(one)
        await left(asked)
        assert (await row(other))["status"] == "idle"
        cut = await told(other, "wait_for_reply")
        assert (cut["status"], cut["stop_reason"]) == ("interrupted", "cut_off")
        assert (cut["turn_id"], cut["reply"]) == (standing["turn_id"], "So far. ")
        again = await told(other, "talk", content="first", model="held", request_id="r1")
        assert (again["turn_id"], again["status"]) == (cut["turn_id"], "interrupted")
        assert len(house.provider.asked) == 1
        await told(other, "talk", content="second", model="echo")
        assert house.provider.asked[1].messages == [
            ("user", "first"),
            ("assistant", "So far. "),
            ("user", "second"),
        ]


async def test_a_killed_turn_that_had_said_nothing_leaves_no_trace(house):
    async with house.server() as other:
        async with house.server() as one:
            await asking(house, one, content="first", model="silent")
            await killed(one)
        second = await told(other, "talk", content="second", model="echo", if_busy="wait")
        assert second["reply"] == "messages=1 last=second"
        assert [text for _, text, _ in await dialogue(other)] == ["second", "messages=1 last=second"]


async def test_a_killed_answer_leaves_the_question_open(house):
    async with house.server() as other:
        async with house.server() as one:
            asked = await told(one, "talk", content="paint it", model="asks", chara_card="asker")
            await asking(house, one, content="blue", model="silent")
            await killed(one)
        waiting = await row(other)
        assert (waiting["status"], waiting["turn_id"]) == ("awaiting_input", asked["turn_id"])
        done = await told(other, "talk", content="green", model="asks")
        assert (done["status"], done["reply"]) == ("completed", "You said: green")
        assert done["turn_id"] == asked["turn_id"]
        assert len(await dialogue(other)) == 4


async def test_a_process_that_slept_past_its_lease_writes_nothing_over_what_came_meanwhile(house):
    """Issue 4: cut-off turns found by lease, at most two of them later. store.md: a fenced writer changes
    nothing."""
    async with house.server() as other, house.server() as one:
        waiting, asked = await asking(house, one, content="first", model="held")
        await heard(one)
        one.process.send_signal(signal.SIGSTOP)
        assert (await other.error("talk", content="second"))["code"] == "busy"
        second = await told(other, "talk", content="second", model="echo", if_busy="wait")
        assert second["status"] == "completed"
        before = await dialogue(other)
        asked.go_on.set()
        one.process.send_signal(signal.SIGCONT)
        late = await answered(one, waiting)
        if "error" in late:  # it saw that its claim was lost before the reply came
            assert late["error"]["code"] == "conflict"
            assert late["error"]["details"]["partial"].startswith("So far. ")
        else:
            assert (late["status"], late["stop_reason"]) == ("interrupted", "cut_off")
            assert late["reply"] in ("", "So far. ")  # as much of it as was saved
        assert await dialogue(one) == await dialogue(other) == before
        assert before[-2:] == [("user", "second", False), ("assistant", second["reply"], False)]


async def test_what_is_said_after_another_process_left_survives_kill_9(house):
    """Issue 4: 0 acknowledged messages lost. The last connection to close a file takes its log away."""
    async with house.server() as one:
        await told(one, "talk", content="one")
        async with house.server() as other:
            await told(other, "talk", content="two")
        await told(one, "talk", content="three")
        async with house.server() as other:
            await told(other, "list_sessions")
        await told(one, "talk", content="four")
        await killed(one)
    async with house.server() as wire:
        said = [text for role, text, _ in await dialogue(wire) if role == "user"]
        assert said == ["one", "two", "three", "four"]


async def test_the_end_of_a_server_is_the_end_of_the_waiting_for_its_turn_elsewhere(house):
    async with house.server() as other:
        async with house.server() as one:
            await asking(house, one, content="a story", model="held")
            await heard(one)
            waiting = await other.begin("tools/call", name="wait_for_reply", arguments={})
            await one.leave()
        outcome = await answered(other, waiting)
        assert (outcome["status"], outcome["reply"]) == ("interrupted", "So far. ")


async def test_many_processes_talking_to_one_session_take_turns(house):
    async with house.server() as one, house.server() as two, house.server() as three:
        wires = [one, two, three] * 3
        numbers = [
            (wire, await begun(wire, content=f"say {at}", model="echo", if_busy="wait"))
            for at, wire in enumerate(wires)
        ]
        replies = [(await answered(wire, number))["reply"] for wire, number in numbers]
        said = await dialogue(one)
    assert sorted(int(reply.split()[0].removeprefix("messages=")) for reply in replies) == [*range(1, 19, 2)]
    assert [role for role, _, _ in said] == ["user", "assistant"] * 9
    for (_, given, _), (_, reply, _) in zip(said[::2], said[1::2], strict=True):
        assert reply.endswith(f"last={given}")
