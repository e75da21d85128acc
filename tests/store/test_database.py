"""Files that are not what they should be: each is named, left alone, and used again once it is mended."""

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eai_mcp.errors import LimitExceeded, StorageFull, StorageUnavailable
from eai_mcp.messages import assistant
from eai_mcp.store import Running, database
from eai_mcp.store.sqlite import SqliteStore
from tests.store.taking import claim, ended, row, said, take

STRANGE = "a\ud800b\0c\udfff\u2028"
MIB = 1024 * 1024
LOCKS = Path("/proc/locks")


@pytest.fixture
async def store(path):
    """A store in a file that is not there yet."""
    store = SqliteStore(path)
    yield store
    await store.aclose()


async def refused(store):
    """The error that reading, listing and talking all end in."""
    caught = []
    for attempt in (lambda: store.row("", "work"), lambda: store.list(""), lambda: take(store, "t")):
        with pytest.raises(StorageUnavailable) as each:
            await attempt()
        assert each.value.details["path"] == str(store.path)
        assert str(store.path) in each.value.message
        caught.append(each.value.message)
    assert len(set(caught)) == 1
    return caught[0]


async def works(store, turn_id="mended"):
    before = len(await said(store)) if await store.row("", "work") else 0
    await take(store, turn_id)
    assert len(await said(store)) == before + 2


async def filled(path, turns=30):
    """A good file, not small, that nobody has open; its bytes."""
    store = SqliteStore(path)
    for number in range(turns):
        await take(store, f"t{number}", "x" * 3000)
    await store.aclose()
    return path.read_bytes()


def changed(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql)
        connection.commit()


@pytest.mark.parametrize("text", ["hi", "a letter to somebody\n" * 500])
async def test_a_text_file_is_refused_and_left_alone(store, path, text):
    """Issue 4: a foreign file: a clear error, recovery without a restart where the fault ends."""
    path.write_text(text, encoding="utf-8")
    assert "is no SQLite database; name another with EAI_MCP_STORE" in await refused(store)
    assert path.read_text(encoding="utf-8") == text

    path.unlink()
    await works(store)


async def test_the_database_of_another_program_is_refused_and_left_alone(store, path):
    """Issue 4: a foreign database file: a clear error."""
    changed(path, "CREATE TABLE theirs (a)")
    before = path.read_bytes()
    assert "is a database of another program; name another file" in await refused(store)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]

    path.unlink()
    await works(store)


async def test_a_newer_schema_is_refused_and_left_alone(store, path):
    """Issue 4: a newer schema: a clear error."""
    await filled(path)
    ours = len(database.SCHEMA)
    changed(path, f"PRAGMA user_version={ours + 1}")
    assert f"its schema is {ours + 1}, ours {ours}): update eai-mcp" in await refused(store)

    changed(path, f"PRAGMA user_version={ours}")
    await works(store)
    assert len(await said(store)) == 62


async def test_a_damaged_file_is_refused_and_used_again_when_it_is_put_back(store, path):
    """Issue 4: a corrupt file: a clear error."""
    good = await filled(path)
    dice = random.Random(1)
    pages = [good[at : at + 4096] for at in range(0, len(good), 4096)]
    path.write_bytes(pages[0] + b"".join(dice.randbytes(512) + page[512:] for page in pages[1:]))
    assert (
        "is damaged: database disk image is malformed; move it away with its -wal and -shm"
        in await refused(store)
    )

    other = path.with_name("good")
    other.write_bytes(good)
    other.replace(path)
    await works(store)
    assert len(await said(store)) == 62


async def test_a_file_that_is_cut_short_while_it_is_open_is_refused_until_it_is_replaced(store, path):
    good = await filled(path)
    await works(store)
    await store.aclose()
    os.truncate(path, len(good) // 2)
    with pytest.raises(StorageUnavailable) as caught:
        await said(store)
    assert "is damaged" in caught.value.message

    path.unlink()
    await works(store)


@pytest.mark.parametrize("deep", [0, 1, 2])
async def test_a_file_in_a_folders_place_is_named_until_it_is_gone(tmp_path, deep):
    """Issue 4: read-only folder (this holds for root too): a clear error."""
    wrong = tmp_path / "there"
    wrong.touch()
    store = SqliteStore(wrong.joinpath(*"ab"[:deep], "sessions.db"))
    assert "EAI_MCP_STORE" in await refused(store)

    wrong.unlink()
    await works(store)
    await store.aclose()


async def test_a_folder_in_the_files_place_is_named_until_it_is_gone(store, path):
    path.mkdir()
    assert "cannot be opened" in await refused(store)

    path.rmdir()
    await works(store)


async def test_a_file_in_the_place_of_the_owners_folder_is_named_until_it_is_gone(store, path):
    owners = path.with_name(f"{path.name}-owners")
    owners.touch()
    with pytest.raises(StorageUnavailable) as caught:
        await claim(store, "t1")
    assert caught.value.details["path"] == str(owners)
    assert await store.row("", "work") is None

    owners.unlink()
    await works(store)


async def test_a_network_file_system_is_refused(path, tmp_path):
    """Issue 4: a network file system: a clear error. The kernel's table is text that is handed in."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"30 22 0:26 / {tmp_path} rw - nfs4 server:/x rw\n", encoding="utf-8")
    with pytest.raises(StorageUnavailable) as caught:
        database.prepare(path, mounts=mounts)

    assert "is on a network file system (nfs4), where SQLite can lose data" in caught.value.message
    assert not caught.value.retryable
    assert not path.exists()


def test_a_file_system_without_shared_memory_is_refused(path):
    with (
        closing(sqlite3.connect(f"file:{path}?vfs=unix-dotfile", uri=True)) as connection,
        pytest.raises(StorageUnavailable, match="without the shared memory") as caught,
    ):
        database.use_wal(connection, path)
    assert caught.value.details["path"] == str(path)


async def test_any_text_survives(path, clock):
    """Issue 4: lone surrogates and NUL in text."""
    store = SqliteStore(path, now=clock)
    begun = await claim(store, "t1", STRANGE, report={"text": STRANGE})
    await store.renew({begun: STRANGE})
    assert (await row(store)).running == Running("t1", 100.0, STRANGE)
    await store.settle(begun, ended("t1", assistant(STRANGE)))
    await store.aclose()

    again = SqliteStore(path, now=clock)
    assert await said(again) == [(1, STRANGE), (2, STRANGE)]
    assert await again.find("", "work") == (ended("t1").outcome, STRANGE)
    await again.aclose()


@pytest.mark.timeout(60)
async def test_a_session_of_100_mb_can_be_used_like_any_other(store):
    """Issue 4: 100 MB sessions."""
    for number in range(12):
        begun = await claim(store, f"t{number}", f"{number}" + "x" * (8 * MIB))
        await store.settle(begun, ended(f"t{number}", assistant("read")))
    assert (await row(store)).message_count == 24
    assert [each.message_count for each in await store.list("")] == [24]

    page = await store.load("", "work", after=20, most_bytes=10 * MIB)
    assert [entry.seq for entry in page] == [21, 22, 23]
    assert [len(entry.message.text) for entry in page] == [8 * MIB + 2, 4, 8 * MIB + 2]
    assert (await store.fork("", "work", "copy")).message_count == 24
    assert [entry.seq for entry in await store.load("", "copy", after=22)] == [23, 24]
    assert await store.delete("", "work")
    assert await store.row("", "work") is None
    assert (await row(store, "copy")).message_count == 24


async def test_an_older_file_is_brought_up_to_date_with_all_that_is_in_it(path):
    await filled(path, turns=2)
    newer = (
        *database.SCHEMA,
        "ALTER TABLE session ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'; CREATE TABLE x (y)",
    )
    for _ in range(2):
        with closing(database.opened(path, schema=newer)) as connection:
            found = connection.execute("SELECT name, message_count, colour FROM session").fetchall()
            assert [tuple(each) for each in found] == [("work", 4, "red")]
            assert connection.execute("PRAGMA user_version").fetchone()[0] == len(newer)
            assert connection.execute("SELECT count(*) FROM message").fetchone()[0] == 4
    with pytest.raises(StorageUnavailable):
        database.opened(path)


async def test_a_change_of_schema_that_fails_changes_nothing(path):
    await filled(path, turns=2)
    broken = (*database.SCHEMA, "CREATE TABLE half (a); CREATE TABLE half (b)")
    with pytest.raises(sqlite3.OperationalError):
        database.opened(path, schema=broken)

    with closing(database.opened(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone()[0] == 0


async def test_the_file_and_its_folder_are_for_nobody_else(tmp_path):
    path = tmp_path / "deep" / "er" / "sessions.db"
    store = SqliteStore(path)
    await claim(store, "t1")

    assert {each.stat().st_mode & 0o777 for each in path.parent.rglob("*") if each.is_file()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    await store.aclose()


async def test_every_commit_reaches_the_disk(path):
    with closing(database.opened(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0
        assert connection.execute("PRAGMA mmap_size").fetchone()[0] == 0


@pytest.mark.skipif(not LOCKS.exists(), reason="only Linux tells who has which locks")
async def test_opening_a_file_again_takes_no_lock_away_from_those_who_have_it_open(path):
    """POSIX drops every lock that a process has on a file when it closes any descriptor of it."""
    with closing(database.opened(path)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        before = locks_of(path)
        database.opened(path).close()
        assert before
        assert locks_of(path) == before
        writing.execute("ROLLBACK")


def locks_of(path):
    """The kernel's list of the locks on a file."""
    number = f":{path.stat().st_ino} "
    lines = LOCKS.read_text(encoding="ascii").splitlines()
    return [line.partition(": ")[2] for line in lines if number in line]


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("3.40.1", True),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.51.10", False),
        ("3.52.0", True),
        ("3.53.0", False),
        ("4.0.0", False),
    ],
)
def test_versions_with_the_wal_reset_bug_are_told_from_others(version, affected):
    assert database.is_affected(version) == affected


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_FULL, StorageFull, "the disk is full"),
        (sqlite3.SQLITE_TOOBIG, LimitExceeded, "cannot hold a message of this size"),
        (sqlite3.SQLITE_BUSY, StorageUnavailable, "has been in use by another program for more than 10 s"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageUnavailable, "in use by another program"),
        (sqlite3.SQLITE_PROTOCOL, StorageUnavailable, "in use by another program"),
        (sqlite3.SQLITE_LOCKED, StorageUnavailable, "is locked"),
        (sqlite3.SQLITE_PERM, StorageUnavailable, "may not be written"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StorageUnavailable, "may not be written"),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageUnavailable, "look at the disk"),
        (sqlite3.SQLITE_NOMEM, StorageUnavailable, "more memory than there is"),
    ],
)
def test_what_sqlite_says_becomes_an_error_with_the_path_and_a_remedy(path, code, kind, words):
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = code
    told = database.translated(error, path)

    assert type(told) is kind
    assert words in told.message
    assert str(path) in told.message


def test_a_fault_of_ours_is_not_made_an_error_of_the_store(path):
    for code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_ERROR):
        error = sqlite3.OperationalError("said")
        error.sqlite_errorcode = code
        with pytest.raises(sqlite3.OperationalError):
            database.translated(error, path)
    with pytest.raises(sqlite3.ProgrammingError):
        database.translated(sqlite3.ProgrammingError("closed"), path)
