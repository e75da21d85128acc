"""Who waits for a session, in the order in which they came."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

Key = tuple[str, str]


class Lines:
    """One line a session; its head may try to begin a turn."""

    def __init__(self) -> None:
        self._heads: dict[Key, anyio.Lock] = {}
        self._lengths: dict[Key, int] = {}

    def is_taken(self, key: Key) -> bool:
        """Whether somebody waits for the session."""
        return key in self._heads

    @asynccontextmanager
    async def head(self, key: Key) -> AsyncIterator[None]:
        """Wait to be the head of the line, and be it."""
        lock = self._heads.setdefault(key, anyio.Lock())
        self._lengths[key] = self._lengths.get(key, 0) + 1
        try:
            try:
                lock.acquire_nowait()  # even where a limit of no time is over
            except anyio.WouldBlock:
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._lengths[key] -= 1
            if not self._lengths[key]:
                del self._lengths[key], self._heads[key]
