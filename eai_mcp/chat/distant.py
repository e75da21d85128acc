"""Turns that this process does not run: one of another process, and one that has ended."""

import math
import time
from dataclasses import dataclass, field, replace

import anyio

from eai_mcp.calls import TextDelta
from eai_mcp.chat import ending
from eai_mcp.chat.ending import Ending
from eai_mcp.chat.heard import Heard
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import EaiError, StoreError, TurnFailed
from eai_mcp.store import Outcome, Running, Store


@dataclass(slots=True, kw_only=True)
class PastTurn:
    """One that has ended. Made inside an event loop."""

    session: str
    turn_id: str
    ending: Ending | None
    heard: Heard = field(default_factory=Heard)
    done: anyio.Event = field(default_factory=anyio.Event)
    model: str = ""
    waiters: int = 0
    left_at: float = 0.0

    def __post_init__(self) -> None:
        self.done.set()

    def standing(self) -> TurnResult:
        """See `Followed`. It does not stand any more."""
        raise AssertionError


@dataclass(slots=True, kw_only=True, eq=False)
class DistantTurn:
    """Followed like any other; its text comes in the pieces in which its owner saves it.

    Somebody has to `look` again and again. Every `attend_s` seconds its owner hears that it is waited for.
    """

    space: str
    session: str
    running: Running
    attend_s: float
    heard: Heard = field(default_factory=Heard)
    done: anyio.Event = field(default_factory=anyio.Event)
    ending: Ending | None = None
    waiters: int = 0
    left_at: float = field(default_factory=time.monotonic)
    _passed_on: str = ""
    _attended: float = -math.inf

    @property
    def turn_id(self) -> str:
        """See `Followed`."""
        return self.running.turn_id

    @property
    def model(self) -> str:
        """See `Followed`."""
        return self.standing().effective.model

    def standing(self) -> TurnResult:
        """See `Followed`."""
        return ending.standing(self.session, self.running)

    async def look(self, store: Store) -> None:
        """See how it stands, and let its owner know that somebody waits for it."""
        try:
            found = await store.find(self.space, self.session, self.turn_id)
            if isinstance(found, Running):
                await self._hear(found, store)
                return
            self.ending = past(self.session, *found).ending
        except StoreError:
            return  # the file may be mended by the next look
        except EaiError as error:
            self.ending = error
        self.done.set()
        self.heard.wake()

    async def _hear(self, found: Running, store: Store) -> None:
        self.running = found
        new = found.said.removeprefix(self._passed_on)  # all of it where a new step began
        self._passed_on = found.said
        if new:
            await self.heard(TextDelta(new))
        if self.waiters and time.monotonic() - self._attended > self.attend_s:
            self._attended = time.monotonic()
            await store.attend(self.space, self.session, self.turn_id)


def past(session: str, outcome: Outcome, reply: str, *warnings: str) -> PastTurn:
    """A turn that was settled before, with more warnings in its result."""
    try:
        result = ending.told_again(session, outcome, reply)
    except TurnFailed as error:
        return PastTurn(session=session, turn_id=outcome.turn_id, ending=error)
    result = replace(result, warnings=(*result.warnings, *warnings))
    return PastTurn(session=session, turn_id=outcome.turn_id, ending=result)
