"""The one connection of a process that writes, and the commit that many callers share.

A commit waits for the disk. What is asked for meanwhile goes into the next one, each piece under a savepoint
of its own, so that a refused piece does not spoil its neighbours. The first who comes leads: it commits for
all that wait by then, and wakes one of those that came later to lead the next.

To hand work to a thread costs more than small work takes. So what `is_small` is done in the event loop, as
long as nobody has to be waited for: of it, only the wait for the disk is a thread's. What does not have to
`last` by itself is not waited for at all: the death of the process does not undo it, only the loss of power
may, and then never something that was committed later.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from eai_mcp.errors import EaiError, StorageUnavailable
from eai_mcp.store import database

T = TypeVar("T")
CHECKPOINT_BYTES = 4 * 1024 * 1024
CHECKPOINT_BUSY_MS = 50

log = logging.getLogger("eai_mcp")


@dataclass(slots=True, eq=False)
class _Piece(Generic[T]):
    """What somebody wants done in a transaction; it runs again if the transaction that it was in failed."""

    work: Callable[[sqlite3.Connection], T]
    is_small: bool
    lasts: bool
    result: T | None = None
    error: BaseException | None = field(default_factory=lambda: StorageUnavailable("nothing was written"))
    is_settled: bool = False
    woken: anyio.Event | None = None


class Writer:
    """Runs pieces of work in transactions, on the spot if `path` is None (in memory)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file: database.Identity | None = None
        self._waiting: list[_Piece[Any]] = []
        self._is_led = False
        self._version: int | None = None
        self._limiter = anyio.CapacityLimiter(1)
        self._checkpoint_at = CHECKPOINT_BYTES

    async def run(
        self, work: Callable[[sqlite3.Connection], T], *, is_small: bool = False, lasts: bool = True
    ) -> T:
        """Do the work in a transaction, and return once it is committed, even if the caller is cancelled.

        The work may run more than once; only its last run counts. See above for small work, and for work
        that does not have to last.
        """
        if self._path is None:
            if is_small:
                await anyio.lowlevel.checkpoint_if_cancelled()
            else:
                await anyio.lowlevel.checkpoint()  # else nobody but the caller would get a turn
            return self._in_memory(work)
        await anyio.lowlevel.checkpoint_if_cancelled()
        piece = _Piece(work, is_small, lasts)
        self._waiting.append(piece)
        with anyio.CancelScope(shield=True):
            await self._lead_or_follow(piece)
        if piece.error is not None:
            raise piece.error
        return piece.result  # type: ignore[return-value]  # None only where the work returned it

    def version(self) -> int | None:
        """A number that changes when another process commits; None while it is not known.

        It comes from this connection, for then our own commits do not count; while that is in use, what the
        last commit saw is told.
        """
        if not self._is_led and self._connection is not None:
            self._see(self._connection)
        return self._version

    def is_left(self) -> bool:
        """Whether the file that is open is no longer at its path; the next `run` moves its log into it.

        Nobody should open what is at the path now before that: it would be read with a log that is not its.
        """
        return self._connection is not None and self._path is not None and self._is_elsewhere(self._path)

    def connection(self) -> sqlite3.Connection:
        """The connection, opened if need be; only for the thread that writes.

        Raises:
            StorageUnavailable: It cannot be opened.
        """
        if self._path is None:
            self._connection = self._connection or database.opened(None)
            return self._connection
        if self._connection is not None and self._is_elsewhere(self._path):
            log.warning("the file with the sessions, %s, was removed; it is made anew", self._path)
            self.close()
        if self._connection is None:
            self._connection, self._file = database.current(self._path)
        return self._connection

    async def aclose(self) -> None:
        """Let the connection go once what is being written is written; the next use opens it again."""
        async with self._limiter:  # SQLite crashes if a connection is closed that a thread is using
            self.close()

    def close(self) -> None:
        """Let the connection go at once; only for the thread that writes."""
        if self._connection is None:
            return
        if self._path is not None and self._is_elsewhere(self._path):
            _save_moved(self._connection, self._path)
        with suppress(sqlite3.Error):
            self._connection.close()
        self._connection = None

    def _is_elsewhere(self, path: Path) -> bool:
        return self._file != database.identity(path)

    def _in_memory(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self.connection()
        try:
            with _undone_if_it_fails(connection):
                connection.execute("BEGIN IMMEDIATE")
                result = work(connection)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise database.translated(error, None) from error
        return result

    async def _lead_or_follow(self, piece: _Piece[Any]) -> None:
        while not piece.is_settled:
            if self._is_led:
                piece.woken = anyio.Event()
                await piece.woken.wait()
                continue
            self._is_led = True
            pieces, self._waiting = self._waiting, []
            try:
                if not await self._commit_here(pieces):
                    await anyio.to_thread.run_sync(self._commit, pieces, limiter=self._limiter)
            finally:
                self._is_led = False
                for each in pieces:
                    each.is_settled = True
                for each in (*pieces, *self._waiting[:1]):
                    if each.woken is not None:
                        each.woken.set()

    async def _commit_here(self, pieces: Sequence[_Piece[Any]]) -> bool:
        """Run small pieces in one transaction, here; False if nothing was done, for it might take long."""
        connection, path = self._connection, self._path
        if connection is None or path is None or not all(piece.is_small for piece in pieces):
            return False
        lasts = any(piece.lasts for piece in pieces)
        try:
            if self._is_elsewhere(path):
                return False
            _prepare(connection, waits=False, lasts=lasts)
            with _undone_if_it_fails(connection):
                connection.execute("BEGIN IMMEDIATE")
                ended = _all_ran(connection, pieces)
                if not lasts:
                    _commit(connection)
                elif connection.in_transaction:
                    await anyio.to_thread.run_sync(_commit, connection, limiter=self._limiter)
        except sqlite3.Error:
            return False
        for end in ended:
            end()
        self._see(connection)
        if lasts and self._has_much_to_move(path):
            await anyio.to_thread.run_sync(self._checkpoint, connection, path, limiter=self._limiter)
        return True

    def _commit(self, pieces: Sequence[_Piece[Any]]) -> None:
        """Run the pieces in one transaction; if that fails, each in one of its own."""
        try:
            connection = self.connection()
            _prepare(connection, waits=True, lasts=True)
            connection.execute("BEGIN IMMEDIATE")
        except (EaiError, sqlite3.Error) as error:
            self._fail(pieces, error)
            return
        try:
            with _undone_if_it_fails(connection):
                ended = _all_ran(connection, pieces)
                _commit(connection)
        except sqlite3.Error as error:
            if len(pieces) > 1:
                for piece in pieces:
                    self._commit([piece])
            else:
                self._fail(pieces, error)
            return
        for end in ended:
            end()
        if self._path is not None:
            self._tend(connection, self._path)

    def _tend(self, connection: sqlite3.Connection, path: Path) -> None:
        self._see(connection)
        if self._has_much_to_move(path):
            self._checkpoint(connection, path)

    def _fail(self, pieces: Sequence[_Piece[Any]], error: Exception) -> None:
        if isinstance(error, sqlite3.Error):
            try:
                error = database.translated(error, self._path)
            except sqlite3.Error as fault:
                error = fault
        is_in_doubt = isinstance(error, StorageUnavailable | sqlite3.Error)
        if self._path is not None and is_in_doubt and not isinstance(error, sqlite3.IntegrityError):
            # What is wrong with the file may be mended meanwhile; what it is now, opening it will tell.
            self.close()
        for piece in pieces:
            piece.error = error

    def _see(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            (self._version,) = connection.execute("PRAGMA data_version").fetchone()

    def _has_much_to_move(self, path: Path) -> bool:
        """Whether the log is so long that it should be moved into the file."""
        size = _size(database.log_of(path))
        if size < CHECKPOINT_BYTES:
            self._checkpoint_at = CHECKPOINT_BYTES  # another process may have moved it
        return size >= self._checkpoint_at

    def _checkpoint(self, connection: sqlite3.Connection, path: Path) -> None:
        """Move what was written from the log into the file."""
        size = _size(database.log_of(path))
        try:
            connection.execute(f"PRAGMA busy_timeout={CHECKPOINT_BUSY_MS}")
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            log.warning("the file with the sessions, %s, cannot be checkpointed: %s", path, error)
            is_busy = True
        # Somebody reads; try again only when there is as much more to move.
        self._checkpoint_at = size + CHECKPOINT_BYTES if is_busy else CHECKPOINT_BYTES


@contextmanager
def _undone_if_it_fails(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _save_moved(connection: sqlite3.Connection, path: Path) -> None:
    """Move the log into a file that is no longer at its path, where SQLite would leave that undone."""
    with suppress(sqlite3.Error):
        connection.execute(f"PRAGMA busy_timeout={CHECKPOINT_BUSY_MS}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    database.tidy(path)


def _commit(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # else its only piece was refused
        connection.execute("COMMIT")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _prepare(connection: sqlite3.Connection, *, waits: bool, lasts: bool) -> None:
    """Say whether the next transaction waits for others to begin, and for the disk to end."""
    connection.execute(f"PRAGMA busy_timeout={database.BUSY_S * 1000 if waits else 0:.0f}")
    connection.execute(f"PRAGMA synchronous={'FULL' if lasts else 'NORMAL'}")


def _all_ran(connection: sqlite3.Connection, pieces: Sequence[_Piece[Any]]) -> list[Callable[[], None]]:
    """What to do about each piece once the transaction is committed; one that is alone may have undone it.

    Raises:
        sqlite3.Error: The whole transaction is in doubt.
    """
    if len(pieces) == 1:
        return [_ran(connection, pieces[0], undo="ROLLBACK")]
    ended = []
    for piece in pieces:
        connection.execute("SAVEPOINT piece")
        ended.append(_ran(connection, piece, undo="ROLLBACK TO piece"))
        connection.execute("RELEASE piece")
    return ended


def _ran(connection: sqlite3.Connection, piece: _Piece[Any], *, undo: str) -> Callable[[], None]:
    try:
        result, error = piece.work(connection), None
    except sqlite3.Error:
        raise
    except Exception as refused:  # noqa: BLE001  # whoever waits for this piece must hear of it, nobody else
        connection.execute(undo)
        result, error = None, refused
    return partial(_end, piece, result, error)


def _end(piece: _Piece[Any], result: object, error: BaseException | None) -> None:
    piece.result, piece.error = result, error
