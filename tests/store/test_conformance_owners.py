"""What every store that has several owners must do: show each what the others do."""

import anyio
import anyio.lowlevel
import pytest

from eai_mcp.errors import SessionBusy
from eai_mcp.messages import assistant
from eai_mcp.store import LEASE_S, Known, Outcome, Put, Running
from tests.store.taking import (
    ask,
    claim,
    ended,
    row,
    said,
    start,
    take,
    whole,
)

CUT_OFF = Outcome(turn_id="t1", status="interrupted", report={"cut": "off"})


async def begin(store, message="hi", **fields):
    return await claim(store, "t1", message, report=CUT_OFF.report, **fields)


async def test_what_one_owner_does_the_other_sees(first, second):
    await take(first, "t1", "one", "1")
    await take(second, "t2", "two", "2")

    history = [(1, "one"), (2, "1"), (3, "two"), (4, "2")]
    assert await said(first) == await said(second) == history
    assert await whole(first) == await whole(second)
    assert await first.list("") == await second.list("")
    assert await first.find("", "work", "t2") == (ended("t2").outcome, "2")
    assert not await first.ensure("", "work")


async def test_a_turn_of_one_is_busy_for_the_other(first, second, clock):
    claimed = await begin(first)
    await first.renew({claimed: "half"})
    clock.now += 2.5

    with pytest.raises(SessionBusy) as caught:
        await second.claim("", "work", start("t2"))
    assert caught.value.details == {"chat_session": "work", "turn_id": "t1", "running_s": 2.5}
    with pytest.raises(SessionBusy):
        await second.put("", [Put(name="work", lines=())])
    with pytest.raises(SessionBusy):
        await second.delete("", "work")
    assert await second.find("", "work") == Running("t1", 100.0, "half", CUT_OFF.report)


async def test_a_request_of_one_is_known_to_the_other(first, second):
    await begin(first, request_id="r")

    assert await second.claim("", "work", start("t2", request_id="r")) == Known("t1")
    assert await second.repeated("", "work", "r") == Known("t1")


async def test_one_sees_how_the_others_turn_ended(first, second):
    claimed = await begin(first)
    assert await second.find("", "work", "t1") == Running("t1", 100.0, report=CUT_OFF.report)
    await first.settle(claimed, ended("t1", assistant("hello")))

    assert await second.find("", "work", "t1") == (ended("t1").outcome, "hello")


async def test_a_question_of_one_is_answered_through_the_other(first, second):
    """Issue 4: a turn that yields, a restart of the server, the answer: the turn completes."""
    await ask(first, "t1", "ask me", "which one?")
    await first.aclose()

    await second.settle(await claim(second, "t1", "red"), ended("t1", assistant("so red")))
    assert await said(second) == [(1, "ask me"), (2, "which one?"), (3, "red"), (4, "so red")]


@pytest.mark.parametrize("request_id", [None, "r"])
async def test_of_many_in_two_processes_one_has_the_session(first, second, request_id):
    claims: list[str] = []
    others: list[str] = []

    async def want(store, number):
        try:
            claimed = await store.claim("", "work", start(f"t{number}", request_id=request_id))
        except SessionBusy as busy:
            others.append(str(busy.details["turn_id"]))
        else:
            (others if isinstance(claimed, Known) else claims).append(claimed.turn_id)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(want, first if number % 2 else second, number)

    assert len(claims) == 1
    assert others == claims * 19


async def test_an_interrupt_reaches_the_owner(first, second):
    claimed = await begin(first)

    assert await second.interrupt("", "work", "t1") == Running("t1", 100.0, report=CUT_OFF.report)
    assert (await first.look([claimed])).interrupted == {claimed}


async def test_who_waits_elsewhere_is_seen_by_the_owner(first, second, clock):
    claimed = await begin(first)
    clock.now += 3
    await second.attend("", "work", "t1")

    assert (await first.look([claimed])).attended[claimed] == 103.0


async def test_a_renewed_turn_is_never_cut_off(first, second, clock):
    claimed = await begin(first)
    for _ in range(3):
        clock.now += LEASE_S * 0.9
        await first.renew({claimed: ""})
        assert (await row(second)).running == Running("t1", 100.0)

    await first.settle(claimed, ended("t1", assistant("at last")))
    assert await second.find("", "work") == (ended("t1").outcome, "at last")


async def test_all_is_there_after_a_restart(first, second):
    await ask(first, "t1")
    await take(first, "t2", name="play")
    before = [await whole(first), await whole(first, "play"), await first.list("")]
    await first.aclose()

    assert [await whole(second), await whole(second, "play"), await second.list("")] == before


async def quiet(bus):
    """Hear of what is past, at most a few times; a bus may also invent a call."""
    for _ in range(5):
        with anyio.move_on_after(0.05) as waited:
            await bus.changed()
        if waited.cancelled_caught:
            return


@pytest.mark.parametrize("change", ["settle", "interrupt", "put"])
async def test_a_change_wakes_the_others(first, second, change):
    claimed = await begin(first)
    await quiet(second.bus)
    woken = anyio.Event()

    async def wait():
        await second.bus.changed()
        woken.set()

    async def once(number):
        match change:
            case "settle":
                await take(first, f"s{number}", name="play")
            case "interrupt":
                await first.interrupt("", "work")
            case _:
                await first.put("", [Put(name="play", lines=())])

    # Again until it is heard: a bus may lose a call.
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            number = 0
            while not woken.is_set():
                number += 1
                await once(number)
                await first.bus.publish()
                await anyio.lowlevel.checkpoint()
    assert (await first.look([claimed])).lost == frozenset()


async def test_waiting_for_a_change_can_be_given_up(store):
    await store.ensure("", "work")
    with anyio.fail_after(5):
        with anyio.move_on_after(0.01):
            await store.bus.changed()
        await store.ensure("", "play")
