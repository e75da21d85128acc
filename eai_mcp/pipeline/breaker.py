"""The circuit breaker: who failed too often is left alone for a while, then tried with a single call.

That call ends the trying with the first that is heard of its reply; how it ends counts like any other's.

What counts is whether the provider works, not whether the request did:

    down     not reached, broken off, too slow, any 5xx or 529, whatever the class of the error
    up       an answer, also one that says no: a reply, a 4xx, a refusal, a demand to wait
    neutral  nothing is known: cancelled, our own limits, the turn's own deadline, a bug, a missing key

Enough that are down in a row open the circuit, and one that is up closes it again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import anyio

from eai_mcp.calls import AttemptFailed, Call, Emit, ModelRequest, ModelResponse, Preparing, StreamEvent
from eai_mcp.catalog.entries import Breaker as Threshold
from eai_mcp.errors import CallError, CallTimeout, CircuitOpen, RateLimited, Refused, Throttled, Unavailable
from eai_mcp.observe import Observer, ignore
from eai_mcp.pipeline.hearing import Clock, is_over
from eai_mcp.pipeline.told import tell_of

Verdict: TypeAlias = Literal["up", "down", "neutral"]
State: TypeAlias = Literal["closed", "open", "half_open"]

# For those who come while the one call is trying: how long that takes is unknown.
PROBE_S = 5.0


@dataclass(slots=True)
class Circuit:
    """How often a provider failed in a row, and since when it is left alone, None while it is not.

    Each opening and each single try begins a generation. What ends in a later one than it began in says
    nothing any more: a call from before the opening neither closes the circuit nor keeps it open for longer.
    """

    failures: int = 0
    opened_at: float | None = None
    generation: int = 0
    is_trying: bool = False

    def state(self, now: float, recovery_s: float) -> State:
        """How it stands `now`."""
        if self.opened_at is None:
            return "closed"
        return "half_open" if self.is_trying or now >= self.opened_at + recovery_s else "open"

    def left_s(self, now: float, recovery_s: float) -> float:
        """Seconds for which it stays open; 0 when it is not."""
        return 0.0 if self.opened_at is None else max(self.opened_at + recovery_s - now, 0.0)

    def enter(self, now: float, recovery_s: float) -> int | None:
        """The generation that a call belongs to, None if it may not be made."""
        if self.opened_at is None:
            return self.generation
        if self.state(now, recovery_s) == "open" or self.is_trying:
            return None
        self.is_trying = True
        self.generation += 1
        return self.generation

    def leave(self, generation: int, verdict: Verdict, now: float, most: int) -> State | None:
        """The state that the end of a call led to, None if it changed nothing; `most` failures open it."""
        if generation != self.generation:
            return None
        was_trying, self.is_trying = self.is_trying, False
        if verdict == "up":
            self.failures, self.opened_at = 0, None
            return "closed" if was_trying else None
        if verdict == "neutral":
            return None
        self.failures += 1
        if not was_trying and self.failures < most:
            return None
        self.opened_at = now
        self.generation += 1
        return "open"


class Breaker:
    """Asks only while the circuit lets it, and tells the circuit how it went."""

    def __init__(
        self,
        call: Call,
        model: str,
        circuit: Circuit,
        *,
        threshold: Threshold,
        observe: Observer = ignore,
        clock: Clock = anyio.current_time,
    ) -> None:
        self._call = call
        self._model = model
        self._circuit = circuit
        self._threshold = threshold
        self._observe = observe
        self._clock = clock

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        generation = self._circuit.enter(self._clock(), self._threshold.recovery_s)
        if generation is None:
            raise self._refusal(request)
        if self._circuit.is_trying:
            tell_of(self._observe, request, "circuit.half_open", model=self._model)
            emit = _Probed(emit, partial(self._left, request, generation, "up"))
        verdict: Verdict = "neutral"
        try:
            response = await self._call(request, emit)
            verdict = "up"
        except CallError as error:
            verdict = judged(error, is_late=is_over(request, self._clock()))
            raise
        finally:
            self._left(request, generation, verdict)
        return response

    def _left(self, request: ModelRequest, generation: int, verdict: Verdict) -> None:
        threshold, circuit = self._threshold, self._circuit
        state = circuit.leave(generation, verdict, self._clock(), threshold.failures)
        if state == "closed":
            tell_of(self._observe, request, "circuit.closed", model=self._model)
        elif state == "open":
            tell_of(
                self._observe,
                request,
                "circuit.opened",
                model=self._model,
                failures=circuit.failures,
                seconds=threshold.recovery_s,
            )

    def _refusal(self, request: ModelRequest) -> CircuitOpen:
        recovery_s = self._threshold.recovery_s
        left_s = self._circuit.left_s(self._clock(), recovery_s)
        why = f"it failed {self._circuit.failures} times in a row"
        if not left_s:
            left_s, why = min(recovery_s, PROBE_S), f"{why}, and one call is trying it again now"
        tell_of(self._observe, request, "circuit.rejected", model=self._model, retry_after_s=left_s)
        return CircuitOpen(
            f"model {self._model!r} is not asked: {why}; "
            f"try again in {round(left_s, 2):g} s, or take another model",
            retry_after_s=left_s,
            model=self._model,
        )


class _Probed:
    """Passes on what a single try hears. With the first of the reply the others need not wait for its end."""

    __slots__ = ("_emit", "_is_up")

    def __init__(self, emit: Emit, is_up: Callable[[], None]) -> None:
        self._emit = emit
        self._is_up: Callable[[], None] | None = is_up

    async def __call__(self, event: StreamEvent) -> None:
        if self._is_up is not None and not isinstance(event, Preparing | AttemptFailed):
            self._is_up()
            self._is_up = None
        await self._emit(event)


def judged(error: CallError, *, is_late: bool) -> Verdict:
    """What `error` says about the provider; `is_late` if the turn's own deadline has passed."""
    status = error.details.get("status")
    match error:
        case Throttled() | CircuitOpen():
            return "neutral"
        case RateLimited() | Unavailable() | CallTimeout() if isinstance(status, int):
            return "down" if status >= 500 else "up"
        case RateLimited() | Refused():  # only a provider says so
            return "up"
        case CallTimeout():
            return "neutral" if is_late else "down"
        case Unavailable():  # a certificate that is not valid, say, is not cured by waiting
            return "down" if error.retryable else "neutral"
        case _:  # of the others a status shows that they were not made up here
            return "up" if isinstance(status, int) else "neutral"
