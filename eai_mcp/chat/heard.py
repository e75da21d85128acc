"""What a turn has said so far, for those who follow it.

Listeners pull: they look when `changed` wakes them, so a slow one delays nobody.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, assert_never

import anyio

from eai_mcp.calls import (
    AttemptFailed,
    Preparing,
    ResourcePushed,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolUseStarted,
)
from eai_mcp.chat import pushed
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import EaiError, TurnOver


class Heard:
    """Text, doings and resources of a turn. It is the turn's `Emit`, until it is closed.

    `resources` stand by their uri; `pushed` is told of each, and `said` of the characters of each text.
    """

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.resources: dict[str, ResourcePushed] = {}
        self.pushed: Callable[[ResourcePushed], None] | None = None
        self.said: Callable[[int], None] | None = None
        self.characters = 0
        self.note = ""
        self._step = 0
        self._changed: anyio.Event | None = None
        self.is_closed = False

    async def __call__(self, event: StreamEvent) -> None:
        """Remember what was said.

        Raises:
            TurnOver: The turn has ended.
            InvalidArgument, LimitExceeded: A resource cannot be pushed.
        """
        if self.is_closed:
            raise TurnOver("the turn has ended, and nothing more can be said or pushed in it")
        match event:
            case TextDelta(text=text):
                self._say(text)
            case ThinkingDelta():
                self.note = "thinking"
            case ToolUseStarted(name=name):
                self.note = f"using {name}"
            case Preparing(text=text):
                self.note = text
            case AttemptFailed(reason=reason):
                self.note = f"trying again: {reason}"
            case ResourcePushed():
                self._push(event)
            case _:
                assert_never(event)
        self.wake()

    def _say(self, text: str) -> None:
        self.pieces.append(text)
        self.characters += len(text)
        self.note = ""
        if self.said is not None:
            self.said(len(text))

    def _push(self, resource: ResourcePushed) -> None:
        pushed.check(resource, self.resources)
        self.resources[resource.uri] = resource  # an earlier one's place too: links lead there by its number
        if self.pushed is not None:
            self.pushed(resource)

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self.pieces)

    @property
    def partial(self) -> str:
        """The text of the step that is under way."""
        return "".join(self.pieces[self._step :])

    @property
    def doing(self) -> str:
        """What is being done, in a few words."""
        return self.note or f"{self.characters} characters so far"

    @contextmanager
    def saving_step(self) -> Iterator[None]:
        """What was said until now is saved with its step, unless that fails."""
        before, self._step = self._step, len(self.pieces)
        try:
            yield
        except BaseException:
            self._step = before
            raise

    def close(self) -> None:
        """Let nothing more be said."""
        self.is_closed = True

    def wake(self) -> None:
        """Let those who wait look again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def changed(self) -> None:
        """Wait for the next thing to be heard."""
        self._changed = self._changed or anyio.Event()
        await self._changed.wait()


class Followed(Protocol):
    """A turn that somebody may wait for, whichever process runs it: once it is `done`, `ending` is there."""

    heard: Heard
    done: anyio.Event
    ending: TurnResult | EaiError | None
    waiters: int
    left_at: float

    @property
    def session(self) -> str:
        """The name of its session."""
        ...

    @property
    def turn_id(self) -> str:
        """Its id."""
        ...

    @property
    def model(self) -> str:
        """The name of the model that it began with."""
        ...

    def standing(self) -> TurnResult:
        """How it stands while it is running."""
        ...


@contextmanager
def waited_for(turn: Followed) -> Iterator[None]:
    """Be one of those who wait for a turn; `left_at`, on the monotonic clock, is when the last one went."""
    turn.waiters += 1
    try:
        yield
    finally:
        turn.waiters -= 1
        turn.left_at = time.monotonic()
