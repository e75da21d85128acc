"""A limit for one attempt, and the end of what it may say."""

import math
from dataclasses import replace

import anyio

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse, StreamEvent, TextDelta
from eai_mcp.errors import CallError, CallTimeout, TurnOver, sole
from eai_mcp.pipeline.hearing import Clock

# An adapter keeps the deadline itself, and knows better what had come by then; a turn allows for more still.
GRACE_S = 0.1


class Deadline:
    """Ends an attempt after `limit_s` seconds (None: no limit), or at the turn's deadline if that is earlier.

    What is inside sees that limit as the request's deadline. A lone CallError out of a task group in there
    comes out by itself, since guards tell errors apart by their class. An adapter cannot end the process.
    """

    def __init__(
        self, call: Call, model: str, *, limit_s: float | None, clock: Clock = anyio.current_time
    ) -> None:
        self._call = call
        self._model = model
        self._limit_s = limit_s
        self._clock = clock

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        now = self._clock()
        until, is_turns = math.inf if self._limit_s is None else now + self._limit_s, False
        if request.deadline is not None and request.deadline <= until:
            until, is_turns = request.deadline, True
        said = _Said(emit)
        try:
            if until > now:
                # The scope counts in anyio's time, whatever clock the deadline is told in.
                with anyio.CancelScope(deadline=anyio.current_time() + until - now + GRACE_S):
                    limit = None if until == math.inf else until
                    return await self._call(replace(request, deadline=limit), said)
        except (BaseExceptionGroup, SystemExit) as raised:
            match sole(raised):
                case CallError() as error:
                    raise error from error.__cause__
                case SystemExit() as leaving:
                    raise RuntimeError(f"the adapter of {self._model} tried to end the process") from leaving
                case _:
                    raise
        finally:
            said.is_over = True
        raise self._late(
            is_turns=is_turns, limit_s=round(max(until - now, 0.0), 3), partial="".join(said.pieces)
        )

    def _late(self, *, is_turns: bool, limit_s: float, partial: str) -> CallTimeout:
        limit = "what the turn had left" if is_turns else "the limit of an attempt"
        advice = (
            "allow the turn more time"
            if is_turns
            else "raise attempt_timeout_s in its file if it needs longer"
        )
        return CallTimeout(
            f"model {self._model!r} did not finish its reply within {limit_s:g} s, {limit}; {advice}",
            partial=partial,
            model=self._model,
            limit_s=limit_s,
        )


class _Said:
    """Passes on what an attempt says until it is over, and keeps the text."""

    __slots__ = ("_emit", "is_over", "pieces")

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.pieces: list[str] = []
        self.is_over = False

    async def __call__(self, event: StreamEvent) -> None:
        if self.is_over:
            raise TurnOver("the attempt has ended, and nothing more can be said in it")
        if isinstance(event, TextDelta):
            self.pieces.append(event.text)
        await self._emit(event)
