"""How many calls may be under way at once."""

from dataclasses import replace

import anyio
import pytest

from eai_mcp.calls import Preparing
from eai_mcp.errors import Throttled
from eai_mcp.pipeline.capacity import Capacity, Slots
from tests.fakes import Scripted
from tests.pipeline.asking import DOWN, HELLO, REQUEST, Ears, Gate, forever
from tests.pipeline.clock import Clock, settle


async def test_no_more_than_so_many_calls_are_under_way_and_all_come_to_their_turn():
    slots, gate = Slots(), Gate()
    capacity = Capacity(gate, "a", slots, most=3)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(capacity, REQUEST, Ears())
            await settle()
            assert (slots.under_way, len(slots.queue)) == (3, 7)
            gate.let_go.set()
    assert (gate.calls, gate.most, slots) == (10, 3, Slots())


async def test_those_who_wait_go_in_order():
    slots, order = Slots(), []
    gate = Gate()

    async def call(number):
        async def inside(request, emit):
            order.append(number)
            return await gate(request, emit)

        await Capacity(inside, "a", slots, most=1)(REQUEST, Ears())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(call, number)
                await settle()
            gate.let_go.set()
    assert order == [0, 1, 2, 3, 4]


async def test_without_a_limit_calls_are_counted_all_the_same():
    slots, gate = Slots(), Gate()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(Capacity(gate, "a", slots, most=None), REQUEST, Ears())
            await settle()
            assert slots.under_way == 4
            gate.let_go.set()
    assert slots == Slots()


@pytest.mark.parametrize("reason", ["the turn is over", "it took too long"])
async def test_a_wait_that_is_too_long_is_refused_and_leaves_nothing_behind(reason):
    slots, clock = Slots(under_way=1), Clock()
    call = Scripted([])
    capacity = Capacity(call, "a", slots, most=1, clock=clock, longest_wait_s=0.01)
    request = replace(REQUEST, deadline=clock.now) if reason == "the turn is over" else REQUEST

    with anyio.fail_after(5), pytest.raises(Throttled, match="1 calls at once") as refusal:
        await capacity(request, Ears())

    assert (refusal.value.code, refusal.value.retryable) == ("rate_limited", True)
    assert refusal.value.retry_after_s
    assert (slots, call.requests) == (Slots(under_way=1), [])


async def test_a_waiter_that_is_cancelled_leaves_nothing_behind():
    slots, gate = Slots(), Gate()
    capacity = Capacity(gate, "a", slots, most=1)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(capacity, REQUEST, Ears())
            await settle()
            with anyio.CancelScope() as scope:
                tasks.start_soon(cancel_soon, scope)
                await capacity(REQUEST, Ears())
            assert (slots.under_way, len(slots.queue)) == (1, 0)
            gate.let_go.set()
    assert (slots, gate.calls) == (Slots(), 1)


async def test_a_waiter_that_is_cancelled_just_as_it_is_let_in_leaves_the_slot_to_the_next():
    slots, call, scope = Slots(under_way=1), Scripted([HELLO]), anyio.CancelScope()

    async def in_scope():
        with scope:
            await Capacity(forever, "a", slots, most=1)(REQUEST, Ears())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_scope)
            await settle()
            tasks.start_soon(Capacity(call, "a", slots, most=1), REQUEST, Ears())
            await settle()
            slots.give_back()
            scope.cancel()
    assert (slots, len(call.requests)) == (Slots(), 1)


async def test_a_failed_call_gives_its_slot_back():
    slots = Slots()
    with pytest.raises(type(DOWN)):
        await Capacity(Scripted([DOWN]), "a", slots, most=1)(REQUEST, Ears())
    assert await Capacity(Scripted([HELLO]), "a", slots, most=1)(REQUEST, Ears()) == HELLO
    assert slots == Slots()


async def test_a_limit_that_was_raised_meanwhile_holds_for_those_who_come_with_it():
    slots, gate = Slots(), Gate()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for most in (1, 1, 2):
                tasks.start_soon(Capacity(gate, "a", slots, most=most), REQUEST, Ears())
                await settle()
            assert (slots.under_way, len(slots.queue)) == (1, 2)
            gate.let_go.set()
    assert (slots, gate.calls) == (Slots(), 3)


async def test_who_waits_for_a_slot_hears_of_it_and_of_the_end_of_the_wait():
    slots, gate, first, second = Slots(), Gate(), Ears(), Ears()
    capacity = Capacity(gate, "a", slots, most=1)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(capacity, REQUEST, first)
            await settle()
            tasks.start_soon(capacity, REQUEST, second)
            await settle()
            assert second == [Preparing("waiting for a free slot of model 'a'")]
            gate.let_go.set()
    assert first == []
    assert second[1:] == [Preparing("asking model 'a'")]


@pytest.mark.parametrize("word", ["waiting", "asking"])
async def test_a_listener_that_fails_while_one_waits_costs_no_slot(word):
    slots = Slots(under_way=1)

    async def deaf(event):
        if event.text.startswith(word):
            raise DOWN
        slots.give_back()

    with anyio.fail_after(5), pytest.raises(type(DOWN)):
        await Capacity(Scripted([HELLO]), "a", slots, most=1)(REQUEST, deaf)
    assert slots == Slots(under_way=1 if word == "waiting" else 0)


async def test_a_slot_that_comes_free_while_one_is_told_to_wait_is_taken():
    slots = Slots(under_way=1)

    async def slow(event):
        if slots.queue:
            slots.give_back()
            await settle()

    with anyio.fail_after(5):
        assert await Capacity(Scripted([HELLO]), "a", slots, most=1)(REQUEST, slow) == HELLO
    assert slots == Slots()


async def cancel_soon(scope):
    await settle()
    scope.cancel()
