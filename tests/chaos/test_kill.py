"""Processes that are killed at any moment. EAI_MCP_TEST_ROUNDS makes it more often than 25 times."""

import os
import random
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import groupby, pairwise

import anyio
import pytest

from eai_mcp.calls import ModelRequest
from eai_mcp.chat.values import Talk
from eai_mcp.messages import assistant, user
from eai_mcp.providers.anthropic_messages import wire_messages
from eai_mcp.store import Entry, Outcome, Running
from eai_mcp.store.sqlite import SqliteStore
from tests.chaos.children import child
from tests.chaos.talking import WRITERS, talking
from tests.providers.answering import model
from tests.store.taking import claim, unpaired

ROUNDS = int(os.environ.get("EAI_MCP_TEST_ROUNDS", "25"))
LATEST_S = 0.3


def check_file(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def check_valid(entries: list[Entry]) -> None:
    """What every provider wants: the user begins, roles alternate, tool uses and results are in pairs."""
    messages = [entry.message for entry in entries]
    assert unpaired(messages) == []
    asked = ModelRequest(messages=(*messages, user("next")))
    roles = [wired["role"] for wired in wire_messages(asked, model(), marked=False)]  # type: ignore[call-overload, index]  # JSON
    assert roles[0] == roles[-1] == "user"
    assert all(one != other for one, other in pairwise(roles))


def turns(entries: list[Entry]) -> dict[str, list[Entry]]:
    """The messages turn by turn, each in one piece and without a gap."""
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    found = [(turn, list(each)) for turn, each in groupby(entries, lambda entry: entry.turn_id)]
    assert Counter(turn for turn, _ in found).most_common(1)[0][1] == 1
    return dict(found)


@pytest.mark.timeout(90 + 2 * ROUNDS)
async def test_nothing_acknowledged_is_lost_when_eight_writers_are_killed(path):
    """Issue 4: kill -9 at random moments under 8 writers, 25 rounds in the normal test run (more by option):
    0 acknowledged messages lost, integrity ok, every history valid for a provider."""
    dice = random.Random(4)
    lines = []
    for number in range(ROUNDS):
        async with child("endless", path, f"r{number}") as one:
            await one.tell("go")
            await anyio.sleep(dice.random() * LATEST_S)
            lines += await one.killed()
        if path.exists():
            check_file(path)

    assert {line[0] for line in lines} == {"begun", "kept"}, [
        line for line in lines if line[0] not in ("begun", "kept")
    ]
    async with talking(path) as registry:
        for session in (f"s{number}" for number in range(WRITERS)):
            entries = await registry.history("", session, limit=None)
            check_valid(entries)
            check_kept(entries, [line for line in lines if line[:2] == ["kept", session]])
            await check_begun(registry, entries, [line for line in lines if line[:2] == ["begun", session]])
            again = await registry.reply(await registry.begin("", Talk(content="again", session=session)), 5)
            assert (again.status, again.reply) == ("completed", "re: again")
    check_file(path)


def check_kept(entries: list[Entry], lines: list[list[str]]) -> None:
    """Every acknowledged turn is there, whole and in its place."""
    found = turns(entries)
    for _, _, content, turn_id, status, reply in lines:
        first, *_, last = [entry.message for entry in found[turn_id]]
        assert (first, last) == (user(content), assistant(reply))
        assert (status, reply) == ("completed", f"re: {content}")
    kept = [turn_id for _, _, _, turn_id, *_ in lines]
    assert [turn_id for turn_id in found if turn_id in set(kept)] == kept


async def check_begun(registry, entries: list[Entry], lines: list[list[str]]) -> None:
    """Every turn that began has ended, and its request stands for it alone."""
    said = Counter(entry.message.text for entry in entries if entry.message.role == "user")
    for _, session, content, turn_id in lines:
        turn = await registry.begin("", Talk(content=content, session=session, request_id=content))
        assert turn.turn_id == turn_id
        assert (await registry.reply(turn, 0)).status in ("completed", "interrupted")
        assert said[content] <= 1


async def test_the_turn_of_a_killed_process_is_taken_over_at_once(path):
    """Issue 4: cut-off turns found by lease or owner lock, never by another process's start."""
    store = SqliteStore(path)
    async with child("owner", path, "t1") as one:
        await one.tell("go")
        assert (await one.heard())[0] == "claimed"
        assert isinstance(await store.find("", "work"), Running)
        await one.killed()

    outcome = Outcome(turn_id="t1", status="interrupted", report={"cut": "off"})
    found = await store.find("", "work")
    assert not isinstance(found, Running)
    assert found[0] == outcome
    await claim(store, "t2", "next")
    await store.aclose()


async def test_a_repeated_request_is_one_turn_though_the_process_that_began_it_was_killed(path):
    """Issue 4: the same `request_id` twice, also concurrently and after kill -9: one turn."""
    async with child("held", path, "once") as one:
        await one.tell("go")
        lines = [await one.heard(), await one.heard()]
        await one.killed()
    ((_, _, _, turn_id),) = [line for line in lines if line[0] == "begun"]

    async with talking(path) as registry:
        for _ in range(2):
            turn = await registry.begin("", Talk(content="once", session="work", request_id="once"))
            result = await registry.reply(turn, 5)
            assert (turn.turn_id, result.status, result.stop_reason) == (turn_id, "interrupted", "cut_off")
        assert {entry.turn_id for entry in await registry.history("", "work")} <= {turn_id}
        await registry.reply(await registry.begin("", Talk(content="next", session="work")), 5)
        check_valid(await registry.history("", "work"))


async def test_a_request_that_was_answered_before_the_kill_gives_the_same_answer(path):
    """Issue 4: the same `request_id` twice, also after kill -9: one turn."""
    async with child("held", path, "once") as one:
        await one.tell("go")
        while (line := await one.heard())[0] != "kept":
            if line == ["asked"]:
                await one.tell("answer")
        await one.killed()
    _, _, _, turn_id, status, reply = line

    async with talking(path) as registry:
        turn = await registry.begin("", Talk(content="once", session="work", request_id="once"))
        result = await registry.reply(turn, 5)
        assert (result.turn_id, result.status, result.reply) == (turn_id, status, reply)
        assert len(await registry.history("", "work")) == 2
