"""Slots for what keeps a core or a connection busy for long, so that no space holds all of them."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Slots:
    """`most` slots, served in turn; a space has, or waits in line for, `each` of them at most."""

    def __init__(self, most: int, *, each: int) -> None:
        self._each = each
        self._all = anyio.Semaphore(most)
        self._of: dict[str, anyio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def one(self, space: str) -> AsyncIterator[None]:
        """Have one in the block, as soon as there is one for the space."""
        of_space = self._of.setdefault(space, anyio.Semaphore(self._each))
        self._users[space] += 1
        try:
            async with of_space, self._all:
                yield
        finally:
            self._users[space] -= 1
            if not self._users[space]:
                del self._users[space], self._of[space]
