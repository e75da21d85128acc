"""How many calls a second."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse, Preparing
from eai_mcp.errors import Throttled
from eai_mcp.observe import Observer, ignore
from eai_mcp.pipeline.hearing import Clock, left_s
from eai_mcp.pipeline.told import tell_of

LONGEST_WAIT_S = 60.0
SOONEST_S = 1e-5
ENOUGH = 1 - 1e-9  # of a token: what sums of parts of seconds come to


@dataclass(slots=True)
class Bucket:
    """The tokens that are left, and how many wait for one; each call takes one.

    `tokens` is as of `at`, None while it was never used and so is full. Only who holds `head` waits for the
    next token, which keeps the order, and leaves nothing to give back when somebody is cancelled.
    """

    tokens: float | None = None
    at: float = 0.0
    waiting: int = 0
    head: anyio.Lock = field(default_factory=anyio.Lock)

    def level(self, now: float, *, rate: float, burst: int) -> float:
        """The tokens there are `now`, refilled by `rate` a second up to `burst`."""
        if self.tokens is None:
            return float(burst)
        return min(float(burst), self.tokens + max(now - self.at, 0.0) * rate)

    def take(self, now: float, *, rate: float, burst: int) -> bool:
        """Take a token if there is one."""
        level = self.level(now, rate=rate, burst=burst)
        is_enough = level >= ENOUGH
        self.tokens, self.at = (max(level - 1, 0.0) if is_enough else level), now
        return is_enough

    def give_back(self) -> None:
        """A token that was not used after all; `level` sees to it that they do not become too many."""
        if self.tokens is not None:
            self.tokens += 1


class RateLimit:
    """Lets a call go on once the bucket holds a token for it; in order, and soon, or not at all.

    Who would have to wait past the turn's deadline, or for more than `longest_wait_s`, is refused at once.
    """

    def __init__(
        self,
        call: Call,
        model: str,
        bucket: Bucket,
        *,
        rate: float,
        burst: int,
        longest_wait_s: float = LONGEST_WAIT_S,
        observe: Observer = ignore,
        clock: Clock = anyio.current_time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._call = call
        self._model = model
        self._bucket = bucket
        self._rate = rate
        self._burst = burst
        self._longest_wait_s = longest_wait_s
        self._observe = observe
        self._clock = clock
        self._sleep = sleep

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        bucket, now = self._bucket, self._clock()
        if bucket.waiting or not bucket.take(now, rate=self._rate, burst=self._burst):
            await self._wait(request, emit, now)
        try:
            return await self._call(request, emit)
        except Throttled:  # further in: the provider was not asked
            bucket.give_back()
            raise

    async def _wait(self, request: ModelRequest, emit: Emit, now: float) -> None:
        level = self._bucket.level(now, rate=self._rate, burst=self._burst)
        wait_s = (self._bucket.waiting + 1 - level) / self._rate
        longest_s = min(self._longest_wait_s, left_s(request, now))
        if wait_s > longest_s:
            raise self._refusal(request, wait_s)
        # The estimate fails where another model file asks less of the same endpoint; the limit holds anyway.
        with anyio.move_on_after(longest_s) as limit:
            await self._token(emit)
        if limit.cancelled_caught:
            raise self._refusal(request, wait_s)
        tell_of(
            self._observe, request, "rate.waited", model=self._model, seconds=round(self._clock() - now, 6)
        )
        await emit(Preparing(f"asking model {self._model!r}"))

    async def _token(self, emit: Emit) -> None:
        bucket = self._bucket
        bucket.waiting += 1
        try:
            await emit(Preparing(f"waiting for the rate limit of model {self._model!r}"))
            async with bucket.head:
                while not bucket.take(self._clock(), rate=self._rate, burst=self._burst):
                    level = bucket.level(self._clock(), rate=self._rate, burst=self._burst)
                    await self._sleep(max((1 - level) / self._rate, SOONEST_S))
        finally:
            bucket.waiting -= 1

    def _refusal(self, request: ModelRequest, wait_s: float) -> Throttled:
        tell_of(self._observe, request, "rate.rejected", model=self._model, retry_after_s=wait_s)
        return Throttled(
            f"model {self._model!r} was not asked: its limit of {self._rate:g} calls a second would make it "
            f"wait for {round(wait_s, 2):g} s; try again then, or raise rate in its file",
            retry_after_s=wait_s,
            model=self._model,
            rate=self._rate,
        )
