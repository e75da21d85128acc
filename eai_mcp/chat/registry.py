"""The sessions: talked to, waited for, interrupted, read, copied, closed. The store keeps them."""

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from eai_mcp.calls import Call
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Model
from eai_mcp.chat import choose, names, questions
from eai_mcp.chat.beginning import Beginning
from eai_mcp.chat.distant import DistantTurn, past
from eai_mcp.chat.following import Following
from eai_mcp.chat.heard import Followed, waited_for
from eai_mcp.chat.keeper import RENEW_S, Keeper
from eai_mcp.chat.layers import NO_LAYERS, Layers
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.shares import Shares
from eai_mcp.chat.toolbox.box import NO_TOOLS, Toolbox
from eai_mcp.chat.turn import Turn
from eai_mcp.chat.values import DEFAULT_SESSION, Talk, TurnResult
from eai_mcp.errors import CannotClose, Conflict, EaiError, NoTask, NotFound, SessionBusy
from eai_mcp.observe import Observer, ignore, tell
from eai_mcp.store import Entry, Running, SessionRow, Store

if TYPE_CHECKING:
    from eai_mcp.chat.archive import Archive

INTERRUPT_LIMIT_S = 5.0


class Registry:
    """Takes turns in sessions. `tasks` is where turns run: it must outlive every request.

    The `archive` moves whole histories into files and back, and keeps them aside in `folder` meanwhile.
    """

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        call_for: Callable[[Model], Call],
        tasks: TaskGroup,
        default_model: str,
        limits: Limits = Limits(),
        observe: Observer = ignore,
        layers: Layers = NO_LAYERS,
        toolbox: Toolbox = NO_TOOLS,
        renew_s: float = RENEW_S,
        folder: Path | None = None,
    ) -> None:
        self.catalog = catalog
        self.default_model = default_model
        self._store = store
        self._observe = observe
        self._keeper = Keeper(store, tasks, orphan_s=limits.orphan_s, renew_s=renew_s)
        self._following = Following(store, self._keeper)
        self._folder = folder
        self._shares = Shares(limits, store)
        self.beginning = Beginning(
            store=store,
            choosing=functools.partial(choose.choose, catalog=catalog, default_model=default_model),
            call_for=call_for,
            tasks=tasks,
            limits=limits,
            observe=observe,
            layers=layers,
            toolbox=toolbox,
            keeper=self._keeper,
            shares=self._shares,
            following=self._following,
        )

    @functools.cached_property
    def archive(self) -> "Archive":
        """Histories as a whole; loaded when they are first moved, which many servers never do."""
        from eai_mcp.chat.archive import Archive

        return Archive(
            self._store,
            save=self._keeper.save,
            folder=self._folder,
            shares=self._shares,
            observe=self._observe,
        )

    async def begin(self, space: str, talk: Talk, *, wait_s: float | None = None) -> Followed:
        """Start a turn. Nothing of it is kept, and no session made, unless all its arguments can work.

        A request id that was used before gives the turn that it began then, running or ended. Where
        `talk.if_busy` lets it wait for another turn, it waits `wait_s` seconds at most (None: as long as
        that takes), and nothing of it is kept until then.

        Raises:
            InvalidArgument, LimitExceeded: The content or a name cannot work, or the session is used up,
                or the space's share is.
            Throttled: There were too many talks in the space just now.
            UnknownName, ConfigError: A model, prompt or card is not in the catalog, or its file is bad.
            SessionBusy: Another turn is running in the session.
            Conflict: It answers a question that is not open any more.
        """
        return await self.beginning.begin(space, talk, wait_s=wait_s)

    async def reply(self, turn: Followed, wait_s: float) -> TurnResult:
        """The turn's result, or how it stands after `wait_s` seconds. Leaving early does not stop it.

        Raises:
            EaiError: The turn failed.
        """
        if not turn.done.is_set():
            with waited_for(turn), anyio.move_on_after(wait_s):
                if isinstance(turn, DistantTurn):
                    self._keeper.watch(turn)
                await turn.done.wait()
        if turn.ending is None and isinstance(turn, Turn):
            await self._keeper.acknowledge(turn)
        if turn.ending is None:
            return turn.standing()
        if isinstance(turn.ending, EaiError):
            raise turn.ending
        return turn.ending

    async def find(self, space: str, session: str, turn_id: str | None = None) -> Followed:
        """A turn of a session, running or ended; the latest if none is named.

        Raises:
            NotFound: No such session or turn.
        """
        name = names.checked(session)
        names.check_text("turn_id", turn_id)
        turn = self._keeper.turn((space, name))
        if turn and turn_id in (None, turn.claim.turn_id):
            return turn
        await self._ensure_default(space, name)
        found = await self._store.find(space, name, turn_id)
        if isinstance(found, Running):
            return self._following.followed(space, name, found)
        return past(name, *found)

    async def by_request(self, space: str, session: str, request_id: str) -> Followed | None:
        """The turn that a request id began, running or ended; None if it began none."""
        name = names.checked(session)
        names.check_text("request_id", request_id)
        known = await self._store.repeated(space, name, request_id)
        return None if known is None else await self.find(space, name, known.turn_id)

    async def interrupt(self, space: str, session: str, turn_id: str | None = None) -> TurnResult:
        """Stop the running turn, in whatever process, or drop the question that waits; how the turn ended.

        Raises:
            NotFound: No such session.
            NoTask: Nothing is running in it, or another turn than the one named.
        """
        name = names.checked(session)
        names.check_text("turn_id", turn_id)
        turn = self._keeper.running((space, name))
        if turn is None or turn_id not in (None, turn.claim.turn_id):
            await self._ensure_default(space, name)
            try:
                running = await self._store.interrupt(space, name, turn_id)
            except NoTask:
                try:
                    dropped = await self._drop_question(space, name, turn_id)
                except (Conflict, SessionBusy):  # somebody has just answered it
                    return await self.interrupt(space, session, turn_id)
                if dropped is None:
                    raise
                return dropped
            followed = self._following.followed(space, name, running)
        else:
            followed = turn
        if isinstance(followed, Turn):
            followed.interrupt()
        return await self.reply(followed, INTERRUPT_LIMIT_S)

    async def leave_open(
        self, space: str, session: str, turn_id: str, *, request_id: str, why: str = ""
    ) -> None:
        """Keep for all processes that the question of a turn was left open, and `why`; see `by_request`.

        Raises:
            Conflict, SessionBusy: It is not open any more.
        """
        row = await self.session(space, session)
        found = await self._store.find(space, row.name, turn_id)
        if row.question is None or row.question.turn_id != turn_id or isinstance(found, Running):
            raise Conflict(f"turn {turn_id} asks nothing any more", chat_session=row.name, turn_id=turn_id)
        await questions.leave_open(self._store, space, row, found[0], request_id=request_id, why=why)

    async def stop(self, space: str, turn: Followed, reason: str | None = None) -> TurnResult:
        """Stop a turn that is followed, and tell how it ended.

        Raises:
            EaiError: It failed before.
        """
        await self._following.ask_to_stop(space, turn, reason)
        return await self.reply(turn, INTERRUPT_LIMIT_S)

    async def sessions(
        self, space: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[SessionRow]:
        """Sessions in the order of their names, from the first behind `after`."""
        names.check_text("prefix", prefix)
        names.check_text("cursor", after)
        await self._ensure_default(space, DEFAULT_SESSION)
        return await self._store.list(space, prefix=prefix, after=after, limit=limit)

    def model_of(self, row: SessionRow) -> str:
        """The model that would answer next in a session."""
        with suppress(EaiError):  # the card is gone; the next talk will say so
            if row.choices.card and (model := self.catalog.card(row.choices.card).model):
                return model
        return row.choices.model or self.default_model

    async def session(self, space: str, session: str) -> SessionRow:
        """A session without its messages.

        Raises:
            NotFound: There is none.
        """
        name = names.checked(session)
        await self._ensure_default(space, name)
        row = await self._store.row(space, name)
        if row is None:
            raise NotFound(f"no session named {name!r}", name=name)
        return row

    async def rows(self, space: str, sessions: Sequence[str]) -> list[SessionRow]:
        """Those of the sessions that are there, without their messages. Unlike `session`, it makes none."""
        return await self._store.rows(space, [one for one in sessions if names.is_one(one)])

    async def history(
        self,
        space: str,
        session: str,
        *,
        after: int = 0,
        limit: int | None = 100,
        most_bytes: int | None = None,
    ) -> list[Entry]:
        """A session's messages behind position `after`, oldest first, as many as the limits take.

        Raises:
            NotFound: No such session.
        """
        name = names.checked(session)
        await self._ensure_default(space, name)
        return await self._store.load(space, name, after=after, limit=limit, most_bytes=most_bytes)

    async def ensure(self, space: str, session: str) -> bool:
        """Make an empty session; False if there is one.

        Raises:
            LimitExceeded: There are as many as there may be.
        """
        name = names.checked(session)
        async with self._shares.making(space, name):
            made = await self._store.ensure(space, name)
        if made:
            tell(self._observe, "session.opened", session=name, space=space)
        return made

    async def close(self, space: str, session: str) -> None:
        """Remove a session with all that was said in it.

        Raises:
            CannotClose: It is the default session.
            NotFound: No such session.
            SessionBusy: A turn is running in it.
        """
        name = names.checked(session)
        if name == DEFAULT_SESSION:
            raise CannotClose("the session 'default' is always there, and cannot be closed", name=name)
        await self._keeper.save((space, name))
        if not await self._store.delete(space, name):
            raise NotFound(f"no session named {name!r}", name=name)
        tell(self._observe, "session.closed", session=name, space=space)

    async def fork(self, space: str, session: str, new: str, *, upto: int | None = None) -> SessionRow:
        """Copy a session under another name, whole or up to the message at position `upto`.

        Raises:
            NotFound: No such session.
            AlreadyExists: There is one of the new name.
            LimitExceeded: There are as many as there may be.
            InvalidArgument: There is no such position, or a tool's result would be left behind.
        """
        name, new = names.checked(session), names.checked(new, "new_session")
        await self._ensure_default(space, name)
        await self._ensure_default(space, new)
        async with self._shares.making(space, new):
            row = await self._store.fork(space, name, new, upto=upto)
        tell(self._observe, "session.opened", session=new, space=space)
        return row

    async def aclose(self) -> None:
        """Interrupt every running turn, and wait until what was said in them is saved."""
        self.beginning.closing.set()
        turns = self._keeper.turns()
        for turn in turns:
            turn.interrupt()
        for turn in turns:
            await turn.done.wait()
        await self._keeper.save_all()

    async def _drop_question(self, space: str, name: str, turn_id: str | None) -> TurnResult | None:
        """Close the question that waits, as the result of an interrupted turn; None if none does."""
        row = await self._store.row(space, name)
        question = row.question if row else None
        if row is None or question is None or turn_id not in (None, question.turn_id):
            return None
        result = await questions.withdraw(self._store, space, row, question)
        if begun := self.beginning.waiting.pop((space, name, question.turn_id), None):
            await begun.end()
        return result

    async def _ensure_default(self, space: str, name: str) -> None:
        if name == DEFAULT_SESSION:
            await self._store.ensure(space, name)
