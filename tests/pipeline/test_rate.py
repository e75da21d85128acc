"""How many calls a second."""

from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.calls import Preparing, TextDelta
from eai_mcp.errors import Throttled
from eai_mcp.pipeline.rate import Bucket, RateLimit
from tests.fakes import Scripted
from tests.pipeline.asking import HELLO, REQUEST, Ears, Facts
from tests.pipeline.clock import Clock, Hasty, settle


def limit(call, bucket, clock, **fields):
    values = {"rate": 5, "burst": 2, "clock": clock, "sleep": clock.sleep}
    return RateLimit(call, "a", bucket, **{**values, **fields})


class Times:
    """A call that notes who came, and when."""

    def __init__(self, clock):
        self.clock, self.came = clock, []

    async def __call__(self, request, emit):
        self.came.append((request.turn_id, round(self.clock.now - 1000, 6)))
        return HELLO


async def test_the_burst_goes_at_once_and_the_others_in_order_one_token_each():
    clock = Clock()
    times, facts = Times(clock), Facts()
    rate = limit(times, Bucket(), clock, observe=facts)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for name in "abcde":
                tasks.start_soon(rate, replace(REQUEST, turn_id=name), Ears())
                await settle()
            await clock.advance(1)
    assert times.came == [("a", 0), ("b", 0), ("c", 0.2), ("d", 0.4), ("e", 0.6)]
    assert facts.of("rate.waited") == [{"model": "a", "seconds": at} for at in (0.2, 0.4, 0.6)]


@pytest.mark.parametrize(("left", "longest"), [(0.15, 60), (None, 0.15)])
async def test_who_would_wait_for_too_long_is_refused_at_once(left, longest):
    clock, facts = Clock(), Facts()
    bucket, call = Bucket(tokens=0, at=clock.now), Scripted([])
    request = REQUEST if left is None else replace(REQUEST, deadline=clock.now + left)
    with pytest.raises(Throttled, match="5 calls a second") as refusal:
        await limit(call, bucket, clock, longest_wait_s=longest, observe=facts)(request, Ears())

    assert refusal.value.retry_after_s == pytest.approx(0.2)
    assert (refusal.value.code, refusal.value.retryable) == ("rate_limited", True)
    assert (clock.waits, call.requests, bucket.waiting) == ([], [], 0)
    assert facts.names == ["rate.rejected"]


async def test_nobody_waits_for_more_than_a_minute_even_without_a_deadline():
    clock = Clock()
    with pytest.raises(Throttled) as refusal:
        await limit(Scripted([]), Bucket(tokens=0, at=clock.now), clock, rate=0.01)(REQUEST, Ears())
    assert refusal.value.retry_after_s == pytest.approx(100)


async def test_a_waiter_that_is_cancelled_leaves_its_token_to_the_next():
    clock, bucket = Clock(), Bucket(tokens=0, at=1000.0)
    times = Times(clock)
    rate = limit(times, bucket, clock)

    async def cancelled(scope):
        with scope:
            await rate(replace(REQUEST, turn_id="left"), Ears())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(cancelled, scope)
            await settle()
            tasks.start_soon(rate, replace(REQUEST, turn_id="stays"), Ears())
            await clock.advance(0.1)
            scope.cancel()
            await clock.advance(1)
    assert times.came == [("stays", 0.2)]
    assert bucket.waiting == 0


async def test_who_waits_although_it_should_not_is_let_go_at_its_limit():
    """Another model file asks the same endpoint at a slower rate, and stands before this one."""
    clock, bucket = Clock(), Bucket(tokens=0, at=1000.0)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(limit(Scripted([HELLO]), bucket, clock, rate=0.1), REQUEST, Ears())
            await settle()
            with pytest.raises(Throttled):
                await limit(Scripted([]), bucket, clock, rate=1000, longest_wait_s=0.01)(REQUEST, Ears())
            await clock.advance(10)
    assert bucket.waiting == 0


async def test_a_call_that_found_no_slot_gives_its_token_back():
    clock, bucket = Clock(), Bucket()
    with pytest.raises(Throttled):
        await limit(Scripted([Throttled("no slot")]), bucket, clock)(REQUEST, Ears())
    assert bucket.level(clock.now, rate=5, burst=2) == 2


async def test_who_waits_for_a_token_hears_of_it_and_of_the_end_of_the_wait():
    clock, ears = Clock(), Ears()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            bucket = Bucket(tokens=0, at=clock.now)
            tasks.start_soon(limit(Scripted([HELLO]), bucket, clock), REQUEST, ears)
            await settle()
            assert ears == [Preparing("waiting for the rate limit of model 'a'")]
            await clock.advance(1)
    assert ears[1:] == [Preparing("asking model 'a'"), TextDelta("Hello")]


async def test_nothing_is_told_of_a_call_that_did_not_wait():
    clock, facts = Clock(), Facts()
    assert await limit(Scripted([HELLO]), Bucket(), clock, observe=facts)(REQUEST, Ears()) == HELLO
    assert facts == []


@given(
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from([0.5, 1, 3, 50])), max_size=40),
    st.integers(1, 5),
)
async def test_no_stretch_of_time_sees_more_than_burst_and_rate_allow(gaps, burst):
    """Issue 6: rate limit (token bucket that waits, bounded)."""
    clock, bucket = Hasty(), Bucket()
    came = []

    async def call(request, emit):
        came.append(clock.now)
        return HELLO

    for gap, rate in gaps:
        clock.now += gap
        await limit(call, bucket, clock, rate=rate, burst=burst)(REQUEST, Ears())
        assert 0 <= bucket.level(clock.now, rate=rate, burst=burst) <= burst
    fastest = max((rate for _, rate in gaps), default=1)
    for first in range(len(came)):
        for last in range(first, len(came)):
            allowed = burst + fastest * (came[last] - came[first]) + 1e-6
            assert last - first + 1 <= allowed
