"""The same model again, after a pause, as long as nothing was heard of its reply."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from eai_mcp.calls import AttemptFailed, Call, Emit, ModelRequest, ModelResponse
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import CallError, CallTimeout, EaiError, RateLimited, Throttled, Unavailable
from eai_mcp.middleware import Failure
from eai_mcp.observe import Observer, Value, ignore, is_heard
from eai_mcp.pipeline.hearing import Clock, Hearing, is_over, left_s
from eai_mcp.pipeline.numbers import Numbers
from eai_mcp.pipeline.told import code_of, tell_of

LONGEST_RETRY_AFTER_S = 120.0
JITTER = 0.2


class Retry:
    """Tries a call again, up to `numbers.attempts` times in all, where that may help.

    `failed` is told of each attempt that failed; it must not raise, nor take long. `chance` gives a number
    from 0 to 1.
    """

    def __init__(
        self,
        call: Call,
        model: Model,
        *,
        numbers: Numbers,
        observe: Observer = ignore,
        failed: Callable[[Failure], Awaitable[None]] | None = None,
        clock: Clock = anyio.current_time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._call = call
        self._model = model
        self._numbers = numbers
        self._observe = observe
        self._failed = failed
        self._clock = clock
        self._sleep = sleep
        self._chance = chance

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        attempt = 1
        while True:
            hearing = Hearing(emit, self._clock)
            try:
                response = await self._attempt(request, hearing)
            except EaiError as error:
                await self._tell_failure(error, request)
                pause_s = None if hearing.has_text else self._pause_s(error, request, attempt)
                if pause_s is None:
                    error.details = {**error.details, "attempts": attempt}
                    raise
                reason, code = error.message, error.code
            else:
                if attempt == 1:
                    return response
                return replace(response, attempts=response.attempts + attempt - 1)
            tell_of(
                self._observe,
                request,
                "provider.retry",
                model=self._model.name,
                attempt=attempt,
                wait_s=pause_s,
                code=code,
            )
            await emit(AttemptFailed(reason))
            await self._sleep(pause_s)
            attempt += 1
            request = replace(request, attempt=attempt)

    async def _attempt(self, request: ModelRequest, hearing: Hearing) -> ModelResponse:
        if not is_heard(self._observe, "provider.attempt"):
            return await self._call(request, hearing)
        begun = self._clock()
        self._tell("provider.attempt", request)
        try:
            response = await self._call(request, hearing)
        except BaseException as error:
            seconds, code = self._clock() - begun, code_of(error)
            if code is None:
                self._tell("provider.cancelled", request, seconds=seconds)
            else:
                self._tell("provider.failed", request, seconds=seconds, code=code, status=_status(error))
            raise
        first_s = None if hearing.first_at is None else hearing.first_at - begun
        self._tell(
            "provider.answered",
            request,
            seconds=self._clock() - begun,
            first_chunk_s=first_s,
            stop=response.stop,
            input=response.usage.input,
            output=response.usage.output,
            cache_read=response.usage.cache_read,
            reasoning=response.usage.reasoning,
        )
        return response

    def _pause_s(self, error: EaiError, request: ModelRequest, attempt: int) -> float | None:
        """Seconds until the next attempt, None if there is none."""
        now, asked_s = self._clock(), error.retry_after_s or 0.0
        if (
            attempt >= self._numbers.attempts
            or not may_pass(error)
            or asked_s > LONGEST_RETRY_AFTER_S
            or is_over(request, now)
        ):
            return None
        pause_s = max(asked_s, backoff(attempt, numbers=self._numbers, chance=self._chance()))
        return pause_s if pause_s < left_s(request, now) else None

    async def _tell_failure(self, error: EaiError, request: ModelRequest) -> None:
        if self._failed is None:
            return
        failure = Failure(
            place="attempt",
            session=request.session,
            turn_id=request.turn_id,
            request_id=request.request_id,
            model=self._model.name,
            error=error,
            attempt=request.attempt,
        )
        await self._failed(failure)

    def _tell(self, name: str, request: ModelRequest, **fields: Value) -> None:
        tell_of(
            self._observe,
            request,
            name,
            model=self._model.name,
            provider=self._model.provider,
            wire_model=self._model.model,
            attempt=request.attempt,
            **fields,
        )


def backoff(attempt: int, *, numbers: Numbers, chance: float) -> float:
    """Seconds to wait after failed attempt number `attempt`, counted from 1.

    Doubles from the first up to the longest, then varies by JITTER either way; `chance` is from 0 to 1.
    """
    pause_s: float = min(numbers.backoff_longest_s, numbers.backoff_first_s * 2 ** (attempt - 1))
    return pause_s * (1 - JITTER + 2 * JITTER * chance)


def may_pass(error: EaiError) -> bool:
    """The same request may succeed soon: the provider failed or was busy, and nothing was said yet."""
    return (
        isinstance(error, RateLimited | Unavailable | CallTimeout)
        and not isinstance(error, Throttled)
        and error.retryable
        and not error.partial
    )


def _status(error: BaseException) -> int | None:
    status = error.details.get("status") if isinstance(error, CallError) else None
    return status if isinstance(status, int) else None
