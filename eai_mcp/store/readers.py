"""Connections that only read, so that nobody waits for a commit to look at something."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
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
        self._limiter = anyio.CapacityLimiter(MOST)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work on one state of the file, whatever is written meanwhile.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        return await anyio.to_thread.run_sync(self._run, work, limiter=self._limiter)

    def close(self) -> None:
        """Let the idle connections go."""
        while self._idle:
            self._idle.pop().connection.close()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            borrowed = self._borrowed()
            try:
                borrowed.connection.execute("BEGIN")
                result = work(borrowed.connection)
            except EaiError:
                borrowed.connection.execute("ROLLBACK")
                self._idle.append(borrowed)
                raise
            except BaseException:
                borrowed.connection.close()
                raise
            borrowed.connection.execute("COMMIT")
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
