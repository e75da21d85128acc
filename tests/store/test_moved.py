"""Files that are removed, moved or put back while a store uses them."""

import logging
import shutil
import sqlite3
from contextlib import closing

import pytest

from eai_mcp.store import database
from eai_mcp.store.sqlite import SqliteStore
from tests.store.taking import claim, ended, row, said, take


@pytest.fixture
async def store(path):
    """A store in a file that is not there yet."""
    store = SqliteStore(path)
    yield store
    await store.aclose()


async def works(store, turn_id):
    before = len(await said(store)) if await store.row("", "work") else 0
    await take(store, turn_id)
    assert len(await said(store)) == before + 2


@pytest.mark.parametrize("whole", [False, True], ids=["the file", "its folder"])
async def test_what_is_removed_while_it_is_in_use_is_made_anew_with_a_warning(tmp_path, caplog, whole):
    """Issue 4: recovery without a restart where the fault ends."""
    path = tmp_path / "there" / "sessions.db"
    store, other = SqliteStore(path), SqliteStore(path)
    for each in (store, other):
        await take(each, f"t{id(each)}")
    if whole:
        shutil.rmtree(path.parent)
    else:
        path.unlink()

    with caplog.at_level(logging.WARNING, "eai_mcp"):
        await works(store, "t1")
        await works(other, "t2")
    assert {record.getMessage() for record in caplog.records} == {
        f"the file with the sessions, {path}, was removed; it is made anew"
    }
    held = await claim(store, "t3")
    assert (await row(other)).running is not None
    await store.settle(held, ended("t3"))
    assert await said(store) == await said(other)
    await store.aclose()
    await other.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_file_that_is_moved_while_it_is_in_use_takes_all_that_was_said_with_it(store, path):
    """Issue 4: nothing acknowledged lost."""
    for number in range(2):
        await take(store, f"t{number}", f"say {number}")
    moved = path.rename(path.with_name("old"))
    await take(store, "t2", "anew")

    assert await said(store) == [(1, "anew"), (2, "hello")]
    other = SqliteStore(moved)
    assert await said(other) == [(1, "say 0"), (2, "hello"), (3, "say 1"), (4, "hello")]
    await other.aclose()
    assert not list(path.parent.glob("*.left-*"))


async def test_a_file_that_is_moved_before_its_process_leaves_is_whole(store, path):
    await take(store, "t0")
    moved = path.rename(path.with_name("old"))
    await store.aclose()

    other = SqliteStore(moved)
    assert len(await said(other)) == 2
    await other.aclose()


async def test_the_log_of_a_moved_file_that_nobody_has_open_is_kept_beside_the_new_one(store, path, tmp_path):
    """Its process was killed, and the file was moved without its log."""
    killed = SqliteStore(path)
    await take(killed, "t0")
    moved, log = tmp_path / "old", tmp_path / "log"
    shutil.copy(path, moved)
    shutil.copy(database.log_of(path), log)
    await killed.aclose()
    path.unlink()
    log.rename(database.log_of(path))
    await works(store, "t1")

    (left,) = path.parent.glob("*.left-*")
    left.rename(database.log_of(moved))
    other = SqliteStore(moved)
    assert await said(other) == [(1, "hi"), (2, "hello")]
    await other.aclose()


async def test_a_copy_that_is_put_back_while_the_file_is_in_use_is_what_is_read(store, path):
    copy = path.with_name("copy")
    await take(store, "t0")
    await store.aclose()
    shutil.copy(path, copy)
    await take(store, "t1", "before")
    assert len(await said(store)) == 4
    copy.replace(path)

    assert len(await said(store)) == 2
    await take(store, "t2", "after")
    assert await said(store) == [(1, "hi"), (2, "hello"), (3, "after"), (4, "hello")]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
