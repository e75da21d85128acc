"""What guards have to know about a call while it runs: what was heard of it, and how much time it has."""

import math
from collections.abc import Callable
from typing import TypeAlias

from eai_mcp.calls import AttemptFailed, Emit, ModelRequest, Preparing, StreamEvent, TextDelta

Clock: TypeAlias = Callable[[], float]

# Timers may come a hair early, and nothing useful can be done in so little time.
SLACK_S = 0.01


class Hearing:
    """Passes on what is heard, and notes when the first of the reply came and whether any text did."""

    __slots__ = ("_clock", "_emit", "first_at", "has_text")

    def __init__(self, emit: Emit, clock: Clock) -> None:
        self._emit = emit
        self._clock = clock
        self.first_at: float | None = None
        self.has_text = False

    async def __call__(self, event: StreamEvent) -> None:
        if self.first_at is None and not isinstance(event, Preparing | AttemptFailed):
            self.first_at = self._clock()
        if isinstance(event, TextDelta) and event.text:
            self.has_text = True  # before it is passed on: a listener that fails may have shown it
        await self._emit(event)


def left_s(request: ModelRequest, now: float) -> float:
    """Seconds until the turn's deadline; infinite without one, negative after it."""
    return math.inf if request.deadline is None else request.deadline - now


def is_over(request: ModelRequest, now: float) -> bool:
    """The turn's deadline has passed."""
    return left_s(request, now) <= SLACK_S
