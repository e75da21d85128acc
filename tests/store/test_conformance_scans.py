"""What every store must do: all sessions read at one moment, and put in the place of all others."""

import threading

import anyio
import pytest

from eai_mcp.errors import ImportInvalid, NotFound, SessionBusy
from eai_mcp.messages import line, user
from eai_mcp.store import Put
from tests.store.taking import claim, ended, lapse, row, scanned, take, whole


def seen(found):
    """All that a scan shows, by session."""
    return {row.name: [line.message.text for line in lines] for row, lines in found}


async def test_all_sessions_are_shown_in_the_order_of_their_names(store):
    await take(store, "t1", "one", "1", name="b")
    await take(store, "t2", "two", "2", name="a")
    await store.ensure("", "c")
    await take(store, "t3", "else", "where", name="a", space="other")

    assert await store.scan("", lambda found: [*seen(found).items()]) == [
        ("a", ["two", "2"]),
        ("b", ["one", "1"]),
        ("c", []),
    ]
    assert await store.scan("nobody", seen) == {}


async def test_one_session_is_shown_with_its_turns_and_times(store):
    await take(store, "t1", "one", "1")
    first, second = await store.load("", "work")

    assert await scanned(store) == [
        line(first.message, turn_id="t1", at=first.at),
        line(second.message, turn_id="t1", at=second.at),
    ]
    assert await store.scan("", lambda found: [row for row, _ in found], name="work") == [await row(store)]
    with pytest.raises(NotFound, match="none"):
        await scanned(store, "none")
    with pytest.raises(NotFound, match="no revision 7"):
        await scanned(store, revision=7)


async def test_what_runs_is_not_shown_and_does_not_wait(store):
    await take(store, "t1", "one", "1")
    running = await claim(store, "t2", "two")
    assert await store.scan("", seen) == {"work": ["one", "1"]}
    await store.settle(running, ended("t2"))
    assert await store.scan("", seen) == {"work": ["one", "1", "two"]}


async def test_a_turn_whose_owner_is_gone_is_settled_before(first, second, clock):
    """Two stores in one file: what is kept of the dead one's turn is in the scan."""
    await claim(first, "t1", "asked")
    await lapse(clock, second)
    shown = await second.scan("", lambda found: [row.running for row, _ in found])
    assert shown == [None]


async def test_all_are_shown_as_they_are_at_one_moment(first, second):
    """Issue 5: **Snapshot and restore** of all sessions: consistent, one file."""
    for name in ("a", "b"):
        await take(first, f"t-{name}", "one", "1", name=name)
    has_begun, may_go_on = threading.Event(), threading.Event()

    def slowly(found):
        shown = {}
        for each, lines in found:
            shown[each.name] = (each.message_count, len([*lines]))
            has_begun.set()
            may_go_on.wait(10)
        return shown

    result = []
    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:

            async def scan():
                result.append(await first.scan("", slowly))

            tasks.start_soon(scan)
            await anyio.to_thread.run_sync(has_begun.wait, 10)
            await take(second, "t9", "two", "2", name="b")
            await second.ensure("", "c")
            may_go_on.set()
    assert result == [{"a": (2, 2), "b": (2, 2)}]
    assert (await row(first, "b")).message_count == 4


async def test_what_is_raised_while_scanning_comes_out_and_the_store_goes_on(store):
    await take(store, "t1", "one", "1")

    def fail(found):
        next(next(found)[1])
        raise ImportInvalid("no more")

    with pytest.raises(ImportInvalid, match="no more"):
        await store.scan("", fail)

    def burst(found):
        next(found)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.scan("", burst)
    assert await store.scan("", seen) == {"work": ["one", "1"]}
    await take(store, "t2", "two", "2")
    assert (await row(store)).message_count == 4


async def test_all_others_can_be_removed_in_the_same_step(store):
    """Issue 5: `--merge` and `--replace`."""
    for name in ("a", "b", "c"):
        await take(store, f"t-{name}", name=name)
    await take(store, "t9", name="a", space="other")

    puts = [Put(name=name, lines=[line(user("new"))]) for name in ("b", "d")]
    assert await store.put("", puts, only=True) == (2, 1)
    assert await store.scan("", seen) == {"b": ["new"], "d": ["new"]}
    assert [shown.name for shown in await store.list("other")] == ["a"]


async def test_nothing_is_removed_while_any_of_the_others_is_busy(store):
    """Issue 5: restore ... is all or nothing, and refuses while any target is busy."""
    await take(store, "t1", name="a")
    await claim(store, "t2", name="b")
    before = [await whole(store, name) for name in ("a", "b")]
    with pytest.raises(SessionBusy, match="'b'"):
        await store.put("", [Put(name="c", lines=[line(user("new"))])], only=True)
    assert [await whole(store, name) for name in ("a", "b")] == before
    assert await store.row("", "c") is None


async def test_what_a_dead_owner_left_is_not_in_the_way_of_a_replacement(first, second, clock):
    await claim(first, "t1", name="a")
    await lapse(clock, second)
    assert await second.put("", [Put(name="b", lines=())], only=True) == (1,)
    assert [shown.name for shown in await second.list("")] == ["b"]


async def test_lines_that_fail_while_they_are_written_undo_it_all(store):
    """Issue 5: restore ... is all or nothing."""
    await take(store, "t1")
    before = await whole(store, "work")

    def broken():
        yield line(user("new"))
        raise ImportInvalid("the rest is missing")

    class Broken:
        def __iter__(self):
            return broken()

    with pytest.raises(ImportInvalid, match="the rest is missing"):
        await store.put("", [Put(name="x", lines=[line(user("x"))]), Put(name="work", lines=Broken())])
    assert await whole(store, "work") == before
    assert await store.row("", "x") is None
