"""The SQLite file: how it is opened, checked and brought up to date, and what its errors mean.

WAL with `synchronous=FULL`: what was committed survives the death of the process and the loss of power. Where
the writer takes NORMAL instead, it survives the loss of power once anything is committed after it.
"""

import errno
import glob
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from eai_mcp.errors import EaiError, LimitExceeded, StorageFull, StorageUnavailable
from eai_mcp.store import locks
from eai_mcp.store.mounts import MOUNTS, network_type

APPLICATION_ID: Final = 0x65616943
"""Marks a file as ours: `eaiC`."""

Identity: TypeAlias = tuple[int, int]
T = TypeVar("T")

BUSY_S = 10.0
_making = threading.Lock()
SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE session (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        space TEXT NOT NULL,
        name TEXT NOT NULL,
        updated_at REAL NOT NULL,
        version INTEGER NOT NULL DEFAULT 1,
        revision INTEGER NOT NULL DEFAULT 1,
        message_count INTEGER NOT NULL DEFAULT 0,
        turns INTEGER NOT NULL DEFAULT 0,
        last_turn TEXT,
        choices TEXT NOT NULL DEFAULT '{}',
        usage TEXT NOT NULL DEFAULT '{}',
        question TEXT,
        mark INTEGER NOT NULL DEFAULT (random()),
        fence INTEGER NOT NULL DEFAULT (random() >> 1),
        owner TEXT,
        lease_until REAL,
        turn_id TEXT,
        round INTEGER NOT NULL DEFAULT 0,
        since REAL,
        interrupted INTEGER NOT NULL DEFAULT 0,
        attended_at REAL,
        said TEXT NOT NULL DEFAULT '',
        UNIQUE (space, name)
    );
    CREATE TABLE turn (
        session INTEGER NOT NULL,
        turn_id TEXT NOT NULL,
        round INTEGER NOT NULL,
        request_id TEXT,
        at REAL NOT NULL,
        status TEXT NOT NULL,
        report TEXT NOT NULL,
        revision INTEGER NOT NULL,
        last_seq INTEGER
    );
    CREATE UNIQUE INDEX turn_key ON turn (session, turn_id, round);
    CREATE UNIQUE INDEX turn_request ON turn (session, request_id) WHERE request_id IS NOT NULL;
    CREATE TABLE message (
        session INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        seq INTEGER,
        turn_id TEXT NOT NULL,
        round INTEGER NOT NULL,
        kind TEXT NOT NULL,
        at REAL NOT NULL,
        body TEXT NOT NULL
    );
    CREATE UNIQUE INDEX message_place ON message (session, revision, seq) WHERE seq IS NOT NULL;
    CREATE INDEX message_waiting ON message (session, turn_id) WHERE seq IS NULL;
    """,
)
"""One script for each version of the schema: it makes the next one out of the one before.

`session.mark` tells a session from a later one of its name; `fence` grows with each claim, from a start that
no former session's claim can have.

`message.seq` is NULL until its turn is settled, and stays so if the turn came to nothing: `kind` is `input`
(what the caller said), `step` (what came of it) or `dropped`.
"""


def opened(path: Path | None, *, schema: Sequence[str] = SCHEMA) -> sqlite3.Connection:
    """A connection to the file, made and brought up to date if need be; None is a database in memory.

    Raises:
        StorageUnavailable: It cannot be opened, or is not ours, or newer than we are.
    """
    if path is None:
        connection = _connect(":memory:")
        _upgrade(connection, None, schema)
        return connection
    prepare(path)
    try:
        connection = _connect(path)
        try:
            _check_owner(connection, path)
            use_wal(connection, path)
            _upgrade(connection, path, schema)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise translated(error, path) from error
    return connection


def current(path: Path) -> tuple[sqlite3.Connection, Identity]:
    """A connection to the file that is at `path` now, and which file that is.

    Raises:
        StorageUnavailable: See `opened`.
    """
    while True:
        before = identity(path)
        connection = opened(path)
        if before is not None and before == identity(path):
            return connection, before
        connection.close()  # made or replaced meanwhile


def identity(path: Path) -> Identity | None:
    """What stays the same while a path leads to the same file; None if it leads nowhere."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def translated(error: sqlite3.Error, path: Path | None) -> EaiError:
    """What an error of SQLite means to whoever uses the store.

    Raises:
        sqlite3.Error: The error itself, if the fault is ours.
    """
    code = getattr(error, "sqlite_errorcode", None)
    where = f"the file with the sessions, {path}," if path else "the memory for sessions"
    busy = f"has been in use by another program for more than {BUSY_S:g} s; try again"
    known = {
        sqlite3.SQLITE_BUSY: busy,
        sqlite3.SQLITE_PROTOCOL: busy,
        sqlite3.SQLITE_LOCKED: "is locked; try again",
        sqlite3.SQLITE_PERM: "may not be written; give us the right, or name another with EAI_MCP_STORE",
        sqlite3.SQLITE_READONLY: "may not be written; give us the right, or name another with EAI_MCP_STORE",
        sqlite3.SQLITE_CANTOPEN: "cannot be opened; look at its folder, or name another with EAI_MCP_STORE",
        sqlite3.SQLITE_IOERR: f"cannot be read or written: {error}; look at the disk",
        sqlite3.SQLITE_CORRUPT: f"is damaged: {error}; move it away with its -wal and -shm, a new one"
        " is made then",
        sqlite3.SQLITE_NOTADB: "is no SQLite database; name another with EAI_MCP_STORE",
        sqlite3.SQLITE_NOMEM: "needs more memory than there is",
    }
    if code is None:
        raise error
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return StorageFull(f"the disk is full: {where} cannot grow; make room and try again", path=str(path))
    if code & 0xFF == sqlite3.SQLITE_TOOBIG:
        return LimitExceeded(f"{where} cannot hold a message of this size")
    if code & 0xFF not in known:
        raise error
    return StorageUnavailable(f"{where} {known[code & 0xFF]}", path=str(path))


def refused(error: OSError, path: Path) -> StorageFull | StorageUnavailable:
    """What it means that a file or folder of the store cannot be made or opened."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(
            f"the disk is full: {path} cannot be made; make room and try again", path=str(path)
        )
    return StorageUnavailable(
        f"the file with the sessions needs {path}, which cannot be opened: {error.strerror}; mend it, or name"
        " another file with EAI_MCP_STORE",
        path=str(path),
    )


def is_affected(version: str = sqlite3.sqlite_version) -> bool:
    """Whether this SQLite has the WAL-reset bug, which needs two writers that check-point at one moment.

    Corrected in 3.51.3 and, 3.52.0 being withdrawn, in 3.53.0. We keep out of its way: each process writes
    through one connection, and only that one checkpoints, while it holds the right to write.
    """
    number = tuple(int(part) for part in version.split("."))
    return number < (3, 51, 3) or (3, 52) <= number < (3, 53)


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA mmap_size=0")
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync=1")
    return connection


def prepare(path: Path, *, mounts: Path = MOUNTS) -> None:
    """Make the folder and the file, for nobody else to read; SQLite gives its other files the same mode.

    Raises:
        StorageUnavailable: They cannot be made, or are where SQLite cannot be trusted.
    """
    try:
        if kind := network_type(path, mounts=mounts):
            raise StorageUnavailable(
                f"the file with the sessions, {path}, is on a network file system ({kind}), where SQLite can"
                " lose data; name one on a local disk with EAI_MCP_STORE",
                path=str(path),
                retryable=False,
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
    except OSError as error:
        raise refused(error, path) from error


def _make(path: Path) -> None:
    """Make the file if there is none.

    A process that closes a file loses all its locks on it, those of SQLite too: so one that is there is
    never opened here, and a new one is closed before any connection of ours can find it.
    """
    if os.path.lexists(path):
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            # SQLite would open it for reading, and make files beside it that nobody may write later.
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return
    with _making, locks.alone(path.parent):
        if not os.path.lexists(path):
            _set_aside(path)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | locks.CLOEXEC, 0o600))


def _set_aside(path: Path) -> None:
    """Free the names of the log and the shared memory that a removed or moved file left.

    Whoever still has that file open must not share them with us. A log that is not empty may hold what was
    acknowledged: it keeps another name, and becomes the moved file's again if it is given that file's.
    """
    left = log_of(path)
    with suppress(FileNotFoundError):
        if left.stat().st_size:
            left.rename(path.with_name(f"{left.name}.left-{time.time_ns()}"))
        else:
            left.unlink()
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def tidy(path: Path) -> None:
    """Remove the logs set aside that were moved into their file since."""
    with suppress(OSError):
        for left in path.parent.glob(f"{glob.escape(log_of(path).name)}.left-*"):
            if not left.stat().st_size:
                left.unlink()


def log_of(path: Path) -> Path:
    """Where SQLite keeps what was written but not yet moved into the file."""
    return path.with_name(f"{path.name}-wal")


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    """Never touch a database that is somebody else's."""
    # In this order: another process may be making the tables, and marks the file in the same transaction.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (ours,) = connection.execute("PRAGMA application_id").fetchone()
    if tables and ours != APPLICATION_ID:
        raise StorageUnavailable(
            f"{path} is a database of another program; name another file with EAI_MCP_STORE",
            path=str(path),
            retryable=False,
        )


def use_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Let the file be written through a log beside it.

    Raises:
        StorageUnavailable: Its file system cannot do that.
    """
    # SQLite may refuse the change at once, without waiting, while another process makes it.
    (mode,) = _patiently(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone())
    if mode != "wal":
        raise StorageUnavailable(
            f"the file with the sessions, {path}, is on a file system without the shared memory that SQLite's"
            " log (WAL) needs; name one on a local disk with EAI_MCP_STORE",
            path=str(path),
            retryable=False,
        )


def _upgrade(connection: sqlite3.Connection, path: Path | None, schema: Sequence[str]) -> None:
    if _version(connection) == len(schema):
        return
    _patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
    try:
        version = _version(connection)
        if version > len(schema):
            raise StorageUnavailable(
                f"{path} was written by a newer eai-mcp (its schema is {version}, ours {len(schema)}): "
                "update eai-mcp, or name another file with EAI_MCP_STORE",
                path=str(path),
                retryable=False,
            )
        for script in schema[version:]:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(schema)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _patiently(step: Callable[[], T]) -> T:
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            return step()
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
