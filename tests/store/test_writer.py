import logging
import sqlite3
import threading
from contextlib import closing
from typing import Any

import anyio
import anyio.to_thread
import pytest

from eai_mcp.errors import NotFound, StorageFull, StorageUnavailable
from eai_mcp.store import database, writer
from eai_mcp.store.bus import FileBus
from eai_mcp.store.readers import Readers
from eai_mcp.store.writer import Writer

TABLES = (
    "CREATE TABLE word (text TEXT UNIQUE)",
    "CREATE TABLE rule (text TEXT REFERENCES word (text) DEFERRABLE INITIALLY DEFERRED)",
)


class Shop:
    """A writer whose thread waits, when told to, so that others come meanwhile and share the next commit."""

    def __init__(self, path):
        self.writer = Writer(path)
        self.go_on = threading.Event()
        self.is_held = threading.Event()

    def hold(self, connection):
        self.is_held.set()
        assert self.go_on.wait(5)

    async def together(self, *works):
        """What came of each piece of work, all of which wait for one commit."""
        ends: list[Any] = [None] * len(works)

        async def one(number, work):
            try:
                ends[number] = await self.writer.run(work)
            except Exception as error:  # noqa: BLE001 - the error is the result
                ends[number] = error

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.writer.run, self.hold)
                await anyio.to_thread.run_sync(self.is_held.wait, 5)
                for number, work in enumerate(works):
                    tasks.start_soon(one, number, work)
                await anyio.wait_all_tasks_blocked()
                self.go_on.set()
        return ends


@pytest.fixture
async def shop(path):
    with closing(database.opened(path)) as connection:
        for statement in TABLES:
            connection.execute(statement)
    shop = Shop(path)
    yield shop
    await shop.writer.aclose()


def add(word):
    return lambda connection: connection.execute("INSERT INTO word VALUES (?)", (word,)).rowcount


def words(path):
    """What is in the file, sorted: trio starts tasks in any order."""
    with closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM word ORDER BY text")]


def refuse(connection):
    add("refused")(connection)
    raise NotFound("there is none")


def missing(connection):
    raise NotFound("there is none")


async def test_a_refused_piece_does_not_spoil_its_neighbours(shop, path):
    ends = await shop.together(add("a"), refuse, add("b"))

    assert ends[0] == ends[2] == 1
    assert isinstance(ends[1], NotFound)
    assert words(path) == ["a", "b"]


async def test_pieces_that_wait_share_one_commit(shop, path):
    seen = []
    adding = [add(f"w{number}") for number in range(10)]
    await shop.together(*adding, lambda connection: seen.append(words(path)))

    assert seen == [[]]
    assert words(path) == [f"w{number}" for number in range(10)]


async def test_a_piece_that_sqlite_refuses_fails_alone(shop, path):
    ends = await shop.together(add("a"), add("a"), add("b"))

    assert sum(end == 1 for end in ends) == 2
    (failed,) = [end for end in ends if end != 1]
    assert isinstance(failed, sqlite3.IntegrityError)
    assert words(path) == ["a", "b"]


async def test_a_commit_that_fails_is_tried_again_piece_by_piece(shop, path):
    def break_the_commit(connection):
        connection.execute("PRAGMA defer_foreign_keys=ON")
        connection.execute("INSERT INTO rule VALUES ('nothing')")

    shop.writer.connection().execute("PRAGMA foreign_keys=ON")
    ends = await shop.together(add("a"), break_the_commit, add("b"))

    assert ends[0] == ends[2] == 1
    assert isinstance(ends[1], sqlite3.IntegrityError)
    assert words(path) == ["a", "b"]


async def test_what_a_cancelled_caller_asked_for_is_done_all_the_same(shop, path):
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.writer.run, shop.hold)
            await anyio.to_thread.run_sync(shop.is_held.wait, 5)
            async with anyio.create_task_group() as callers:
                callers.start_soon(shop.writer.run, add("a"))
                callers.start_soon(shop.writer.run, add("b"))
                await anyio.wait_all_tasks_blocked()
                callers.cancel_scope.cancel()
                shop.go_on.set()
        assert words(path) == ["a", "b"]
        await shop.writer.run(add("c"))
    assert words(path) == ["a", "b", "c"]


async def test_a_full_disk_refuses_what_is_too_large_and_goes_on_once_there_is_room(shop, path):
    """Issue 4: disk full: a clear error, nothing acknowledged lost, recovery without a restart."""
    connection = shop.writer.connection()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 2}")
    ends = await shop.together(add("small"), add("x" * 100_000), add("little"))

    assert ends[0] == ends[2] == 1
    assert isinstance(ends[1], StorageFull)
    assert ends[1].retryable
    assert str(path) in ends[1].message
    assert "make room" in ends[1].message
    assert words(path) == ["little", "small"]
    connection.execute(f"PRAGMA max_page_count={pages + 200}")
    assert await shop.writer.run(add("x" * 100_000)) == 1


async def test_the_log_is_moved_into_the_file_before_it_grows_long(shop, path):
    log = path.with_name(f"{path.name}-wal")
    longest = 0
    for number in range(60):
        await shop.writer.run(add(f"{number}" + "x" * 500_000))
        longest = max(longest, log.stat().st_size)

    assert longest < writer.CHECKPOINT_BYTES + 1_000_000
    assert len(words(path)) == 60


async def test_a_long_reader_delays_only_the_moving_of_the_log(shop, path):
    log = path.with_name(f"{path.name}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM word").fetchone()
        for number in range(30):
            await shop.writer.run(add(f"{number}" + "x" * 500_000))
        assert reader.execute("SELECT count(*) FROM word").fetchone() == (0,)
        assert log.stat().st_size > 2 * writer.CHECKPOINT_BYTES
    for number in range(20):
        await shop.writer.run(add(f"after {number}" + "x" * 500_000))

    assert log.stat().st_size < writer.CHECKPOINT_BYTES + 1_000_000
    assert len(words(path)) == 50


async def test_the_log_is_moved_early_again_when_another_process_has_moved_it(shop, path):
    log = path.with_name(f"{path.name}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM word").fetchone()
        for number in range(30):
            await shop.writer.run(add(f"{number}" + "x" * 500_000))
        other.execute("COMMIT")
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        for number in range(12):
            await shop.writer.run(add(f"after {number}" + "x" * 500_000))
    assert log.stat().st_size < writer.CHECKPOINT_BYTES + 1_000_000


async def test_a_checkpoint_that_fails_leaves_the_patience_of_the_connection_as_it_was(shop, caplog):
    def refuse_checkpoints(action, name, *_):
        return sqlite3.SQLITE_DENY if name == "wal_checkpoint" else sqlite3.SQLITE_OK

    connection = shop.writer.connection()
    connection.set_authorizer(refuse_checkpoints)
    for number in range(12):
        await shop.writer.run(add(f"{number}" + "x" * 500_000))

    assert "cannot be checkpointed" in caplog.text
    assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == database.BUSY_S * 1000


async def test_what_ends_a_thread_in_the_middle_of_a_transaction_is_undone(shop, path):
    class Ended(BaseException):
        """As if memory had run out within SQLite."""

    def end(connection):
        add("half")(connection)
        raise Ended

    with pytest.raises(Ended):
        await shop.writer.run(end)
    assert await shop.writer.run(add("whole")) == 1
    assert words(path) == ["whole"]


async def test_a_file_that_became_another_under_the_connection_is_told_of_by_the_next_use(shop, path):
    """As when a file is copied over the one that is open."""

    def insert(connection):
        connection.execute("INSERT INTO session (space, name, updated_at) VALUES ('', 'a', 0)")

    await shop.writer.run(add("a"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE session")
        other.execute("PRAGMA application_id=0")
        other.commit()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await shop.writer.run(insert)
    with pytest.raises(StorageUnavailable, match="is a database of another program"):
        await shop.writer.run(insert)


async def test_a_removed_file_is_made_anew_with_a_warning(shop, path, caplog):
    """Issue 4: recovery without a restart."""
    await shop.writer.run(add("lost"))
    with caplog.at_level(logging.WARNING, "eai_mcp"):
        path.unlink()
        await shop.writer.run(
            lambda c: c.execute("INSERT INTO session (space, name, updated_at) VALUES ('', 'a', 0)")
        )

    assert [record.getMessage() for record in caplog.records] == [
        f"the file with the sessions, {path}, was removed; it is made anew"
    ]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM session").fetchall() == [("a",)]


async def test_a_writer_goes_on_when_its_file_can_be_opened_again(path):
    path.write_text("this is a letter, not a database " * 100, encoding="utf-8")
    ours = Writer(path)
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await ours.run(lambda c: c.execute("SELECT 1").fetchone())
    path.unlink()

    assert tuple(await ours.run(lambda c: c.execute("SELECT 1").fetchone())) == (1,)
    await ours.aclose()


async def test_the_bus_wakes_for_the_commits_of_others_only(shop, path):
    bus = FileBus(shop.writer)
    other = Writer(path)
    await shop.writer.run(add("ours"))
    await bus.publish()
    with anyio.fail_after(5):
        await bus.changed()
    await shop.writer.run(add("ours too"))
    with anyio.move_on_after(0.05) as quiet:
        await bus.changed()
    assert quiet.cancelled_caught

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bus.changed)
            await anyio.wait_all_tasks_blocked()
            await other.run(add("theirs"))
    await other.aclose()


async def test_in_memory_there_is_nobody_to_hear_of(path):
    with anyio.move_on_after(0.05) as quiet:
        await FileBus(None).changed()
    assert quiet.cancelled_caught


async def test_readers_see_one_state_while_others_write(shop, path):
    readers = Readers(path)

    def twice(connection):
        first = connection.execute("SELECT count(*) FROM word").fetchone()[0]
        with closing(sqlite3.connect(path)) as other:
            other.execute("INSERT INTO word VALUES ('meanwhile')")
            other.commit()
        return first, connection.execute("SELECT count(*) FROM word").fetchone()[0]

    assert await readers.run(twice) == (0, 0)
    assert words(path) == ["meanwhile"]
    readers.close()


async def test_more_readers_than_connections_wait_their_turn(shop, path):
    readers = Readers(path)
    found = []

    async def one():
        found.append(await readers.run(lambda c: c.execute("SELECT 1").fetchone()[0]))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(one)
    assert found == [1] * 40
    readers.close()


async def test_a_reader_that_finds_nothing_or_fails_can_be_used_again(shop, path):
    readers = Readers(path)
    with pytest.raises(NotFound):
        await readers.run(missing)
    with pytest.raises(sqlite3.OperationalError):
        await readers.run(lambda c: c.execute("SELECT * FROM nothing"))
    assert (await readers.run(lambda c: c.execute("SELECT 1").fetchone()))[0] == 1
    readers.close()
