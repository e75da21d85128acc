"""What a store remembers of histories: the same as it would read, and no more than it may."""

import sqlite3
from contextlib import closing

from eai_mcp.messages import Message, TextBlock, ToolUseBlock, assistant, user
from eai_mcp.store import Claim, Outcome, Settlement
from eai_mcp.store.sqlite import SqliteStore
from tests.store.taking import start

HALVES = "\ud83d\ude00"
"""Two halves of a character, which JSON makes one."""


async def taken(store, turn_id, said, *steps, reply="hello"):
    """A turn of that input, those steps and that reply."""
    claim = await store.claim("", "work", start(turn_id, said))
    assert isinstance(claim, Claim)
    for step in steps:
        await store.append(claim, [step])
    outcome = Outcome(turn_id=turn_id, status="completed", report={})
    await store.settle(claim, Settlement(outcome=outcome, messages=(assistant(reply),)))


def spoiled(path):
    """Make the messages in the file unreadable, so that only what is remembered can be told."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE message SET body = '{broken'")
        connection.commit()


async def test_what_was_said_in_a_turn_need_not_be_read_again(first, path):
    await taken(first, "t1", "hi")
    await taken(first, "t2", user((TextBlock("a"), TextBlock("b"))), assistant("wait"), reply="there")
    spoiled(path)

    said = [(entry.seq, entry.turn_id, entry.message) for entry in await first.load("", "work")]
    assert said == [
        (1, "t1", user("hi")),
        (2, "t1", assistant("hello")),
        (3, "t2", user((TextBlock("a"), TextBlock("b")))),
        (4, "t2", assistant("wait")),
        (5, "t2", assistant("there")),
    ]


async def test_what_is_remembered_is_what_others_read(first, second):
    """Tool uses and halves of characters are read, so that no process sees what another one does not."""
    use = Message("assistant", (ToolUseBlock("u1", "look", {"at": [1, None]}),))
    await taken(first, "t1", HALVES)
    await taken(first, "t2", "hi", use, user("seen"))
    await taken(first, "t3", "bye")

    assert await first.load("", "work") == await second.load("", "work")
    assert (await first.load("", "work"))[0].message == user("\U0001f600")


async def test_a_turn_whose_input_was_changed_is_read(first, second):
    claim = await first.claim("", "work", start("t1", "secret"))
    await first.amend(claim, user("harmless"))
    outcome = Outcome(turn_id="t1", status="completed", report={})
    await first.settle(claim, Settlement(outcome=outcome, messages=(assistant("ok"),)))

    assert [entry.message for entry in await first.load("", "work")] == [user("harmless"), assistant("ok")]
    assert await first.load("", "work") == await second.load("", "work")


async def test_a_turn_that_came_to_nothing_is_not_remembered(first, second):
    await taken(first, "t1", "hi")
    claim = await first.claim("", "work", start("t2", "never"))
    outcome = Outcome(turn_id="t2", status="failed", report={})
    await first.settle(claim, Settlement(outcome=outcome, kept=False))
    await taken(second, "t3", "from elsewhere")
    await taken(first, "t4", "back")

    texts = [entry.message.text for entry in await first.load("", "work")]
    assert texts == ["hi", "hello", "from elsewhere", "hello", "back", "hello"]
    assert await first.load("", "work") == await second.load("", "work")


async def test_histories_are_remembered_in_memory_too():
    store = SqliteStore(None)
    await taken(store, "t1", "hi")
    assert [entry.message.text for entry in await store.load("", "work")] == ["hi", "hello"]
    await store.aclose()
