"""Processes that want the same file, the same sessions, the same requests at the same moment."""

import signal
from collections import Counter, defaultdict

import anyio
import pytest

from eai_mcp.chat.values import Talk
from eai_mcp.store import Running
from eai_mcp.store.sqlite import SqliteStore
from tests.chaos.children import all_ended, child, children
from tests.chaos.talking import LEASE_S, SESSIONS, TURNS, WRITERS, talking
from tests.chaos.test_kill import check_file, check_kept, check_valid, turns
from tests.store.taking import said

pytestmark = pytest.mark.timeout(60)


def check_all_kept(lines, number):
    assert [line for line in lines if line[0] not in ("begun", "kept")] == []
    assert Counter(line[0] for line in lines) == {"begun": number, "kept": number}


async def test_no_turns_interleave_when_four_processes_contend_for_the_same_sessions(path):
    """Issue 4: 4 processes x 8 tasks contending for 64 sessions: 0 interleaved turns, 0 "database is
    locked"."""
    async with children("contend", path, "a", "b", "c", "d") as each:
        lines = await all_ended(each)

    kept = [line for line in lines if line[0] == "kept"]
    check_all_kept(lines, 4 * WRITERS * TURNS)
    count = 0
    async with talking(path) as registry:
        rows = await registry.sessions("", prefix="s", limit=SESSIONS)
        for row in rows:
            entries = await registry.history("", row.name, limit=None)
            check_valid(entries)
            places = {turn_id: place for place, turn_id in enumerate(turns(entries))}
            ours = [line for line in kept if line[1] == row.name]
            check_kept(entries, sorted(ours, key=lambda line: places[line[3]]))
            count += len(places)
    assert count == 4 * WRITERS * TURNS


async def test_the_same_request_in_four_processes_at_once_is_one_turn(path):
    """Issue 4: the same `request_id` twice, also concurrently: one turn."""
    async with children("same", path, "a", "b", "c", "d") as each:
        lines = await all_ended(each)

    check_all_kept(lines, 4 * WRITERS * TURNS)
    found = defaultdict(set)
    for line in lines:
        found[line[1], line[2]].add(line[3])
    assert all(len(ids) == 1 for ids in found.values()), found
    async with talking(path) as registry:
        for session in (f"s{number}" for number in range(WRITERS)):
            entries = await registry.history("", session, limit=None)
            texts = [each[0].message.text for each in turns(entries).values()]
            assert sorted(texts) == [f"same-{number}" for number in range(TURNS)]


@pytest.mark.parametrize("number", [2, 8])
async def test_a_fresh_file_may_be_opened_by_many_at_once(path, number):
    """Issue 4: two processes starting on a fresh file at once."""
    words = [f"p{each}" for each in range(number)]
    async with children("fresh", path, *words) as each:
        lines = await all_ended(each)

    check_all_kept(lines, number)
    async with talking(path) as registry:
        assert [row.name for row in await registry.sessions("", prefix="p")] == words
    check_file(path)


async def test_a_stopped_owner_is_taken_over_and_can_write_nothing_when_it_goes_on(path):
    """Issue 4: cut-off turns found by lease."""
    store = SqliteStore(path, lease_s=LEASE_S)
    async with child("owner", path, "t1") as one:
        await one.tell("go")
        assert (await one.heard())[0] == "claimed"
        one.process.send_signal(signal.SIGSTOP)
        with anyio.fail_after(10):
            while isinstance(await store.find("", "work"), Running):  # noqa: ASYNC110 - time ends a lease
                await anyio.sleep(0.02)
        before = await said(store)
        one.process.send_signal(signal.SIGCONT)
        await one.tell("append")
        assert await one.heard() == ["refused", "append", "conflict"]
        await one.tell("settle")
        assert await one.heard() == ["refused", "settle", "conflict"]

    assert await said(store) == before
    await store.aclose()


async def test_the_turn_of_a_stopped_process_ends_as_taken_over_and_the_next_one_is_clean(path):
    """Issue 4: `if_busy` wait takes a turn over whose owner let its lease run out."""
    async with child("held", path, "first") as one, talking(path, lease_s=LEASE_S, renew_s=0.1) as registry:
        await one.tell("go")
        lines = [await one.heard(), await one.heard()]
        ((_, _, _, turn_id),) = [line for line in lines if line[0] == "begun"]
        one.process.send_signal(signal.SIGSTOP)
        with anyio.fail_after(10):
            turn = await registry.begin("", Talk(content="next", session="work", if_busy="wait"))
            assert (await registry.reply(turn, 5)).reply == "re: next"
        before = await registry.history("", "work")
        one.process.send_signal(signal.SIGCONT)
        await one.tell("answer")
        ended = await one.heard()

        assert ended[0] == "failed" or ended[4] == "interrupted", ended
        assert await registry.history("", "work") == before
        cut_off = await registry.reply(await registry.find("", "work", turn_id), 0)
        assert (cut_off.status, cut_off.stop_reason) == ("interrupted", "cut_off")
        check_valid(before)
