"""Histories put in place of others: at once, or, where they are large, bit by bit and out of sight first.

A transaction keeps every other process from writing, and in memory everybody. So the lines of a large history
are written in many short ones (`hidden` says where), with a pause behind each, and only the last, which is
short too, lets them be seen. If the caller gives up, or the process is killed, what there is of it is swept
away in short ones as well: by the caller as far as that is soon done, then by the next large put.
"""

import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from eai_mcp.errors import StoreError
from eai_mcp.messages import Line
from eai_mcp.store import REVISIONS_KEPT, Put, hidden, histories
from eai_mcp.store.hidden import Target
from eai_mcp.store.histories import Written
from eai_mcp.store.writer import Writer

T = TypeVar("T")
Chunk: TypeAlias = list[tuple[int, int, Line]]
"""Lines, each behind the place of its put and its own place there."""

CHUNK = 2000
CHUNK_BYTES = 1024 * 1024
PAUSE = 0.5
"""Of the time that a step took, how much others get before the next."""

LONGEST_PAUSE_S = 0.1
GIVE_UP_S = 1.0
"""How long a failed put sweeps away what it had staged."""


class Taken(Protocol):
    """Does what no running turn may be in the way of; see `SqliteStore`."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], space: str, *names: str) -> Awaitable[T]:
        """The result of `work`. Raises SessionBusy if a turn is running in one of the sessions."""
        ...


class Stager:
    """Writes the puts of one process, at most `chunk` lines in each transaction.

    `is_alive` tells whether another process, an owner, is alive.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        taken: Taken,
        owner: Callable[[], str],
        is_alive: Callable[[str], bool],
        now: Callable[[], float],
        chunk: int,
    ) -> None:
        self.chunk = chunk
        self._writer = writer
        self._taken = taken
        self._owner = owner
        self._is_alive = is_alive
        self._now = now
        self._working: set[str] = set()

    async def put(self, space: str, puts: Sequence[Put], *, only: bool) -> tuple[int, ...]:
        """See `Store`."""
        if len({each.name for each in puts}) < len(puts):
            return await self._at_once(space, puts, only=only)  # the second goes on from the first
        lines = _Lines(puts, self.chunk)
        first = await lines.next()
        if lines.is_over:
            return await self._at_once(space, _filled(puts, first), only=only)
        token = secrets.token_hex(8)
        self._working.add(token)
        try:
            return await self._bit_by_bit(space, puts, lines, first, token, only=only)
        finally:
            self._working.discard(token)

    async def sweep(self) -> None:
        """Delete what was removed or left, bit by bit."""
        while not await self._step(lambda c: hidden.swept(c, self._is_at_work, self.chunk)):
            pass

    async def tidy(self, space: str, names: Sequence[str]) -> None:
        """Delete what is out of sight, and the histories of some sessions that are no longer kept.

        What cannot be deleted stays for the next time: whoever wanted this has what they wanted.
        """
        with suppress(StoreError):
            for name in names:
                await self._forget(space, name)
            await self.sweep()

    async def _at_once(self, space: str, puts: Sequence[Put], *, only: bool) -> tuple[int, ...]:
        names = [each.name for each in puts]

        def work(connection: sqlite3.Connection) -> Written | None:
            """None if something must be swept away before."""
            if histories.is_in_the_way(connection, space, names, self._is_at_work):
                return None
            return histories.put(connection, space, puts, self._now(), only=only, most=self.chunk)

        while (written := await self._taken(work, space, *names)) is None:
            await self.sweep()
        if not written.is_tidy:
            await self._tidied(space, names, written.revisions)
        return written.revisions

    async def _bit_by_bit(
        self, space: str, puts: Sequence[Put], lines: "_Lines", chunk: Chunk, token: str, *, only: bool
    ) -> tuple[int, ...]:
        names = [each.name for each in puts]
        record, targets = await self._begun(space, puts, token, only=only)
        try:
            while chunk:
                await self._insert(space, puts, record, targets, chunk)
                chunk = await lines.next()
            revisions = await self._taken(
                lambda c: histories.placed(
                    c, space, puts, targets, lines.counts, self._now(), record=record, only=only
                ),
                space,
                *names,
            )
        except BaseException:
            with anyio.move_on_after(GIVE_UP_S, shield=True), suppress(StoreError):
                await self._writer.run(lambda c: hidden.disowned(c, record))
                await self.sweep()
            raise
        await self._tidied(space, names, revisions)
        return revisions

    async def _begun(
        self, space: str, puts: Sequence[Put], token: str, *, only: bool
    ) -> tuple[str, tuple[Target, ...]]:
        """The record of what will be staged, and where."""

        def work(connection: sqlite3.Connection) -> tuple[str, tuple[Target, ...]] | None:
            """None if something must be swept away before."""
            now, record = self._now(), f"{self._owner()}/{token}"
            sessions = histories.targets(connection, space, puts, now, only=only)
            if hidden.is_in_the_way(connection, filter(None, sessions), self._is_at_work):
                return None
            return record, hidden.recorded(connection, record, sessions, now)

        begun = None
        while begun is None:
            await self.sweep()
            begun = await self._taken(work, space, *(each.name for each in puts))
        return begun

    async def _insert(
        self, space: str, puts: Sequence[Put], record: str, targets: Sequence[Target], chunk: Chunk
    ) -> None:
        """Write some lines, unless what they are for has changed meanwhile."""
        touched = sorted({place for place, _, _ in chunk})

        def work(connection: sqlite3.Connection) -> None:
            for place in touched:
                # A turn that runs by now may have ended when all is written.
                if not hidden.is_in_place(connection, record, space, targets[place]):
                    histories.check_place(connection, space, puts[place], record, targets[place], self._now())
            hidden.inserted(connection, targets, chunk)

        await self._step(work)

    async def _tidied(self, space: str, names: Sequence[str], revisions: Sequence[int]) -> None:
        oldest = REVISIONS_KEPT + 1
        await self.tidy(space, [name for name, now in zip(names, revisions, strict=True) if now > oldest])

    async def _forget(self, space: str, name: str) -> None:
        while not await self._step(lambda c: histories.tidied(c, space, name, self.chunk)):
            pass

    async def _step(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do one step of many, and let others write before the next."""
        began = anyio.current_time()
        done = await self._writer.run(work)
        await anyio.sleep(min((anyio.current_time() - began) * PAUSE, LONGEST_PAUSE_S))
        return done

    def _is_at_work(self, record: str) -> bool:
        owner, _, token = record.partition("/")
        return bool(owner) and (token in self._working or self._is_alive(owner))


class _Lines:
    """The lines of some puts, taken chunk by chunk; `counts` has how many of each were."""

    def __init__(self, puts: Sequence[Put], most: int) -> None:
        self.counts = [0] * len(puts)
        self.is_over = False
        self._most = most
        self._lines = self._all(puts)

    async def next(self) -> Chunk:
        """The next ones; whoever makes them may take their time, and read files."""
        return await anyio.to_thread.run_sync(self._next)

    def _next(self) -> Chunk:
        chunk: Chunk = []
        size = 0
        for found in self._lines:
            chunk.append(found)
            size += len(found[2].body)
            if len(chunk) >= self._most or size >= CHUNK_BYTES:
                return chunk
        self.is_over = True
        return chunk

    def _all(self, puts: Sequence[Put]) -> Iterator[tuple[int, int, Line]]:
        for place, each in enumerate(puts):
            for seq, line in enumerate(each.lines, 1):
                self.counts[place] = seq
                yield place, seq, line


def _filled(puts: Sequence[Put], chunk: Chunk) -> list[Put]:
    """The puts with lines that are all at hand."""
    lines: list[list[Line]] = [[] for _ in puts]
    for place, _, line in chunk:
        lines[place].append(line)
    return [replace(each, lines=said) for each, said in zip(puts, lines, strict=True)]
