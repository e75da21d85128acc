"""How many calls may be under way at once."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse, Preparing
from eai_mcp.errors import Throttled
from eai_mcp.pipeline.hearing import Clock, left_s

LONGEST_WAIT_S = 60.0
# Nobody knows when a call ends.
TRY_AGAIN_S = 5.0


@dataclass(slots=True, eq=False)
class _Waiter:
    most: int
    is_in: bool = False
    woken: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class Slots:
    """How many calls are under way, and who waits for that to be fewer, in order."""

    under_way: int = 0
    queue: deque[_Waiter] = field(default_factory=deque)

    def take(self, most: int | None) -> bool:
        """Be under way at once, unless that would make more than `most`, or push ahead of others."""
        if most is not None and (self.queue or self.under_way >= most):
            return False
        self.under_way += 1
        return True

    def give_back(self) -> None:
        """One call less."""
        self.under_way -= 1
        self._let_in()

    async def wait(self, most: int, wait_s: float, *, told: Callable[[], Awaitable[None]]) -> bool:
        """Be under way once it is one's turn; False if that took longer than `wait_s` seconds.

        `told` says so while one stands in the queue: a listener that is slow costs nobody their place.
        """
        waiter = _Waiter(most)
        self.queue.append(waiter)
        entered = False
        try:
            with anyio.move_on_after(wait_s):
                await told()
                await waiter.woken.wait()
            entered = waiter.is_in
        finally:
            if not entered:
                self._leave(waiter)
        return entered

    def _leave(self, waiter: _Waiter) -> None:
        if waiter.is_in:  # let in and cancelled at once
            self.give_back()
        else:
            self.queue.remove(waiter)
            self._let_in()

    def _let_in(self) -> None:
        while self.queue and self.under_way < self.queue[0].most:
            waiter = self.queue.popleft()
            self.under_way += 1
            waiter.is_in = True
            waiter.woken.set()


class Capacity:
    """Lets at most `most` calls be under way; the others wait in order, for `longest_wait_s` at most.

    `most` None is no limit; the calls are counted all the same.
    """

    def __init__(
        self,
        call: Call,
        model: str,
        slots: Slots,
        *,
        most: int | None,
        longest_wait_s: float = LONGEST_WAIT_S,
        clock: Clock = anyio.current_time,
    ) -> None:
        self._call = call
        self._model = model
        self._slots = slots
        self._most = most
        self._longest_wait_s = longest_wait_s
        self._clock = clock

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        has_waited = not self._slots.take(self._most)
        if has_waited:
            await self._wait(request, emit)
        try:
            if has_waited:
                await emit(Preparing(f"asking model {self._model!r}"))
            return await self._call(request, emit)
        finally:
            self._slots.give_back()

    async def _wait(self, request: ModelRequest, emit: Emit) -> None:
        async def told() -> None:
            await emit(Preparing(f"waiting for a free slot of model {self._model!r}"))

        most = self._most or 1  # without a limit nobody comes here
        wait_s = min(self._longest_wait_s, max(left_s(request, self._clock()), 0.0))
        if not await self._slots.wait(most, wait_s, told=told):
            raise Throttled(
                f"model {self._model!r} was not asked: its limit of {most} calls at once is used up, "
                f"and none ended within {round(wait_s, 2):g} s; try again later, or raise concurrency",
                retry_after_s=TRY_AGAIN_S,
                model=self._model,
                concurrency=most,
            )
