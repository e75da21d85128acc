"""Calls that are cancelled at every moment there is: they leave no slot, token or trying circuit behind."""

import anyio
import anyio.lowlevel
import pytest

from eai_mcp.calls import Preparing, TextDelta
from eai_mcp.catalog.entries import Breaker
from eai_mcp.errors import CallError, Unavailable
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from tests.fakes import said
from tests.pipeline.asking import DOWN, REQUEST, Ears, Facts, model
from tests.pipeline.clock import Hasty

MOMENTS = range(40)
"""More checkpoints than the longest of the scenes has."""

pytestmark = pytest.mark.parametrize("moment", MOMENTS)


class Provider:
    """Fails a few times, then answers; each call passes some checkpoints, and its end is noted."""

    def __init__(self, failures=0):
        self.failures, self.inside = failures, 0

    async def __call__(self, request, emit):
        self.inside += 1
        try:
            await anyio.lowlevel.checkpoint()
            if self.failures:
                self.failures -= 1
                raise DOWN.copy()
            await emit(TextDelta("hello"))
            await anyio.lowlevel.checkpoint()
            return said("hello")
        finally:
            self.inside -= 1


async def slowly(event):
    """A listener that takes its time."""
    await anyio.lowlevel.checkpoint()


async def cancelled_after(moment, call, *, others=0):
    """Make a call and some more beside it, and cancel the first after so many checkpoints."""
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def other():
                try:
                    await call(REQUEST, slowly)
                except CallError:
                    return

            async def first():
                with mine:
                    await other()

            mine = anyio.CancelScope()
            tasks.start_soon(first)
            for _ in range(others):
                tasks.start_soon(other)
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            mine.cancel()


async def is_as_new(guards, call, provider):
    """Whether nobody is inside or waits, and whoever comes next gets in."""
    (standing,) = guards.standing()
    assert (standing.under_way, standing.waiting, provider.inside) == (0, 0, 0)
    provider.failures = 0
    heard = Ears()
    with anyio.fail_after(5):
        assert await call(REQUEST, heard) == said("hello")
    assert [event for event in heard if not isinstance(event, Preparing)] == [TextDelta("hello")]
    (standing,) = guards.standing()
    assert (standing.circuit, standing.failures) == ("closed", 0)


async def test_who_is_cancelled_anywhere_keeps_no_slot_and_no_token(moment):
    """Issue 6: "no task leaked"; facts, chit.md 3.7: a cancelled waiter is harmless."""
    clock, provider, facts = Hasty(), Provider(), Facts()
    guards = Guards(clock=clock, sleep=clock.sleep, observe=facts, chance=lambda: 0.5)
    call = whole([("a", guards.guarded(model(concurrency=1, rate=2, burst=1), provider))], observe=facts)
    await cancelled_after(moment, call, others=3)
    await is_as_new(guards, call, provider)
    started = facts.names.count("call.started")
    ended = sum(facts.names.count(f"call.{how}") for how in ("completed", "failed", "cancelled"))
    assert started == ended == 5
    attempts = sum(facts.names.count(f"provider.{how}") for how in ("answered", "failed", "cancelled"))
    assert facts.names.count("provider.attempt") == attempts


async def test_who_is_cancelled_while_trying_lets_the_next_one_try(moment):
    """Issue 6: "one half-open probe; cancellation neutral"."""
    clock, provider = Hasty(), Provider(failures=2)
    a = model(attempts=1, concurrency=1, breaker=Breaker(failures=2, recovery_s=30))
    guards = Guards(clock=clock, sleep=clock.sleep)
    call = guards.guarded(a, provider)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await call(REQUEST, slowly)
    clock.now += 30
    await cancelled_after(moment, call, others=3)
    await is_as_new(guards, call, provider)


async def test_who_is_cancelled_between_attempts_or_models_leaves_all_as_it_was(moment):
    """Issue 6: "cancellation is ... never retried, never triggers fallback" (DESIGN section 3)."""
    clock, first, second = Hasty(), Provider(failures=9), Provider()
    guards = Guards(clock=clock, sleep=clock.sleep, chance=lambda: 0.5)
    names = {"a": first, "b": second}
    links = [
        (name, guards.guarded(model(name, attempts=3, concurrency=1), adapter))
        for name, adapter in names.items()
    ]
    await cancelled_after(moment, whole(links, observe=Facts()))
    assert [(one.under_way, one.waiting) for one in guards.standing()] in ([(0, 0)], [(0, 0), (0, 0)])
    assert (first.inside, second.inside) == (0, 0)
