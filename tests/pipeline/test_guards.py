"""The guards of a model together, and what they share."""

from dataclasses import replace

import anyio
import pytest

from eai_mcp.calls import AttemptFailed, TextDelta
from eai_mcp.catalog.entries import Breaker, Reliability
from eai_mcp.errors import CircuitOpen, Rejected, Throttled, Unavailable
from eai_mcp.pipeline.guards import Guards, Standing
from eai_mcp.pipeline.numbers import Numbers, settled
from tests.fakes import Scripted
from tests.pipeline.asking import DOWN, HELLO, REQUEST, Ears, Facts, Gate, model
from tests.pipeline.clock import Clock, Hasty, settle

STILL = Standing(
    provider="fake",
    model="a-1",
    names=("a",),
    circuit="closed",
    failures=0,
    open_for_s=None,
    tokens=None,
    waiting=0,
    under_way=0,
    rate=None,
    concurrency=None,
)


def guards(clock, **fields):
    return Guards(clock=clock, sleep=clock.sleep, chance=lambda: 0.5, **fields)


async def test_a_call_that_succeeds_at_once_passes_every_guard_unchanged():
    clock, facts, heard = Hasty(), Facts(), Ears()
    call = Scripted([HELLO])
    guarded = guards(clock, observe=facts).guarded(model(rate=1, concurrency=1), call)
    assert await guarded(REQUEST, heard) is HELLO
    assert (heard, clock.waits) == ([TextDelta("Hello")], [])
    assert call.requests == [REQUEST]
    assert facts.names == ["provider.attempt", "provider.answered"]


async def test_an_attempt_has_its_own_limit_or_what_the_turn_has_left():
    for own, left, expected in ((7, None, 7), (7, 5, 5), (None, 5, 5), (None, None, None)):
        clock, call = Hasty(), Scripted([HELLO])
        given = REQUEST if left is None else replace(REQUEST, deadline=clock.now + left)
        await guards(clock).guarded(model(attempt_timeout_s=own), call)(given, Ears())
        assert call.requests[0].deadline == (None if expected is None else clock.now + expected)


async def test_retry_stands_outside_the_breaker_which_counts_every_attempt():
    clock, facts, heard = Hasty(), Facts(), Ears()
    a = model(attempts=5, breaker=Breaker(failures=2, recovery_s=30))
    call = Scripted([DOWN] * 5)
    with pytest.raises(CircuitOpen) as error:
        await guards(clock, observe=facts).guarded(a, call)(REQUEST, heard)

    assert len(call.requests) == 2
    assert error.value.details["attempts"] == 3
    assert heard == [AttemptFailed("nobody is there")] * 2
    assert [name for name in facts.names if name.startswith("circuit")] == [
        "circuit.opened",
        "circuit.rejected",
    ]


async def test_our_own_limits_neither_open_a_circuit_nor_are_tried_again():
    clock = Clock()
    table = guards(clock)
    guarded = table.guarded(model(rate=0.01, breaker=Breaker(failures=1)), Scripted([HELLO]))
    await guarded(REQUEST, Ears())
    for _ in range(3):
        with pytest.raises(Throttled):
            await guarded(REQUEST, Ears())
    assert table.standing()[0].circuit == "closed"
    assert clock.waits == []


@pytest.mark.parametrize(
    ("other", "is_shared"),
    [
        (model("b"), False),
        (replace(model("b"), model="a-1"), True),
        (replace(model(), base_url="https://elsewhere"), False),
        (replace(model(), provider="other"), False),
        (model(attempts=2, breaker=Breaker(failures=9)), True),
    ],
)
async def test_state_is_shared_by_provider_url_and_wire_id(other, is_shared):
    clock = Hasty()
    table = guards(clock)
    with pytest.raises(Unavailable):
        await table.guarded(model(attempts=1, breaker=Breaker(failures=1)), Scripted([DOWN]))(REQUEST, Ears())
    guarded = table.guarded(other, Scripted([HELLO]))
    if is_shared:
        with pytest.raises(CircuitOpen):
            await guarded(REQUEST, Ears())
    else:
        assert await guarded(REQUEST, Ears()) == HELLO


async def test_another_key_has_a_state_of_its_own():
    clock = Hasty()
    table = guards(clock, defaults=Reliability(attempts=1, breaker=Breaker(failures=1)))
    with pytest.raises(Unavailable):
        await table.guarded(model(), Scripted([DOWN]), credential="one")(REQUEST, Ears())
    assert await table.guarded(model(), Scripted([HELLO]), credential="two")(REQUEST, Ears()) == HELLO


async def test_standing_tells_what_is_open_used_up_and_under_way():
    """Issue 6: a resource and `/readyz` show breaker and bucket states."""
    clock, gate = Clock(), Gate()
    table = guards(clock)
    a = model(rate=2, burst=2, concurrency=1)
    down = model("b", attempts=1, breaker=Breaker(failures=1, recovery_s=30))
    guarded = table.guarded(a, gate)
    assert table.standing() == [replace(STILL, tokens=2, rate=2, concurrency=1)]
    with pytest.raises(Unavailable):
        await table.guarded(down, Scripted([DOWN]))(REQUEST, Ears())
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(guarded, REQUEST, Ears())
            await settle()
            clock.now += 0.25
            assert table.standing() == [
                replace(STILL, tokens=0.5, waiting=2, under_way=1, rate=2, concurrency=1),
                replace(STILL, model="b-1", names=("b",), circuit="open", failures=1, open_for_s=29.75),
            ]
            await clock.advance(1)
            gate.let_go.set()
    clock.now += 30
    assert table.standing()[1] == replace(
        STILL, model="b-1", names=("b",), circuit="half_open", failures=1, open_for_s=None
    )


async def test_standing_names_no_key_and_no_url():
    table = guards(Clock())
    table.guarded(
        replace(model(), base_url="https://user:secret@host"), Scripted([]), credential="fingerprint"
    )
    assert "secret" not in repr(table.standing())
    assert "fingerprint" not in repr(table.standing())


async def test_a_name_that_moved_to_another_endpoint_is_told_of_there_alone():
    table = guards(Clock())
    table.guarded(model(), Scripted([]))
    table.guarded(replace(model("z"), model="a-1"), Scripted([]))
    assert table.standing() == [replace(STILL, names=("a", "z"))]
    table.guarded(replace(model(concurrency=4), model="new"), Scripted([]))
    assert table.standing() == [
        replace(STILL, names=("z",)),
        replace(STILL, model="new", concurrency=4),
    ]


async def test_an_endpoint_that_says_no_is_not_left_alone():
    table = guards(Hasty())
    guarded = table.guarded(model(breaker=Breaker(failures=1)), Scripted([Rejected("x", status=400)] * 3))
    for _ in range(3):
        with pytest.raises(Rejected):
            await guarded(REQUEST, Ears())


@pytest.mark.parametrize(
    ("own", "defaults", "numbers"),
    [
        (Reliability(), Reliability(), Numbers()),
        (Reliability(attempts=1), Reliability(attempts=5, concurrency=2), Numbers(attempts=1, concurrency=2)),
        (Reliability(rate=2.5), Reliability(), Numbers(rate=2.5, burst=3)),
        (Reliability(rate=0.1), Reliability(rate=9, burst=7), Numbers(rate=0.1, burst=7)),
        (Reliability(), Reliability(rate=0.5), Numbers(rate=0.5, burst=1)),
        (
            Reliability(backoff_first_s=40),
            Reliability(),
            Numbers(backoff_first_s=40, backoff_longest_s=40),
        ),
        (Reliability(backoff_first_s=0), Reliability(), Numbers(backoff_first_s=0)),
        (
            Reliability(breaker=Breaker(failures=2)),
            Reliability(breaker=Breaker(failures=9), attempt_timeout_s=5),
            Numbers(breaker=Breaker(failures=2), attempt_timeout_s=5),
        ),
    ],
)
def test_a_models_own_numbers_go_before_the_servers_and_those_before_ours(own, defaults, numbers):
    assert settled(own, defaults) == numbers
