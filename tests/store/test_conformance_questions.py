"""What every store must do: turns that wait to be told something, and go on with the answer."""

import pytest

from eai_mcp.errors import Conflict, NoTask, SessionBusy
from eai_mcp.messages import JsonObject, Usage, assistant, line, user
from eai_mcp.store import Choices, Entry, Known, Outcome, Put, Running
from tests.store.taking import (
    ask,
    asking,
    claim,
    ended,
    question,
    results,
    row,
    said,
    start,
    take,
    unpaired,
    uses,
    whole,
)


async def test_a_question_waits_in_the_row(store):
    claimed = await claim(store, "t1", "hi")
    asked = question("t1", "red or blue?", {"kind": "approval", "of": ["a", 1, None]})
    await store.settle(claimed, ended("t1", assistant("well"), status="awaiting_input", question=asked))

    shown = await row(store)
    assert (shown.question, shown.running, shown.message_count) == (asked, None, 0)
    assert await store.load("", "work") == []


async def test_a_turn_that_waits_is_found_with_its_outcome(store):
    await ask(store, "t1", text="which one?")

    found = await store.find("", "work")
    assert isinstance(found, tuple)
    assert found[0] == ended("t1", status="awaiting_input").outcome


async def test_what_a_waiting_turn_chose_and_used_is_remembered(store):
    asked = asking("t1", choices=Choices(model="m"), usage=Usage(input=3))
    await store.settle(await claim(store, "t1"), asked)
    await store.settle(await claim(store, "t1", "red"), ended("t1", usage=Usage(input=4)))

    shown = await row(store)
    assert (shown.choices, shown.usage) == (Choices(model="m"), Usage(input=7))


async def test_a_question_that_is_dropped_was_interrupted_and_reports_what_its_turn_did(store):
    asked = question(
        "t1", data={"report": {"status": "awaiting_input", "reply": "which?", "effective": {"n": 1}}}
    )
    claimed = await claim(store, "t1")
    await store.settle(claimed, ended("t1", assistant("?"), status="awaiting_input", question=asked))
    await store.put("", [Put(name="work", lines=())])

    report: JsonObject = {"status": "interrupted", "stop_reason": "interrupted", "effective": {"n": 1}}
    outcome = Outcome(turn_id="t1", status="interrupted", report=report)
    assert await store.find("", "work", "t1") == (outcome, "")


async def test_a_failed_answer_to_a_question_that_is_dropped_has_still_failed(store):
    await ask(store, "t1")
    failed = ended("t1", status="failed", kept=False)
    await store.settle(await claim(store, "t1", "red"), failed)
    await store.put("", [Put(name="work", lines=())])

    assert await store.find("", "work", "t1") == (failed.outcome, "")


async def test_only_the_answer_may_follow_a_question(store):
    await ask(store, "t1")
    before = await whole(store)

    with pytest.raises(Conflict, match="work"):
        await store.claim("", "work", start("t2", "something else"))
    assert await whole(store) == before


async def test_an_answer_is_a_round_of_the_same_turn(store):
    await ask(store, "t1")
    asked = (await row(store)).question
    claimed = await claim(store, "t1", "red", expect=(await row(store)).version)

    shown = await row(store)
    assert (claimed.turn_id, claimed.round) == ("t1", 1)
    assert (shown.question, shown.turns, shown.message_count) == (asked, 1, 0)
    assert shown.running is not None
    assert shown.running.turn_id == "t1"
    assert isinstance(await store.find("", "work", "t1"), Running)


async def test_an_answer_to_another_version_is_refused(store):
    await ask(store, "t1")

    with pytest.raises(Conflict, match="work"):
        await store.claim("", "work", start("t1", "red", expect=(await row(store)).version + 1))


async def test_a_question_is_answered_once_at_a_time(store):
    await ask(store, "t1")
    await claim(store, "t1", "red")

    for turn_id in ["t1", "t2"]:
        with pytest.raises(SessionBusy):
            await store.claim("", "work", start(turn_id, "blue"))


async def test_a_completed_answer_brings_all_rounds_into_the_history(store, clock):
    await take(store, "t0")
    asked = await claim(store, "t1", "ask me")
    clock.now = 101.0
    await store.append(asked, [uses("u1"), results("u1")])
    await store.settle(asked, ended("t1", uses("u2"), status="awaiting_input", question=question("t1")))
    clock.now = 102.0
    answered = await claim(store, "t1", results("u2"))
    clock.now = 103.0
    await store.settle(answered, ended("t1", assistant("so red")))

    history = await store.load("", "work")
    assert history[2:] == [
        Entry(3, "t1", 100.0, user("ask me")),
        Entry(4, "t1", 101.0, uses("u1")),
        Entry(5, "t1", 101.0, results("u1")),
        Entry(6, "t1", 101.0, uses("u2")),
        Entry(7, "t1", 102.0, results("u2")),
        Entry(8, "t1", 103.0, assistant("so red")),
    ]
    shown = await row(store)
    assert (shown.question, shown.message_count) == (None, 8)
    assert unpaired([entry.message for entry in history]) == []


async def test_a_failed_answer_leaves_the_question_open(store):
    await ask(store, "t1", "ask me", "red or blue?")
    asked = (await row(store)).question
    failed = await claim(store, "t1", "red")
    await store.append(failed, [assistant("let me see")])
    await store.settle(failed, ended("t1", status="failed", kept=False))
    shown = await row(store)
    assert (shown.question, shown.running, shown.message_count) == (asked, None, 0)

    again = await claim(store, "t1", "blue")
    await store.settle(again, ended("t1", assistant("so blue")))
    assert again.round > failed.round
    assert await said(store) == [(1, "ask me"), (2, "red or blue?"), (3, "blue"), (4, "so blue")]
    assert (await row(store)).question is None


async def test_a_failed_answer_is_found_as_such_and_then_the_good_one(store):
    await ask(store, "t1")
    failed = await claim(store, "t1", "red")
    await store.settle(failed, ended("t1", status="failed", kept=False))
    found = await store.find("", "work", "t1")
    assert isinstance(found, tuple)
    assert found[0] == ended("t1", status="failed").outcome

    await store.settle(await claim(store, "t1", "red"), ended("t1", assistant("fine")))
    assert await store.find("", "work") == (ended("t1").outcome, "fine")


async def test_the_claim_of_a_failed_answer_cannot_write_into_the_next(store):
    await ask(store, "t1")
    failed = await claim(store, "t1", "red")
    await store.settle(failed, ended("t1", status="failed", kept=False))
    await claim(store, "t1", "blue")
    before = await whole(store)

    with pytest.raises(Conflict):
        await store.append(failed, [assistant("late")])
    with pytest.raises(Conflict):
        await store.settle(failed, ended("t1", assistant("late")))
    await store.renew({failed: "late"})
    assert await whole(store) == before


async def test_a_turn_may_ask_again_and_again(store):
    await ask(store, "t1", "ask me", "first?")
    await store.settle(await claim(store, "t1", "one"), asking("t1", "second?"))
    assert (await row(store)).question == question("t1", "second?")
    last = await claim(store, "t1", "two")
    await store.settle(last, ended("t1", assistant("done")))

    assert last.round == 2
    assert await said(store) == [
        (1, "ask me"),
        (2, "first?"),
        (3, "one"),
        (4, "second?"),
        (5, "two"),
        (6, "done"),
    ]
    assert (await row(store)).turns == 1


async def test_a_second_question_stays_open_when_its_answer_fails(store):
    await ask(store, "t1", "ask me", "first?")
    await store.settle(await claim(store, "t1", "one"), asking("t1", "second?"))
    await store.settle(await claim(store, "t1", "bad"), ended("t1", status="failed", kept=False))
    assert (await row(store)).question == question("t1", "second?")

    await store.settle(await claim(store, "t1", "two"), ended("t1", assistant("done")))
    assert [text for _, text in await said(store)] == ["ask me", "first?", "one", "second?", "two", "done"]


async def test_a_repeated_question_or_answer_is_known(store):
    await store.settle(await claim(store, "t1", request_id="r1"), asking("t1"))
    assert await store.claim("", "work", start("t2", request_id="r1")) == Known("t1")

    await store.settle(await claim(store, "t1", "red", request_id="r2"), ended("t1"))
    for request_id in ["r1", "r2"]:
        assert await store.repeated("", "work", request_id) == Known("t1")


async def test_what_waits_cannot_be_interrupted_but_its_answer_can(store):
    await ask(store, "t1")
    with pytest.raises(NoTask):
        await store.interrupt("", "work")

    answered = await claim(store, "t1", "red")
    assert (await store.interrupt("", "work")).turn_id == "t1"
    assert (await store.look([answered])).interrupted == {answered}


async def test_a_replaced_history_drops_the_question(store):
    await ask(store, "t1")

    await store.put("", [Put(name="work", lines=[line(user("new"), turn_id="t0", at=1.0)])])

    shown = await row(store)
    assert (shown.question, shown.message_count) == (None, 1)
    await take(store, "t2", "next", "ok")
    assert await said(store) == [(1, "new"), (2, "next"), (3, "ok")]


async def test_an_answer_to_a_dropped_question_brings_nothing_back(store):
    await ask(store, "t1", "ask me")
    stale = (await row(store)).version
    await store.put("", [Put(name="work", lines=())])

    for expect in [stale, None]:
        with pytest.raises(Conflict):
            await store.claim("", "work", start("t1", "red", expect=expect))
    assert await said(store) == []


async def test_another_question_may_take_the_place_of_the_one_that_was_answered(store):
    """Issue 6: "chained yields"."""
    claimed = await claim(store, "t1")
    await store.settle(
        claimed, ended("t1", uses("u1"), status="awaiting_input", question=question("t1", "sure?"))
    )
    again = question("t1", "really?", {"n": 2})
    asked = ended("t1", status="awaiting_input", question=again, kept=False)
    await store.settle(await claim(store, "t1", results("u1")), asked)

    assert (await row(store)).question == again
    assert await store.find("", "work") == (asked.outcome, "")
    claimed = await claim(store, "t1", results("u1"))
    assert await store.said(claimed) == [user("hi"), uses("u1"), results("u1")]


async def test_what_was_said_can_be_amended_while_the_turn_runs(store):
    claimed = await claim(store, "t1", "my name is Bond")
    await store.amend(claimed, user("my name is X"))

    assert await store.said(claimed) == [user("my name is X")]
    await store.settle(claimed, ended("t1", assistant("hello, X")))
    assert await said(store) == [(1, "my name is X"), (2, "hello, X")]
    with pytest.raises(Conflict):
        await store.amend(claimed, user("late"))
    assert await said(store) == [(1, "my name is X"), (2, "hello, X")]


async def test_only_the_newest_answer_of_a_turn_is_amended(store):
    await ask(store, "t1", "first")
    claimed = await claim(store, "t1", "red")
    await store.amend(claimed, user("blue"))
    await store.settle(claimed, ended("t1", assistant("ok")))

    assert [text for _, text in await said(store)] == ["first", "which one?", "blue", "ok"]
