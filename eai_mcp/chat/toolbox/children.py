"""The turns that other turns asked for: begun once their session is free, and followed to their end.

They belong to the server: they go on when the turn that asked for them has ended, unless by an interrupt.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from eai_mcp.chat.heard import Followed, waited_for
from eai_mcp.chat.toolbox.kit import End
from eai_mcp.chat.toolbox.use import Use
from eai_mcp.chat.values import Talk, TurnResult
from eai_mcp.errors import EaiError, InvalidArgument, LimitExceeded
from eai_mcp.observe import internal

MOST_AT_ONCE = 64
"""Of one space, under way in this process."""
MOST_REMEMBERED = 1000
"""Of those that never began, so that the store knows nothing of them."""
STOPPED = "stopped: the turn that asked for it was interrupted"


class Turns(Protocol):
    """How turns begin and stop: the registry."""

    async def begin(self, space: str, talk: Talk) -> Followed:
        """Start a turn, once its session is free."""
        ...

    async def stop(self, space: str, turn: Followed, reason: str | None = None) -> TurnResult:
        """Stop a turn, and wait for its end."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class Child:
    """A turn that was asked for. There is a `turn` once it has begun; `refused` says why it could not begin.

    It is `over` when nobody follows it any more. `held_by` has the ends of the turns whose interrupt ends it.
    Of one session, each begins behind the one that was asked `before` it; it has `tried` once it could.
    """

    space: str
    talk: Talk
    turn: Followed | None = None
    refused: EaiError | None = None
    before: "Child | None" = None
    tried: anyio.Event = field(default_factory=anyio.Event)
    over: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    held_by: list[dict[str, End]] = field(default_factory=list)

    @property
    def session(self) -> str:
        """The name of its session."""
        return self.talk.session

    @property
    def id(self) -> str:
        """What the model knows it by: the store finds its turn by that, too."""
        return f"{self.session}#{self.talk.request_id}"


class Children:
    """Those of one process: all that are under way, and some that never began."""

    def __init__(self, turns: Turns, tasks: TaskGroup) -> None:
        self._turns = turns
        self._tasks = tasks
        self._all: dict[tuple[str, str], Child] = {}
        self._unbegun: deque[tuple[str, str]] = deque()
        self._latest: dict[tuple[str, str], Child] = {}
        self._waits: list[tuple[str, str, str]] = []

    def get(self, space: str, known: str) -> Child | None:
        """One by its id."""
        return self._all.get((space, known))

    def check_room(self, space: str) -> None:
        """See that there may be another one.

        Raises:
            LimitExceeded: There are too many.
        """
        under_way = sum(one.space == space and not one.over.is_set() for one in self._all.values())
        if under_way >= MOST_AT_ONCE:
            raise LimitExceeded(
                f"{under_way} sub-agents are under way already; wait for some of them first",
                limit=MOST_AT_ONCE,
                actual=under_way + 1,
            )

    def start(self, child: Child, use: Use) -> None:
        """Begin a turn as soon as its session is free; an interrupt of the turn that uses it ends it."""
        self._all[child.space, child.id] = child
        # Its place is taken here: tasks may begin in any order.
        child.before = self._latest.get((child.space, child.session))
        self._latest[child.space, child.session] = child
        self.hold(child, use)
        self._tasks.start_soon(self._follow, child, name=f"sub-agent {child.id}")

    def hold(self, child: Child, use: Use) -> None:
        """Let an interrupt of this turn, too, end the child."""
        ends = use.kit.begun.ends
        if child.id not in ends and not child.over.is_set():
            ends[child.id] = partial(self._end, child)
            child.held_by.append(ends)

    @contextmanager
    def waiting(self, session: str, use: Use) -> Iterator[None]:
        """This turn waits for a session."""
        wait = (use.claim.space, use.claim.name, session)
        self._waits.append(wait)
        try:
            yield
        finally:
            self._waits.remove(wait)

    def check_circle(self, session: str, use: Use) -> None:
        """See that a session does not wait, itself or over others, for the turn that would wait for it.

        Raises:
            InvalidArgument: It does.
        """
        reached, new = {session}, [session]
        while new:
            at = new.pop()
            further = {to for space, by, to in self._waits if space == use.claim.space and by == at}
            new += further - reached
            reached |= further
        if use.claim.name in reached:
            raise InvalidArgument(
                f"session {session!r} waits for this one, so it would wait for itself; ask another session,"
                " or end this turn first",
                field="chat_session",
            )

    async def _follow(self, child: Child) -> None:
        """Begin the turn and wait for its end, so that it counts as waited for."""
        try:
            with child.scope:
                await _turn_of(child)
                child.turn = await self._turns.begin(child.space, child.talk)
                child.tried.set()
                with waited_for(child.turn):
                    await child.turn.done.wait()
        except EaiError as error:
            child.refused = error
        except Exception as bug:  # noqa: BLE001  # the task is the server's, not that of a turn
            child.refused = internal(bug)
        finally:
            self._let_go(child)

    def _let_go(self, child: Child) -> None:
        child.over.set()
        child.tried.set()
        if self._latest.get((child.space, child.session)) is child:
            del self._latest[child.space, child.session]
        for ends in child.held_by:
            ends.pop(child.id, None)
        key = (child.space, child.id)
        if child.turn is not None:  # the store knows it
            del self._all[key]
            return
        self._unbegun.append(key)
        if len(self._unbegun) > MOST_REMEMBERED:
            del self._all[self._unbegun.popleft()]

    async def _end(self, child: Child) -> None:
        if child.turn is None:
            child.scope.cancel()
            await child.over.wait()
        if child.turn is not None:  # it may have begun at the last moment
            await self._turns.stop(child.space, child.turn, STOPPED)


async def _turn_of(child: Child) -> None:
    """Wait until those before it have begun; one that was stopped meanwhile leaves its place to the next."""
    before = child.before
    while before is not None:
        await before.tried.wait()
        before = before.before
    child.before = None
