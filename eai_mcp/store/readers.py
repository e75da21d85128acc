"""Connections that only read, so that nobody waits for a commit to look at something.

One of them is for the event loop: to hand a small look to a thread costs more than the look takes. It waits
for nobody; where it had to, a thread does it.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from eai_mcp.errors import EaiError
from eai_mcp.store import database

T = TypeVar("T")
MOST = 4


class Readers:
    """Up to four connections to a file, each opened when all others are in use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[_Open] = []
        self._here: _Open | None = None
        self._limiter = anyio.CapacityLimiter(MOST)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        """Do the work on one state of the file, whatever is written meanwhile.

        Small work finds a few rows by their keys.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        if is_small:
            await anyio.lowlevel.checkpoint_if_cancelled()
            if here := self._for_the_loop():
                try:
                    return _read(here, work)
                except sqlite3.Error:  # the thread will find out what it is, or wait until it passes
                    self._close_here()
        return await anyio.to_thread.run_sync(self._run, work, limiter=self._limiter)

    def close(self) -> None:
        """Let the idle connections go."""
        self._close_here()
        while self._idle:
            self._idle.pop().connection.close()

    def _for_the_loop(self) -> sqlite3.Connection | None:
        """The event loop's own connection, one that a thread has opened before; None while there is none."""
        if self._here is None and self._idle:
            with suppress(IndexError):  # a thread was faster
                self._here = self._idle.pop()
                self._here.connection.execute("PRAGMA busy_timeout=0")
        if self._here is not None and self._here.file != database.identity(self._path):
            self._close_here()
        return None if self._here is None else self._here.connection

    def _close_here(self) -> None:
        if self._here is not None:
            self._here.connection.close()
            self._here = None

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            borrowed = self._borrowed()
            try:
                result = _read(borrowed.connection, work)
            except EaiError:
                self._idle.append(borrowed)
                raise
            except BaseException:
                borrowed.connection.close()
                raise
        except sqlite3.Error as error:
            raise database.translated(error, self._path) from error
        self._idle.append(borrowed)
        return result

    def _borrowed(self) -> "_Open":
        now = database.identity(self._path)
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                idle = self._idle.pop()
                if idle.file == now:
                    return idle
                idle.connection.close()
        return _Open(*database.current(self._path))


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection, and which file it has open."""

    connection: sqlite3.Connection
    file: database.Identity


def _read(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN")
    try:
        result = work(connection)
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result
