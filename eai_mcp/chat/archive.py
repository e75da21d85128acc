"""Histories into files, and back: exported, replaced, reverted; all sessions at once as a snapshot.

What is long is done in threads, a message at a time, and nothing of it changes a session before all of it was
read and checked.
"""

import re
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from eai_mcp import formats
from eai_mcp.chat import headed, names
from eai_mcp.chat.following import busy
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.lines import Key
from eai_mcp.chat.shares import Shares
from eai_mcp.chat.slots import Slots
from eai_mcp.chat.values import DEFAULT_SESSION, RestoreMode
from eai_mcp.errors import AlreadyExists, ImportInvalid, InvalidArgument, NotFound
from eai_mcp.formats import Head, Tally
from eai_mcp.formats.spool import Run, Spool
from eai_mcp.messages import Line
from eai_mcp.observe import Observer, ignore, tell
from eai_mcp.store import Choices, Put, SessionRow, Store

if TYPE_CHECKING:
    from eai_mcp.formats.intake import Imported, Means

T = TypeVar("T")
Found: TypeAlias = Iterator[tuple[SessionRow, Iterator[Line]]]
Take: TypeAlias = Callable[[Iterator[bytes]], T]
"""What becomes of the pieces of a file; it is called in a thread."""
Source: TypeAlias = Callable[[], AbstractContextManager[Iterator[bytes]]]
"""Opens the pieces of a file, in a thread."""

LOOK_AGAIN_S = 0.1
PAGE = 500
MOST_TOLD = 500
"""Sessions of which each is told that it was put in place; of more, they are told in one."""
AT_ONCE, EACH = 3, 2
"""Files that are written, or read, at a time, by all and by a space; each keeps a core and a reader busy."""
_CHOICES = tuple(field.name for field in fields(Choices))


@dataclass(frozen=True, slots=True)
class Replaced:
    """A history that took the place of another; `format` is the one that it was read in."""

    session: str
    message_count: int
    revision: int
    format: str = ""
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """How many messages an export has; `left_out` says what of the session it could not hold."""

    message_count: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copied:
    """How many sessions and messages a snapshot has; `left_out` says what it could not hold."""

    session_count: int
    message_count: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """How many sessions and messages were put in place; `repairs` says what was mended on the way."""

    session_count: int
    message_count: int
    repairs: tuple[str, ...] = ()


class Archive:
    """Moves histories between the store and files. `save` sees that what ended in a session is kept.

    What is read is kept aside in `folder` (None: where the system has such files) until it is checked.

    A `tally` can be looked at meanwhile, to tell how far it is.
    """

    def __init__(
        self,
        store: Store,
        *,
        save: Callable[[Key], Awaitable[None]],
        folder: Path | None = None,
        shares: Shares | None = None,
        limits: formats.Limits = formats.LIMITS,
        now: Callable[[], float] = time.time,
        observe: Observer = ignore,
    ) -> None:
        self._store = store
        self._observe = observe
        self._save = save
        self._folder = folder
        self._shares = shares or Shares(Limits(), store)
        self._limits = limits
        self._now = now
        self._writing = Slots(AT_ONCE, each=EACH)
        self._reading = Slots(AT_ONCE, each=EACH)
        self._threads = anyio.CapacityLimiter(AT_ONCE)

    async def export(
        self,
        space: str,
        session: str,
        form: formats.Written,
        take: Take[T],
        *,
        tally: Tally,
        packed: bool = False,
    ) -> tuple[Exported, T]:
        """Hand a session's history in a format to `take`, packed with gzip if wished.

        A turn that runs, and a question that waits, are not in it.

        Raises:
            NotFound: No such session.
        """
        # Not at the start: the formats cost time, and many servers never need them.
        from eai_mcp.formats import writing

        name = names.checked(session)
        await self._prepare(space, name)

        def taken(found: Found) -> tuple[Exported, T]:
            row, lines = next(found)
            pieces = writing.session(form, headed.head(row), lines, tally)
            if form != "markdown":  # which is not read again
                pieces = writing.limited(pieces, self._limits, tally)
            result = take(writing.gzipped(pieces) if packed else pieces)
            return Exported(tally.messages, tuple(_left_out(row))), result

        async with self._writing.one(space):
            return await self._store.scan(space, taken, name=name)

    async def replace(
        self, space: str, session: str, source: Source, form: formats.Read = "auto", *, tally: Tally
    ) -> Replaced:
        """Put the history that `source` has in place of a session's; the former one is kept by its revision.

        A session that is made by it remembers the model, prompt and card that the file names; one that was
        there goes on with its own.

        Raises:
            ImportInvalid, LimitExceeded: It cannot be read; nothing was changed.
            SessionBusy: A turn is running in the session.
        """
        from eai_mcp.formats import reading

        name = names.checked(session)
        await self._prepare(space, name)
        _check_idle(await self._store.row(space, name))
        with Spool(self._folder) as spool:
            means = self._means(spool, tally)
            read = await self._read(space, source, lambda pieces: reading.session(pieces, form, means))
            async with self._shares.making(space, name):
                revision, dropped = await self._put(space, name, read)
        return Replaced(name, read.message_count, revision, read.format, (*read.repairs, *dropped))

    async def revert(self, space: str, session: str, revision: int, *, tally: Tally) -> Replaced:
        """Put a former history in place of the present one, which is kept by its revision in turn.

        Raises:
            NotFound: No such session, or its revision is not kept.
            SessionBusy: A turn is running in it.
        """
        name = names.checked(session)
        await self._prepare(space, name)
        with Spool(self._folder) as spool:

            def keep(found: Found) -> Run:
                for line in next(found)[1]:
                    spool.add(line)
                    tally.add()
                return spool.since(0)

            async with self._writing.one(space):
                lines = await self._store.scan(space, keep, name=name, revision=revision)
            (new,) = await self._store.put(space, [Put(name=name, lines=lines, writing="replace")])
        tell(self._observe, "session.replaced", session=name, space=space)
        return Replaced(name, tally.messages, new)

    async def snapshot(
        self, space: str, take: Take[T], *, tally: Tally, wait_s: float = 0.0
    ) -> tuple[Copied, T]:
        """Hand all sessions, as they are at one moment, to `take`.

        Turns that run, and questions that wait, are not in it: for the turns, it waits `wait_s` seconds.
        """
        from eai_mcp.formats import writing

        await self._prepare(space, DEFAULT_SESSION)
        with anyio.move_on_after(wait_s):
            while wait_s and any((await self._running(space)).values()):
                with anyio.move_on_after(LOOK_AGAIN_S):  # the bus tells nothing of our own turns
                    await self._store.bus.changed()
        left_out: list[str] = []
        count = 0

        def sessions(found: Found) -> Iterator[tuple[Head, int, Iterable[Line]]]:
            nonlocal count
            for row, lines in found:
                count += 1
                left_out.extend(_left_out(row))
                yield headed.head(row), row.message_count, lines

        def taken(found: Found) -> T:
            return take(writing.snapshot(sessions(found), tally, self._limits))

        async with self._writing.one(space):
            result = await self._store.scan(space, taken)
        return Copied(count, tally.messages, tuple(left_out)), result

    async def restore(
        self, space: str, source: Source, mode: RestoreMode = "merge", *, tally: Tally
    ) -> Restored:
        """Put all sessions of a snapshot in place, or none: `replace` removes every other session as well.

        A history that was there is kept by its revision, unless its session is removed.

        Raises:
            ImportInvalid, LimitExceeded: It cannot be read; nothing was changed.
            SessionBusy: A turn is running in one of the sessions that would change.
        """
        from eai_mcp.formats import snapshots

        await self._prepare(space, DEFAULT_SESSION)
        with Spool(self._folder) as spool:
            means = self._means(spool, tally)
            found = await self._read(space, source, lambda pieces: snapshots.sessions(pieces, means))
            named, repairs = _named(found)
            there = set(await self._running(space)) if mode == "replace" else set[str]()
            for name in named:
                await self._save((space, name))
                row = await self._store.row(space, name)
                repairs += _dropped(row)
                there |= {name} if row else set()
            puts = [
                Put(
                    name=name,
                    lines=read.lines,
                    choices=None if read.format == "eai" else _choices(read.head),
                    usage=None if read.format == "eai" else read.head.usage,
                    updated_at=read.head.updated_at or None,
                )
                for name, read in named.items()
            ]
            if mode == "replace" and DEFAULT_SESSION not in named:
                # It is always there, and so is its former history.
                puts.append(Put(name=DEFAULT_SESSION, lines=(), choices=Choices()))
            only = mode == "replace"
            async with self._shares.making(space, *named, only=only):
                await self._store.put(space, puts, only=only)
        self._tell_restored(space, there, {put.name for put in puts}, only=only)
        return Restored(len(named), tally.messages, tuple(repairs))

    def _means(self, spool: Spool, tally: Tally) -> "Means":
        from eai_mcp.formats.intake import Means

        return Means(spool=spool, limits=self._limits, tally=tally, now=self._now())

    async def _running(self, space: str) -> dict[str, bool]:
        """Every session, and whether a turn runs in it."""
        found: dict[str, bool] = {}
        while rows := await self._store.list(space, after=max(found, default=""), limit=PAGE):
            found |= {row.name: row.running is not None for row in rows}
        return found

    def _tell_restored(self, space: str, there: set[str], put: set[str], *, only: bool) -> None:
        """Tell what became of each session; of very many only that there are: all else waits meanwhile."""
        changes = [("session.replaced" if name in there else "session.opened", name) for name in sorted(put)]
        changes += [("session.closed", name) for name in sorted(there - put)] if only else []
        if len(changes) > MOST_TOLD:
            tell(self._observe, "session.replaced", space=space, sessions=len(changes))
        else:
            for fact, name in changes:
                tell(self._observe, fact, session=name, space=space)

    async def _prepare(self, space: str, name: str) -> None:
        if name == DEFAULT_SESSION:
            await self._store.ensure(space, name)
        await self._save((space, name))

    async def _read(self, space: str, source: Source, read: Callable[[Iterator[bytes]], T]) -> T:
        def work() -> T:
            with source() as pieces:
                return read(pieces)

        async with self._reading.one(space):
            return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _put(self, space: str, name: str, read: "Imported") -> tuple[int, Sequence[str]]:
        """The new revision, and what of the session was dropped."""
        new = Put(
            name=name,
            lines=read.lines,
            writing="new",
            choices=_choices(read.head),
            usage=read.head.usage,
        )
        old = replace(new, writing="replace", choices=None, usage=None)
        while True:  # it may come or go meanwhile
            row = await self._store.row(space, name)
            put = new if row is None else replace(new, writing="replace") if _is_unused(row) else old
            try:
                (revision,) = await self._store.put(space, [put])
            except (AlreadyExists, NotFound):
                continue
            told = "session.opened" if row is None else "session.replaced"
            tell(self._observe, told, session=name, space=space)
            return revision, [*_dropped(row)]


def _left_out(row: SessionRow) -> Iterator[str]:
    """What of a session is no part of its history yet."""
    if row.running:
        yield f"session {row.name!r}: the turn that runs in it was left out"
    elif row.question:
        yield f"session {row.name!r}: the question that waits in it was left out"


def _choices(head: Head) -> Choices:
    """What of the choices we know; another version may know more."""
    return Choices(**{name: head.choices[name] for name in _CHOICES if name in head.choices})


def _named(found: Iterable["Imported"]) -> tuple[dict[str, "Imported"], list[str]]:
    """The sessions of a snapshot by names that sessions may have, and what had to be mended.

    Raises:
        ImportInvalid: Two have the same name.
    """
    sessions = [*found]
    own = {read.head.session for read in sessions}
    named: dict[str, Imported] = {}
    repairs: list[str] = []
    for read in sessions:
        said = read.head.session
        name = _fitting(said, own | named.keys())
        if name != said:
            repairs.append(f"session {said[:128]!r} is now {name!r}")
        elif name in named:
            raise ImportInvalid(f"the snapshot has two sessions named {name!r}")
        named[name] = read
        repairs += [f"session {name!r}: {repair}" for repair in read.repairs]
    return named, repairs


def _fitting(said: str, taken: Container[str]) -> str:
    """The name, or one like it that no other session has, with `_` for what no name of ours may hold."""
    with suppress(InvalidArgument):
        return names.checked(said)
    plain = re.sub(r"[^A-Za-z0-9._:@+-]", "_", said)[: names.LONGEST].strip(".") or "_"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain[: names.LONGEST - 8]}-{number}"
    return name


def _is_unused(row: SessionRow) -> bool:
    """Whether nothing was ever said or chosen in a session, so that it is as good as new."""
    return not row.turns and not row.message_count and row.revision == 1 and row.choices == Choices()


def _dropped(row: SessionRow | None) -> Iterator[str]:
    """What a session loses that no former revision has."""
    if row is not None and row.question:
        yield f"session {row.name!r}: the question that waited in it was dropped"


def _check_idle(row: SessionRow | None) -> None:
    """See that nothing runs in a session, before much is read for nothing.

    Raises:
        SessionBusy: A turn does.
    """
    if row is not None and row.running:
        raise busy(
            row.name, row.running, f"session {row.name!r} is busy: turn {row.running.turn_id} is running"
        )
