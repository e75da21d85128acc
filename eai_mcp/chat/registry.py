"""The sessions of this process: what is stored of them, and which turns are running."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from eai_mcp.calls import Call, ModelRequest
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Model
from eai_mcp.chat import choose, content, ending, names, window
from eai_mcp.chat.turn import Turn
from eai_mcp.chat.values import DEFAULT_SESSION, Talk, TurnResult
from eai_mcp.errors import EaiError, NoTask, NotFound
from eai_mcp.observe import Observer, ignore
from eai_mcp.store import Choices, Entry, SessionRow, Store

INTERRUPT_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`turn_s` seconds for a turn whose model sets no other limit; `message_bytes` of UTF-8 for one input."""

    turn_s: float = 1800.0
    message_bytes: int = 8 * 1024 * 1024


class Registry:
    """Takes turns in sessions. `tasks` is where turns run: it must outlive every request."""

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
    ) -> None:
        self.store = store
        self.catalog = catalog
        self.default_model = default_model
        self._call_for = call_for
        self._tasks = tasks
        self._limits = limits
        self._observe = observe
        self._running: dict[tuple[str, str], Turn] = {}

    async def begin(self, space: str, talk: Talk) -> Turn:
        """Start a turn. Nothing of it is kept, and no session made, unless all its arguments can work.

        Raises:
            InvalidArgument, LimitExceeded: The content or a name cannot work.
            UnknownName, ConfigError: A model, prompt or card is not in the catalog, or its file is bad.
            SessionBusy: Another turn is running in the session.
        """
        name = names.checked(talk.session)
        message = content.message(talk, longest=self._limits.message_bytes)
        row = await self.store.row(space, name)
        chosen = choose.choose(talk, row.choices if row else Choices(), self.catalog, self.default_model)
        call = self._call_for(chosen.model)
        with anyio.CancelScope(shield=True):  # a claim without a turn would keep the session busy for good
            claim = await self.store.claim(space, name, f"t_{secrets.token_hex(6)}", message)
            history = [entry.message for entry in await self.store.load(space, name)]
            limit_s = chosen.model.turn_limit_s or self._limits.turn_s
            request = ModelRequest(
                messages=window.shown(history, message),
                system=window.system_text(chosen),
                samplers=talk.samplers,
                deadline=anyio.current_time() + limit_s,
                session=name,
                turn_id=claim.turn_id,
            )
            turn = Turn(claim=claim, chosen=chosen, call=call, request=request, limit_s=limit_s)
            self._running[space, name] = turn
            self._tasks.start_soon(self._run, turn, name=f"turn {claim.turn_id}")
        return turn

    async def reply(self, turn: Turn, wait_s: float) -> TurnResult:
        """The turn's result, or how it stands after `wait_s` seconds. Leaving early does not stop it.

        Raises:
            EaiError: The turn failed.
        """
        with anyio.move_on_after(wait_s):
            await turn.done.wait()
        if turn.ending is None:
            return turn.standing()
        if isinstance(turn.ending, EaiError):
            raise turn.ending
        return turn.ending

    async def find(self, space: str, session: str, turn_id: str | None = None) -> Turn | TurnResult:
        """The running turn of a session, or the result of one that has ended; the latest if none is named.

        Raises:
            NotFound: No such session or turn.
            TurnFailed: That turn had failed.
        """
        name = names.checked(session)
        turn = self._running.get((space, name))
        if turn and turn_id in (None, turn.claim.turn_id):
            return turn
        await self._ensure_default(space, name)
        outcome, reply = await self.store.outcome(space, name, turn_id)
        return ending.told_again(name, outcome, reply)

    async def interrupt(self, space: str, session: str, turn_id: str | None = None) -> TurnResult:
        """Stop the running turn and return how it ended.

        Raises:
            NotFound: No such session.
            NoTask: Nothing is running in it, or another turn than the one named.
        """
        name = names.checked(session)
        turn = self._running.get((space, name))
        if turn is None:
            if name != DEFAULT_SESSION and await self.store.row(space, name) is None:
                raise NotFound(f"no session named {name!r}; list_sessions shows all", name=name)
            raise NoTask(f"nothing is running in session {name!r}", chat_session=name)
        if turn_id not in (None, turn.claim.turn_id):
            raise NoTask(
                f"turn {turn_id} is not running in session {name!r}; turn {turn.claim.turn_id} is",
                chat_session=name,
                turn_id=turn.claim.turn_id,
            )
        turn.interrupt()
        return await self.reply(turn, INTERRUPT_LIMIT_S)

    async def sessions(
        self, space: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[SessionRow]:
        """Sessions in the order of their names, from the first behind `after`."""
        await self._ensure_default(space, DEFAULT_SESSION)
        return await self.store.list(space, prefix=prefix, after=after, limit=limit)

    async def history(self, space: str, session: str, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """A session's messages behind position `after`, oldest first.

        Raises:
            NotFound: No such session.
        """
        name = names.checked(session)
        await self._ensure_default(space, name)
        return await self.store.load(space, name, after=after, limit=limit)

    async def aclose(self) -> None:
        """Interrupt every running turn, and wait until what was said in them is saved."""
        turns = tuple(self._running.values())
        for turn in turns:
            turn.interrupt()
        for turn in turns:
            await turn.done.wait()

    async def _run(self, turn: Turn) -> None:
        try:
            await turn.run(self.store, self._observe)
        finally:
            del self._running[turn.claim.space, turn.claim.name]

    async def _ensure_default(self, space: str, name: str) -> None:
        if name == DEFAULT_SESSION:
            await self.store.ensure(space, name)
