"""Sessions in one SQLite file, which several processes of one machine share; or in memory, for one process.

Writing goes through one connection (`writer`), reading through others (`readers`), both in threads except for
small steps. The file is opened at the first use, and again when a fault of it is mended.
"""

import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import anyio.lowlevel
import anyio.to_thread

from eai_mcp.errors import SessionBusy, StoreError
from eai_mcp.messages import Line, Message
from eai_mcp.store import (
    LEASE_S,
    Claim,
    Entry,
    Known,
    Look,
    Outcome,
    Put,
    Running,
    SessionRow,
    Settlement,
    Start,
    endings,
    histories,
    rows,
    turns,
)
from eai_mcp.store.bus import FileBus
from eai_mcp.store.leases import Leases
from eai_mcp.store.owners import Owners
from eai_mcp.store.readers import Readers
from eai_mcp.store.recent import Recent
from eai_mcp.store.staging import CHUNK, Stager
from eai_mcp.store.writer import Writer

T = TypeVar("T")
ALONE = "alone"
"""The owner of every claim where no other process can see the sessions."""

log = logging.getLogger("eai_mcp")


class SqliteStore:
    """A `Store` in the file `path`; None keeps the sessions in memory.

    `now` gives seconds since 1970; `monotonic` gives seconds too, and is never set to another time. A history
    of more than `chunk` messages is written bit by bit.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        lease_s: float = LEASE_S,
        chunk: int = CHUNK,
    ) -> None:
        self.path = path
        self._now = now
        self._lease_s = lease_s
        self._writer = Writer(path)
        self._readers = Readers(path) if path else None
        self._owners = Owners(path.with_name(f"{path.name}-owners")) if path else None
        self._leases = Leases(now=now, monotonic=monotonic, lease_s=lease_s)
        self._recent = Recent()
        self._stager = Stager(
            self._writer,
            taken=self._taken,
            owner=self._owner,
            is_alive=self._is_alive,
            now=now,
            chunk=chunk,
        )
        self._complaint = ""
        self.bus = FileBus(self._writer if path else None)

    async def ensure(self, space: str, name: str) -> bool:
        """See `Store`."""
        if await self._read(lambda c: rows.found(c, space, name)):
            return False
        return await self._writer.run(lambda c: turns.ensured(c, space, name, self._now()))

    async def row(self, space: str, name: str) -> SessionRow | None:
        """See `Store`."""
        found = await self._present(lambda c: rows.some(c, space, name), is_small=True)
        return rows.session(found[0]) if found else None

    async def rows(self, space: str, names: Sequence[str]) -> list[SessionRow]:
        """See `Store`."""
        return [rows.session(row) for row in await self._present(lambda c: rows.some(c, space, *names))]

    async def count(self, space: str, *, apart_from: str) -> int:
        """See `Store`."""
        return await self._read(lambda c: rows.count(c, space, apart_from))

    async def load(
        self,
        space: str,
        name: str,
        *,
        after: int = 0,
        limit: int | None = None,
        most_bytes: int | None = None,
        revision: int | None = None,
    ) -> list[Entry]:
        """See `Store`."""
        if revision is None and limit is None and most_bytes is None and not after:
            return await self._whole(space, name)

        def page(connection: sqlite3.Connection) -> tuple[sqlite3.Row, list[Entry]]:
            session = rows.known(connection, space, name)
            found = histories.loaded(
                connection, session, after=after, limit=limit, most_bytes=most_bytes, revision=revision
            )
            return session, [rows.entry(row) for row in found]

        return await self._looked_at(page)

    async def _whole(self, space: str, name: str) -> list[Entry]:
        """The history, here if all of it is remembered and no dead turn is in the way."""

        def known(connection: sqlite3.Connection) -> list[Entry] | None:
            session = rows.known(connection, space, name)
            place = (session["mark"], session["revision"], session["message_count"])
            if not self._recent.has(*place) or (session["owner"] is not None and self._is_gone(session)):
                return None
            return histories.whole(connection, session, self._recent, is_ours=self.path is None)

        def whole(connection: sqlite3.Connection) -> tuple[sqlite3.Row, list[Entry]]:
            session = rows.known(connection, space, name)
            found = histories.whole(connection, session, self._recent, is_ours=self.path is None)
            return session, found

        remembered = await self._read(known, is_small=True)
        return await self._looked_at(whole) if remembered is None else remembered

    async def list(
        self, space: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[SessionRow]:
        """See `Store`."""
        found = await self._present(
            lambda c: histories.listed(c, space, prefix=prefix, after=after, limit=limit)
        )
        return [rows.session(row) for row in found]

    async def scan(
        self,
        space: str,
        take: Callable[[Iterator[tuple[SessionRow, Iterator[Line]]]], T],
        *,
        name: str | None = None,
        revision: int | None = None,
    ) -> T:
        """See `Store`."""
        await self._settled(await self._read(lambda c: histories.claimed(c, space, name)))
        if self._readers is not None:
            return await self._read(lambda c: take(histories.scanned(c, space, name, revision)))
        # There is one connection, which nobody else may use meanwhile: so all is read before any of it is
        # taken.
        found = await self._read(
            lambda c: [(row, [*lines]) for row, lines in histories.scanned(c, space, name, revision)]
        )
        return await anyio.to_thread.run_sync(lambda: take((row, iter(lines)) for row, lines in found))

    async def claim(self, space: str, name: str, start: Start) -> Claim | Known:
        """See `Store`."""

        def work(connection: sqlite3.Connection) -> tuple[Claim | Known, float]:
            now = self._now()
            holder = turns.Holder(self._owner(), now, now + self._lease_s)
            return turns.claimed(connection, space, name, start, holder), now

        # A repeated request must never begin a second turn; else nobody has heard of this one yet.
        lasts = start.request_id is not None
        claim, now = await self._taken(
            work, space, name, run=lambda work: self._writer.run(work, is_small=True, lasts=lasts)
        )
        if isinstance(claim, Claim) and not claim.round:
            self._recent.said(claim, now, [start.message], is_first=True)
        return claim

    async def append(self, claim: Claim, messages: Sequence[Message]) -> None:
        """See `Store`."""
        now = self._now()
        await self._writer.run(lambda c: turns.appended(c, claim, messages, now), is_small=True)
        self._recent.said(claim, now, messages)

    async def amend(self, claim: Claim, message: Message, *, is_step: bool = False) -> None:
        """See `Store`."""
        self._recent.drop(claim)
        await self._writer.run(lambda c: turns.amended(c, claim, message, self._now(), is_step=is_step))

    async def said(self, claim: Claim) -> Sequence[Message]:
        """See `Store`."""
        return await self._read(lambda c: turns.said(c, claim))

    async def renew(self, said: Mapping[Claim, str]) -> None:
        """See `Store`."""
        await self._writer.run(lambda c: turns.renewed(c, said, self._now() + self._lease_s))

    async def look(self, claims: Sequence[Claim]) -> Look:
        """See `Store`."""
        return await self._read(lambda c: turns.looked(c, claims))

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See `Store`."""
        now, is_small = self._now(), settlement.history is None
        try:
            place = await self._writer.run(
                lambda c: turns.settled(c, claim, settlement, now), is_small=is_small
            )
            if place is not None:
                self._recent.said(claim, now, settlement.messages)
                self._recent.placed(claim, place)
        finally:
            self._recent.drop(claim)
        if settlement.history is not None:
            await self._stager.tidy(claim.space, [claim.name])

    async def withdraw(self, space: str, name: str, start: Start, settlement: Settlement) -> None:
        """See `Store`."""

        def work(connection: sqlite3.Connection) -> None:
            now = self._now()
            claim = turns.claimed(connection, space, name, start, turns.Holder(self._owner(), now, now))
            if isinstance(claim, Claim):
                turns.settled(connection, claim, settlement, now)

        await self._taken(work, space, name)

    async def find(self, space: str, name: str, turn_id: str | None = None) -> tuple[Outcome, str] | Running:
        """See `Store`."""

        def told(connection: sqlite3.Connection) -> tuple[sqlite3.Row, tuple[Outcome, str] | Running]:
            session = rows.known(connection, space, name)
            return session, turns.told(connection, session, turn_id)

        return await self._looked_at(told)

    async def repeated(self, space: str, name: str, request_id: str) -> Known | None:
        """See `Store`."""
        return await self._read(lambda c: turns.repeated(c, space, name, request_id), is_small=True)

    async def interrupt(self, space: str, name: str, turn_id: str | None = None) -> Running:
        """See `Store`."""
        await self._cut_off(await self._read(lambda c: rows.some(c, space, name)))
        return await self._writer.run(lambda c: turns.interrupted(c, space, name, turn_id))

    async def attend(self, space: str, name: str, turn_id: str) -> None:
        """See `Store`."""
        await self._writer.run(lambda c: turns.attended(c, space, name, turn_id, self._now()))

    async def put(self, space: str, puts: Sequence[Put], *, only: bool = False) -> tuple[int, ...]:
        """See `Store`."""
        if only:  # any session may be in the way
            await self._cut_off(await self._read(lambda c: histories.claimed(c, space, None)))

        def check(connection: sqlite3.Connection) -> None:
            if len({each.name for each in puts}) == len(puts):
                histories.targets(connection, space, puts, self._now(), only=only)

        # Else somebody might wait long for nothing: for large histories all is checked again at the end.
        await self._taken(check, space, *(each.name for each in puts), run=self._read)
        return await self._stager.put(space, puts, only=only)

    async def fork(self, space: str, name: str, new: str, *, upto: int | None = None) -> SessionRow:
        """See `Store`."""
        await self._present(lambda c: rows.some(c, space, name))
        return rows.session(
            await self._writer.run(
                lambda c: histories.forked(c, space, name, new, upto=upto, now=self._now())
            )
        )

    async def delete(self, space: str, name: str) -> bool:
        """See `Store`."""
        most = self._stager.chunk
        was_there, is_tidy = await self._taken(
            lambda c: histories.deleted(c, space, name, self._now(), most=most), space, name
        )
        if not is_tidy:
            await self._stager.tidy(space, [])
        return was_there

    async def aclose(self) -> None:
        """See `Store`."""
        if self._readers:
            self._readers.close()
        try:
            await self._writer.aclose()
        finally:
            if self._owners:
                self._owners.leave()

    def _owner(self) -> str:
        return self._owners.own() if self._owners else ALONE

    def _is_alive(self, owner: str) -> bool:
        """Whether another process of that name is alive."""
        owners = self._owners
        return owners is not None and owner != owners.name and not owners.is_dead(owner)

    async def _read(self, work: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        if self._readers is not None:
            if self._writer.is_left():
                with suppress(StoreError):  # whoever reads is told by the readers
                    await self._writer.run(lambda connection: None)
            return await self._readers.run(work, is_small=is_small)
        await anyio.lowlevel.checkpoint_if_cancelled()
        return work(self._writer.connection())

    async def _taken(
        self,
        work: Callable[[sqlite3.Connection], T],
        space: str,
        *names: str,
        run: Callable[[Callable[[sqlite3.Connection], T]], Awaitable[T]] | None = None,
    ) -> T:
        """Do what no running turn may be in the way of, unless its owner is gone.

        It is run to be written; with `run`, by that.

        Raises:
            SessionBusy: The turn runs.
        """
        run = run or self._writer.run
        try:
            return await run(work)
        except SessionBusy:
            if not await self._cut_off(await self._read(lambda c: rows.some(c, space, *names))):
                raise
            return await run(work)

    async def _present(
        self, find: Callable[[sqlite3.Connection], Sequence[sqlite3.Row]], *, is_small: bool = False
    ) -> Sequence[sqlite3.Row]:
        """Rows of sessions, once the turns in them whose owner is gone were settled."""
        found = await self._read(find, is_small=is_small)
        return await self._read(find) if await self._settled(found) else found

    async def _looked_at(self, look: Callable[[sqlite3.Connection], tuple[sqlite3.Row, T]]) -> T:
        """What is found beside a session, once the turn in it was settled if its owner is gone."""
        session, found = await self._read(look)
        if await self._settled([session]):
            _, found = await self._read(look)
        return found

    async def _settled(self, sessions: Sequence[sqlite3.Row]) -> bool:
        """The same as `_cut_off`, for those who only look: what cannot be written is left as it is."""
        try:
            cut_off = await self._cut_off(sessions)
        except StoreError as error:
            if error.message != self._complaint:  # whoever waits looks many times a second
                self._complaint = error.message
                log.warning(
                    "a turn whose process is gone cannot be settled, and is shown as running: %s", error
                )
            return False
        if cut_off:
            self._complaint = ""
        return cut_off

    async def _cut_off(self, sessions: Sequence[sqlite3.Row]) -> bool:
        """Settle the turns whose owner is gone; whether there were any."""
        gone = [row["id"] for row in sessions if row["owner"] is not None and self._is_gone(row)]
        if gone:
            await self._writer.run(lambda c: endings.cut_off(c, self._is_gone, gone, self._now()))
        return bool(gone)

    def _is_gone(self, session: sqlite3.Row) -> bool:
        """Whether the owner of a running turn died, or has let its lease run out for long enough."""
        if self._owners is None or session["owner"] == self._owners.name:
            return False
        return self._owners.is_dead(session["owner"]) or self._leases.is_over(session)
