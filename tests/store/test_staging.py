import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from itertools import count

import anyio
import pytest

from eai_mcp.errors import AlreadyExists, Conflict
from eai_mcp.messages import line, user
from eai_mcp.store import Put, hidden
from eai_mcp.store.hidden import Room
from eai_mcp.store.sqlite import SqliteStore
from tests.store.halfway import CHUNK, TEXTS, Gated, halfway, large, lines, stored
from tests.store.taking import claim, row, said, take, whole
from tests.store.test_plans import WHOLE as FROM_END_TO_END

WHOLE = [*enumerate(TEXTS, 1)]
SMALL = Put(name="work", lines=lines(["small"]))
PUT = """
import pathlib, sys
import anyio
from eai_mcp.messages import line, user
from eai_mcp.store import Put
from eai_mcp.store.sqlite import SqliteStore

class Lines:
    def __iter__(self):
        for number in range(100):
            if number == 50:
                print("half", flush=True)
                sys.stdin.read()
            yield line(user("lost"))

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]), chunk=4)
    await store.put("", [Put(name="work", lines=Lines()), Put(name="new", lines=())], only=True)

anyio.run(main)
"""


@pytest.fixture
async def first(path, clock):
    """One of two owners, to whom four messages are a large history."""
    store = SqliteStore(path, now=clock, monotonic=clock, chunk=CHUNK)
    yield store
    await store.aclose()


@pytest.fixture
async def second(path, clock):
    """The other owner of the same file."""
    store = SqliteStore(path, now=clock, monotonic=clock, chunk=CHUNK)
    yield store
    await store.aclose()


@contextmanager
def killed_halfway(path):
    """A process that is killed while it puts a large history in place of all others."""
    command = [sys.executable, "-c", PUT, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        yield
        process.kill()


async def test_another_owner_sees_nothing_before_it_is_whole(first, second):
    await take(first, "t1")
    before = await whole(second)
    async with halfway(first, Put(name="work", lines=Gated()), large("new")):
        assert await whole(second) == before
        assert await second.scan("", lambda found: [row.name for row, _ in found]) == ["work"]
        await take(second, "t2", name="other")
    assert [await said(second, name) for name in ("work", "new")] == [WHOLE, WHOLE]


async def test_of_two_owners_one_puts_its_history_in_place(first, second):
    await take(first, "t1")
    async with halfway(first, Put(name="work", lines=Gated())) as ending:
        for other in (large(), SMALL):
            with pytest.raises(Conflict, match="another history is being put in place") as caught:
                await second.put("", [other])
            assert caught.value.retryable
        assert await second.put("", [large("other")]) == (1,)
    assert ending.revisions == (2,)
    assert await said(second) == WHOLE
    assert await second.put("", [large()]) == (3,)
    assert await stored(first) == (2, 2 + 3 * len(TEXTS), 1)


@pytest.mark.parametrize(("writing", "error"), [("new", AlreadyExists), ("either", Conflict)])
async def test_of_two_owners_one_makes_a_session(first, second, writing, error):
    async with halfway(first, Put(name="work", lines=Gated(), writing=writing)) as ending:
        assert await second.put("", [large(writing=writing)]) == (1,)
    assert isinstance(ending.error, error)
    assert await said(first) == WHOLE
    assert await stored(first) == (1, len(TEXTS), 0)


async def test_two_owners_that_each_put_all_others_out_do_so_one_after_the_other(first, second):
    async with halfway(first, Put(name="a", lines=Gated()), only=True) as ending:
        assert await second.put("", [large("b")], only=True) == (1,)
    assert ending.revisions == (1,)
    assert [shown.name for shown in await second.list("")] == ["a"]
    assert await stored(first) == (1, len(TEXTS), 0)


@pytest.mark.parametrize("put", [large(), SMALL], ids=["large", "small"])
async def test_a_killed_process_leaves_the_former_history_whole(first, path, put):
    """Issue 5: restore ... is all or nothing."""
    await take(first, "t1")
    await take(first, "t2", name="other")
    before = [await whole(first), await whole(first, "other")]
    with killed_halfway(path):
        assert (await stored(first))[1] == 4 + 48
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert [await whole(first), await whole(first, "other")] == before
    assert [shown.name for shown in await first.list("")] == ["other", "work"]

    assert await first.put("", [put]) == (2,)
    assert await stored(first) == (2, 4 + len(put.lines), 2)


async def test_what_a_killed_process_left_elsewhere_goes_with_the_next_large_history(first, path):
    await take(first, "t1")
    with killed_halfway(path):
        pass
    await first.put("", [Put(name="small", lines=lines(["small"]))])
    assert (await stored(first))[1] == 2 + 48 + 1
    await first.put("", [large("large")])
    assert await stored(first) == (3, 2 + 1 + len(TEXTS), 1)


async def test_a_session_may_be_closed_with_what_a_killed_process_left_in_it(first, path):
    await take(first, "t1")
    with killed_halfway(path):
        pass
    assert await first.delete("", "work")
    assert (await stored(first))[1:] == (0, 0)
    await first.put("", [large()])
    assert await stored(first) == (1, len(TEXTS), 0)


async def test_a_process_that_looked_dead_cannot_finish(first, second):
    await take(first, "t1")
    async with halfway(first, Put(name="work", lines=Gated()), large("new")) as ending:
        first._owners.leave()
        assert await second.put("", [SMALL]) == (2,)
    assert isinstance(ending.error, Conflict)
    assert await said(second) == [(1, "small")]
    assert await stored(second) == (1, 3, 1)


async def test_a_turn_whose_process_died_meanwhile_is_settled_and_not_in_the_way(first, second):
    await take(first, "t1")
    async with halfway(first, Put(name="work", lines=Gated())) as ending:
        await claim(second, "t2", "two")
        await second.aclose()
    assert ending.revisions == (2,)
    assert await said(first) == WHOLE
    assert [text for _, text in await said(first, revision=1)] == ["hi", "hello"]


async def test_a_history_put_by_an_older_eai_mcp_meanwhile_is_not_touched(first):
    """It knows nothing of records, and puts its own where ours would be."""
    await take(first, "t1")

    def bump(connection):
        connection.execute("DELETE FROM message WHERE revision = 2")
        connection.execute("UPDATE session SET revision = 2, message_count = 1 WHERE name = 'work'")
        connection.execute("INSERT INTO message VALUES (1, 2, 1, '', 0, 'input', 1.0, ?)", (old.body,))

    old = line(user("by the older one"))
    async with halfway(first, Put(name="work", lines=Gated())) as ending:
        await first._writer.run(bump)
    assert isinstance(ending.error, Conflict)
    assert await said(first) == [(1, "by the older one")]


async def test_what_could_not_be_swept_away_at_once_is_nobodys(first, second):
    await take(first, "t1")

    def leave(connection):
        (session,) = connection.execute("SELECT * FROM session WHERE name = 'work'")
        targets = hidden.recorded(connection, f"{first._owner()}/token", [session, None], 1.0)
        said = lines()
        hidden.inserted(connection, targets, [(0, 1, said[0]), (0, 2, said[1]), (1, 1, said[0])])

    await first._writer.run(leave)
    with pytest.raises(Conflict):  # its process lives
        await second.put("", [SMALL])
    await first._writer.run(lambda c: hidden.disowned(c, f"{first._owners.name}/token"))
    assert await second.put("", [SMALL]) == (2,)
    assert await stored(second) == (1, 3, 1)

    await first._writer.run(leave)
    assert await first.put("", [SMALL]) == (3,)  # nor is it at work any more
    assert await stored(first) == (1, 4, 1)


async def test_the_right_to_write_is_had_by_another_owner_between_any_two_pieces(first, second):
    """Each piece waits until the other one has written since the piece before."""
    numbers, wrote = count(1), []
    gate = Gated(*range(CHUNK, len(TEXTS), CHUNK))
    with anyio.fail_after(10):
        async with halfway(first, Put(name="work", lines=gate)):
            for _ in range(CHUNK, len(TEXTS) - CHUNK, CHUNK):
                wrote.append(await second.ensure("", f"s{next(numbers)}"))
                gate.open()
                await gate.reached()
    assert wrote == [True, True]
    assert (await row(second)).message_count == len(TEXTS)


async def test_every_statement_finds_its_rows_by_an_index():
    store = SqliteStore(None, chunk=CHUNK)
    statements: list[str] = []
    connection = store._writer.connection()
    connection.set_trace_callback(statements.append)
    await take(store, "t1")
    for _ in range(13):
        await store.put("", [large(), large("b")])
    await store.put("", [large("b")], only=True)
    async with halfway(store, Put(name="b", lines=Gated())):
        await store.delete("", "b")
    connection.set_trace_callback(None)

    read = [each for each in dict.fromkeys(statements) if each.startswith(("SELECT", "DELETE", "UPDATE"))]
    plans = [(connection.execute(f"EXPLAIN QUERY PLAN {each}").fetchall(), each) for each in read]
    whole = [each for plan, each in plans for step in plan if FROM_END_TO_END.match(step["detail"])]
    assert (len(read) > 20, whole) == (True, [])


@pytest.mark.parametrize(("rows", "batches"), [(250, [100, 100, 50, 0]), (1, [1, 0]), (0, [1, 0])])
def test_a_step_deletes_so_many_rows(rows, batches):
    room, granted = Room(rows, until=float("inf")), []
    for _ in batches:
        granted.append(room.batch())
        room.rows -= granted[-1]
    assert granted == batches


def test_a_step_deletes_something_even_if_it_is_late():
    room = Room(1000, until=0.0)
    assert [room.batch(), room.batch()] == [100, 0]
