"""What every store that has several owners must do: end the turns of those who are gone."""

import logging
import sqlite3
import sys
import textwrap
from contextlib import closing

import anyio
import pytest

from eai_mcp.errors import Conflict, NoTask, StorageFull
from eai_mcp.messages import TextBlock, ToolResultBlock, assistant, user
from eai_mcp.store import LEASE_S, Known, Look, Outcome, Put, Running
from eai_mcp.store.sqlite import SqliteStore
from tests.store.taking import (
    Clock,
    ask,
    claim,
    ended,
    lapse,
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

CUT_OFF = Outcome(turn_id="t1", status="interrupted", report={"cut": "off"})


@pytest.fixture(params=["lapsed", "closed"])
def lose(request, first, second, clock):
    """Ends the first owner's hold on its claims, in one way or another; the second one has yet to notice."""

    async def lapsed():
        clock.now += LEASE_S + 0.1
        await second.list("")
        clock.now += LEASE_S + 0.1

    return lapsed if request.param == "lapsed" else first.aclose


async def begin(store, message="hi", **fields):
    return await claim(store, "t1", message, report=CUT_OFF.report, **fields)


@pytest.mark.parametrize("seen_by", ["row", "list", "find", "load", "claim"])
async def test_a_turn_that_was_cut_off_is_seen_whoever_looks(first, second, lose, seen_by):
    """Issue 4: cut-off turns found by lease or owner lock, never by another process's start."""
    await take(first, "t0")
    await begin(first)
    before = await row(second)
    assert before.running == Running("t1", 100.0)
    await lose()

    match seen_by:
        case "row":
            assert (await row(second)).running is None
        case "list":
            assert [shown.running for shown in await second.list("")] == [None]
        case "find":
            assert await second.find("", "work") == (CUT_OFF, "")
        case "load":
            assert await said(second) == [(1, "hi"), (2, "hello")]
        case _:
            await claim(second, "t2")

    assert await second.find("", "work", "t1") == (CUT_OFF, "")
    assert await said(second) == [(1, "hi"), (2, "hello")]
    assert (await row(second)).version > before.version


async def test_what_was_cut_off_leaves_the_session_free(first, second, lose):
    for name in ["a", "b", "c"]:
        await begin(first, name=name)
    await lose()

    with pytest.raises(NoTask):
        await second.interrupt("", "a")
    assert await second.put("", [Put(name="b", lines=())]) == (2,)
    assert await second.delete("", "c")
    for name in ["a", "b", "c"]:
        await take(second, "t2", "next", "ok", name=name)
        assert await said(second, name) == [(1, "next"), (2, "ok")]


async def test_what_was_said_before_the_cut_is_kept_as_partial(first, second, lose):
    claimed = await begin(first)
    await first.renew({claimed: "Once upon"})
    await lose()

    assert await second.find("", "work") == (CUT_OFF, "Once upon")
    history = [entry.message for entry in await second.load("", "work")]
    assert history == [user("hi"), assistant("Once upon", partial=True)]
    shown = await row(second)
    assert (shown.message_count, shown.running, shown.turns) == (2, None, 1)


async def test_steps_before_the_cut_are_kept(first, second, lose):
    claimed = await begin(first)
    await first.append(claimed, [uses("u1"), results("u1")])
    await first.renew({claimed: "It is"})
    await lose()

    history = await second.load("", "work")
    messages = [user("hi"), uses("u1"), results("u1"), assistant("It is", partial=True)]
    assert [entry.message for entry in history] == messages
    assert [(entry.seq, entry.turn_id) for entry in history] == [(seq, "t1") for seq in range(1, 5)]


async def test_tools_without_a_result_are_closed_by_the_cut(first, second, lose):
    claimed = await begin(first)
    await first.append(claimed, [uses("u1"), results("u1")])
    await first.append(claimed, [uses("u2", "u3")])
    await first.renew({claimed: "Hm"})
    await lose()

    messages = [entry.message for entry in await second.load("", "work")]
    assert messages[:4] == [user("hi"), uses("u1"), results("u1"), uses("u2", "u3")]
    closing = messages[4].content
    assert [(b.tool_use_id, b.failed) for b in closing if isinstance(b, ToolResultBlock)] == [
        ("u2", True),
        ("u3", True),
    ]
    assert all(isinstance(told, TextBlock) for block in closing for told in block.content)
    assert messages[5:] == [assistant("Hm", partial=True)]
    assert unpaired(messages) == []


async def test_what_a_kept_step_said_is_not_told_again_by_the_cut(first, second, lose):
    claimed = await begin(first)
    await first.renew({claimed: "Let me see"})
    await first.append(claimed, [assistant("Let me see"), uses("u1"), results("u1")])
    await lose()

    texts = [text for _, text in await said(second)]
    assert texts.count("Let me see") == 1


async def test_an_answer_that_was_cut_off_leaves_the_question_open(first, second, lose):
    await ask(first, "t1", "ask me", "which one?")
    asked = (await row(first)).question
    await begin(first, "red")
    await lose()

    shown = await row(second)
    assert (shown.question, shown.running, shown.message_count) == (asked, None, 0)
    found = await second.find("", "work", "t1")
    assert isinstance(found, tuple)
    assert found[0] == CUT_OFF
    await second.settle(await claim(second, "t1", "blue"), ended("t1", assistant("so blue")))
    assert [text for _, text in await said(second)] == ["ask me", "which one?", "blue", "so blue"]


async def test_an_answer_that_was_cut_off_in_its_words_is_kept_with_all_before(first, second, lose):
    await ask(first, "t1", "ask me", "which one?")
    claimed = await begin(first, "red")
    await first.renew({claimed: "so r"})
    await lose()

    history = [entry.message for entry in await second.load("", "work")]
    assert history == [
        user("ask me"),
        assistant("which one?"),
        user("red"),
        assistant("so r", partial=True),
    ]
    assert (await row(second)).question is None
    await take(second, "t2")


async def test_a_cut_off_request_is_not_taken_again(first, second, lose):
    """Issue 4: the same `request_id` twice, also after kill -9: one turn."""
    await begin(first, request_id="r")
    await lose()

    assert await second.claim("", "work", start("t2", request_id="r")) == Known("t1")
    assert await second.find("", "work", "t1") == (CUT_OFF, "")
    assert (await row(second)).turns == 1


async def test_a_turn_is_cut_off_once(first, second, lose):
    claimed = await begin(first)
    await first.renew({claimed: "Once"})
    await lose()

    before = await whole(second)
    await second.list("")
    await second.find("", "work")
    assert await whole(second) == before


async def test_a_claim_that_was_lost_writes_nothing(first, second, clock):
    claimed = await begin(first)
    kept = await claim(first, "t2", name="play")
    for _ in range(4):
        clock.now += LEASE_S * 0.7
        await first.renew({kept: ""})
        await second.list("")
    assert (await row(second)).running is None
    before = await whole(second)

    with pytest.raises(Conflict, match="work"):
        await first.append(claimed, [assistant("late")])
    with pytest.raises(Conflict, match="work"):
        await first.said(claimed)
    with pytest.raises(Conflict, match="work"):
        await first.settle(claimed, ended("t1", assistant("late")))
    await first.renew({claimed: "late", kept: "in time"})
    look = await first.look([claimed, kept])

    assert (look.lost, look.interrupted) == ({claimed}, frozenset())
    assert await whole(second) == await whole(first) == before
    assert (await row(second, "play")).running == Running("t2", 100.0, "in time")


async def test_a_claim_that_was_lost_cannot_touch_the_turn_that_followed(first, second, clock):
    lost = await begin(first)
    await lapse(clock, second)
    following = await claim(second, "t2")
    await second.interrupt("", "work")
    before = await whole(second)

    with pytest.raises(Conflict):
        await first.append(lost, [assistant("late")])
    with pytest.raises(Conflict):
        await first.settle(lost, ended("t1", assistant("late")))
    await first.renew({lost: "late"})
    assert await whole(second) == before
    assert await first.look([lost]) == Look(frozenset({lost}), frozenset(), {})
    await second.settle(following, ended("t2", assistant("fine")))
    assert await said(second) == [(1, "hi"), (2, "fine")]


async def test_a_lost_round_cannot_touch_the_next_round_of_its_turn(first, second, clock):
    await ask(first, "t1")
    lost = await begin(first, "red")
    await lapse(clock, second)
    following = await claim(second, "t1", "blue")
    before = await whole(second)

    with pytest.raises(Conflict):
        await first.settle(lost, ended("t1", assistant("late")))
    await first.renew({lost: "late"})
    assert await whole(second) == before
    assert ((await first.look([lost])).lost, (await second.look([following])).lost) == ({lost}, frozenset())


async def test_a_turn_outlives_a_jump_of_the_clock(path, clock):
    """A clock that was set, or a machine that slept, makes every lease look over."""
    steady = Clock()
    first, second = (SqliteStore(path, now=clock, monotonic=steady) for _ in range(2))
    claimed = await begin(first)
    for _ in range(3):
        clock.now += 1000
        assert (await row(second)).running == Running("t1", 100.0)
        steady.now += LEASE_S * 0.9
        assert (await row(second)).running == Running("t1", 100.0)
        await first.renew({claimed: ""})
        steady.now += LEASE_S * 0.9
        assert (await row(second)).running == Running("t1", 100.0)

    clock.now += 1000
    assert (await row(second)).running == Running("t1", 100.0)
    steady.now += LEASE_S + 0.1
    assert (await row(second)).running is None
    await first.aclose()
    await second.aclose()


async def test_who_only_looks_is_told_what_is_there_though_a_cut_off_turn_cannot_be_settled(
    first, second, caplog
):
    """Issue 4: disk full: a clear error, recovery without a restart where the fault ends."""
    await take(first, "t0")
    claimed = await begin(first, request_id="r")
    await first.renew({claimed: "x" * 200_000})
    await first.aclose()
    connection = second._writer.connection()
    connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}")

    with caplog.at_level(logging.WARNING, "eai_mcp"):
        assert (await row(second)).running is not None
        assert [shown.message_count for shown in await second.list("")] == [2]
        assert len(await said(second)) == 2
        assert isinstance(await second.find("", "work"), Running)
    assert ["cannot be settled" in record.getMessage() for record in caplog.records] == [True]
    for change in (
        lambda: second.claim("", "work", start("t2")),
        lambda: second.put("", [Put(name="work", lines=())]),
        lambda: second.delete("", "work"),
        lambda: second.interrupt("", "work"),
    ):
        with pytest.raises(StorageFull):
            await change()

    connection.execute("PRAGMA max_page_count=100000")
    assert (await row(second)).running is None
    assert len(await said(second)) == 4


@pytest.mark.parametrize(
    ("damaged", "left"),
    [(1, []), (2, ["hi", "half"]), (3, ["hi", "", "", "half"]), (4, ["hi", "", "", "half"])],
)
async def test_what_cannot_be_read_of_a_cut_off_turn_is_dropped_with_all_behind_it(
    path, first, second, caplog, damaged, left
):
    """Issue 4: a corrupt database file: recovery without a restart."""
    claimed = await begin(first)
    await first.append(claimed, [uses("u1"), results("u1"), uses("u2")])
    await first.renew({claimed: "half"})
    await first.aclose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE message SET body = '{' WHERE rowid = ?", (damaged,))
        connection.commit()

    with caplog.at_level(logging.WARNING, "eai_mcp"):
        assert (await row(second)).running is None
    assert f"{5 - damaged} of its messages are dropped" in caplog.records[0].getMessage()
    history = [entry.message for entry in await second.load("", "work")]
    assert unpaired(history) == []
    assert [message.text for message in history] == left
    await take(second, "t2")


CHILD = """
import sys
from pathlib import Path

import anyio

from eai_mcp.store.sqlite import SqliteStore
from tests.store.taking import claim, results, uses


async def main():
    store = SqliteStore(Path(sys.argv[1]))
    claimed = await claim(store, "t1", report={"cut": "off"})
    await store.append(claimed, [uses("u1")])
    await store.renew({claimed: "Once"})
    print("!", end="", flush=True)
    await anyio.sleep_forever()


anyio.run(main)
"""


async def test_the_turn_of_a_process_that_was_killed_is_cut_off(path, second):
    """Issue 4: kill -9 loses nothing acknowledged."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(path)]
    with anyio.fail_after(15):
        async with await anyio.open_process(command, stderr=None) as child:
            assert child.stdout is not None
            assert await child.stdout.receive() == b"!"
            assert (await row(second)).running is not None
            child.kill()

    found = await second.find("", "work")
    assert found == (CUT_OFF, "Once")
    messages = [entry.message for entry in await second.load("", "work")]
    assert (len(messages), unpaired(messages)) == (4, [])


async def test_an_answer_that_is_a_finished_step_stays_if_the_turn_is_cut_off(first, second, lose):
    claimed = await claim(first, "t1")
    await first.settle(claimed, ended("t1", uses("u1"), status="awaiting_input", question=question("t1")))
    claimed = await claim(first, "t1", results("u1"))
    await first.amend(claimed, results("u1"), is_step=True)
    await lose()

    history = [entry.message for entry in await second.load("", "work")]
    assert history == [user("hi"), uses("u1"), results("u1")]
    assert (await row(second)).question is None
