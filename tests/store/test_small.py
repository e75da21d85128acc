"""Small work: done in the event loop where nobody has to be waited for, in a thread where somebody has."""

import sqlite3
import threading
from contextlib import closing

import anyio
import pytest

from eai_mcp.errors import NotFound
from eai_mcp.store import database
from eai_mcp.store.readers import Readers
from eai_mcp.store.writer import Writer

NORMAL, FULL = 1, 2


@pytest.fixture
async def ours(path):
    ours = Writer(path)
    await ours.run(lambda c: c.execute("CREATE TABLE word (text TEXT UNIQUE)"))
    yield ours
    await ours.aclose()


@pytest.fixture
def readers(ours, path):
    readers = Readers(path)
    yield readers
    readers.close()


def add(word):
    return lambda connection: connection.execute("INSERT INTO word VALUES (?)", (word,)).rowcount


def words(path):
    with closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM word ORDER BY text")]


def thread(connection):
    return threading.get_ident()


def patience(connection):
    return connection.execute("PRAGMA synchronous").fetchone()[0]


def refuse(connection):
    add("refused")(connection)
    raise NotFound("there is none")


async def test_small_work_is_done_in_the_event_loop_and_other_work_is_not(ours):
    assert await ours.run(thread, is_small=True) == threading.get_ident()
    assert await ours.run(thread) != threading.get_ident()


async def test_only_what_need_not_last_is_not_waited_for(ours):
    for is_small in (True, False):
        assert await ours.run(patience, is_small=is_small) == FULL
    assert await ours.run(patience, is_small=True, lasts=False) == NORMAL
    assert await ours.run(patience) == FULL


@pytest.mark.parametrize("lasts", [True, False])
async def test_small_work_is_there_for_others_once_it_is_done(ours, path, lasts):
    assert await ours.run(add("a"), is_small=True, lasts=lasts) == 1
    with pytest.raises(NotFound):
        await ours.run(refuse, is_small=True, lasts=lasts)
    assert words(path) == ["a"]


@pytest.mark.parametrize("lasts", [True, False])
async def test_small_work_that_sqlite_refuses_is_undone(ours, path, lasts):
    await ours.run(add("a"), is_small=True, lasts=lasts)
    with pytest.raises(sqlite3.IntegrityError):
        await ours.run(lambda c: add("b")(c) and add("a")(c), is_small=True, lasts=lasts)
    assert words(path) == ["a"]


async def test_nobody_else_waits_while_small_work_waits_for_another_process(ours, path):
    other = database.opened(path)
    with closing(other), anyio.fail_after(10):
        other.execute("BEGIN IMMEDIATE")
        add("theirs")(other)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: ours.run(add("ours"), is_small=True))
            await anyio.wait_all_tasks_blocked()  # only reached if the event loop is not held up
            other.execute("COMMIT")
    assert words(path) == ["ours", "theirs"]


async def test_a_writer_that_is_closed_in_the_middle_finishes_what_was_begun(ours, path):
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(lambda word: ours.run(add(word), is_small=True), f"w{number:02}")
                tasks.start_soon(ours.aclose)
    assert words(path) == [f"w{number:02}" for number in range(20)]


async def test_small_reading_is_done_in_the_event_loop_once_a_thread_has_opened_the_file(readers):
    assert await readers.run(thread, is_small=True) != threading.get_ident()
    assert await readers.run(thread, is_small=True) == threading.get_ident()
    assert await readers.run(thread) != threading.get_ident()
    with pytest.raises(NotFound):
        await readers.run(refuse_to_read, is_small=True)
    assert await readers.run(thread, is_small=True) == threading.get_ident()


def refuse_to_read(connection):
    raise NotFound("there is none")


async def test_small_reading_of_a_file_that_was_replaced_reads_the_new_one(ours, readers, path):
    def count(connection):
        return connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'word'").fetchone()[0]

    assert [await readers.run(count, is_small=True) for _ in range(2)] == [1, 1]
    await ours.aclose()
    path.unlink()
    assert [await readers.run(count, is_small=True) for _ in range(2)] == [0, 0]


async def test_small_reading_that_fails_is_tried_in_a_thread(readers):
    tried = []

    def locked_once(connection):
        tried.append(threading.get_ident())
        if tried == [threading.main_thread().ident]:
            raise sqlite3.OperationalError("database is locked")
        return "read"

    await readers.run(thread)
    assert await readers.run(locked_once, is_small=True) == "read"
    assert len(tried) == 2
