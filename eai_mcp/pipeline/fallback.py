"""The next model, when one cannot answer for now."""

from collections.abc import Sequence
from dataclasses import replace

import anyio

from eai_mcp.calls import AttemptFailed, Call, Emit, ModelRequest, ModelResponse
from eai_mcp.errors import (
    AuthFailed,
    CallError,
    CallTimeout,
    CircuitOpen,
    MissingKey,
    RateLimited,
    Unavailable,
)
from eai_mcp.observe import Observer, Value, ignore
from eai_mcp.pipeline.hearing import Clock, Hearing, is_over
from eai_mcp.pipeline.told import tell_of


class Fallback:
    """Asks one model after the other, until one answers or something was said.

    A warning of the response says of each that failed why it did. If none answers, the first one's error is
    raised, since it was meant to answer; the codes of the others are behind its message.
    """

    def __init__(
        self,
        links: Sequence[tuple[str, Call]],
        *,
        observe: Observer = ignore,
        clock: Clock = anyio.current_time,
    ) -> None:
        self._links = tuple(links)
        self._observe = observe
        self._clock = clock

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        hearing = Hearing(emit, self._clock)
        failed: list[tuple[str, CallError]] = []
        for name, call in self._links:
            if failed:
                await self._tell(request, emit, *failed[-1], name)
            try:
                response = await call(request, hearing)
            except CallError as error:
                failed.append((name, error))
                is_stand_in = len(failed) > 1
                if hearing.has_text or is_over(request, self._clock()):
                    break
                if not (may_ask_another(error) or (is_stand_in and is_locked_out(error))):
                    break
            else:
                return answered(response, name, failed)
        raise unanswered(failed, has_text=hearing.has_text)

    async def _tell(self, request: ModelRequest, emit: Emit, name: str, error: CallError, after: str) -> None:
        fields: dict[str, Value] = {"from": name, "to": after, "code": error.code}
        tell_of(self._observe, request, "provider.fallback", **fields)
        await emit(AttemptFailed(f"{error.message}; now asking {after!r}"))


def may_ask_another(error: CallError) -> bool:
    """It is the model that cannot answer for now; any other would say the same about the request."""
    return not error.partial and isinstance(error, RateLimited | Unavailable | CallTimeout | CircuitOpen)


def is_locked_out(error: CallError) -> bool:
    """Nobody has the key: the operator's mistake where it was asked for, and no help from a stand-in."""
    return isinstance(error, MissingKey | AuthFailed)


def answered(response: ModelResponse, name: str, failed: Sequence[tuple[str, CallError]]) -> ModelResponse:
    """The response with what it does not know: who was asked before `name`, and how often."""
    if not failed:
        return response
    before = tuple(
        f"model {other!r} did not answer ({error.code}: {error.message}); {name!r} did"
        for other, error in failed
    )
    return replace(
        response,
        warnings=(*before, *response.warnings),
        attempts=response.attempts + sum(_attempts(error) for _, error in failed),
    )


def unanswered(failed: Sequence[tuple[str, CallError]], *, has_text: bool) -> CallError:
    """The one error for all: the first, or the last if its model had begun to speak."""
    told = failed[-1][1] if has_text or failed[-1][1].partial else failed[0][1]
    if len(failed) == 1:
        return told
    word = "then" if told is failed[0][1] else "before it"
    others = "".join(f"; {word} {name!r}: {error.code}" for name, error in failed if error is not told)
    told = told.copy()
    waits = [error.retry_after_s for _, error in failed if error.retry_after_s is not None]
    told.details = {
        **told.details,
        "tried": tuple(f"{name}: {error.code}" for name, error in failed),
        "attempts": sum(_attempts(error) for _, error in failed),
    }
    told.message += others
    told.args = (told.message,)
    told.retry_after_s = min(waits, default=None)
    told.retryable = any(error.retryable for _, error in failed)
    return told


def _attempts(error: CallError) -> int:
    attempts = error.details.get("attempts")
    return attempts if isinstance(attempts, int) else 1
