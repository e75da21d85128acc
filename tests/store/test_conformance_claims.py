"""What every store must do: let one turn begin at a time, and none twice."""

import anyio
import pytest

from eai_mcp.errors import Conflict, SessionBusy
from eai_mcp.store import Claim, Known, Put, Running
from tests.store.taking import ask, claim, ended, row, said, start, take, whole


async def test_a_turn_makes_its_session(store):
    claimed = await claim(store, "t1")

    assert (claimed.space, claimed.name, claimed.turn_id, claimed.round) == ("", "work", "t1", 0)
    assert (await row(store)).running == Running("t1", 100.0)


async def test_a_second_turn_is_refused_while_one_is_running(store, clock):
    await claim(store, "t1")
    clock.now = 103.5
    before = await whole(store)

    with pytest.raises(SessionBusy, match=r"turn t1 has been running for 3\.5 s") as caught:
        await store.claim("", "work", start("t2"))
    assert caught.value.details == {"chat_session": "work", "turn_id": "t1", "running_s": 3.5}
    assert await whole(store) == before


async def test_sessions_do_not_wait_for_each_other(store):
    first, second = await claim(store, "t1", name="a"), await claim(store, "t2", name="b")
    await store.settle(second, ended("t2"))
    await store.settle(first, ended("t1"))

    assert await said(store, "a") == await said(store, "b") == [(1, "hi")]


async def test_of_many_who_want_the_session_one_has_it(store):
    won, refused = [], []

    async def want(number):
        try:
            won.append(await claim(store, f"t{number}"))
        except SessionBusy as busy:
            refused.append(busy.details["turn_id"])

    async with anyio.create_task_group() as tasks:
        for number in range(32):
            tasks.start_soon(want, number)

    assert len(won) == 1
    assert refused == [won[0].turn_id] * 31


@pytest.mark.parametrize("expect", [0, None])
async def test_a_turn_may_expect_that_there_is_no_session(store, expect):
    await claim(store, "t1", expect=expect)

    assert await store.row("", "work") is not None


async def test_a_turn_may_expect_the_version_that_it_saw(store):
    await take(store, "t1")
    claimed = await claim(store, "t2", expect=(await row(store)).version)
    await store.settle(claimed, ended("t2"))

    assert (await row(store)).turns == 2


async def test_a_turn_that_expects_another_version_is_refused(store):
    await take(store, "t1")
    stale = (await row(store)).version
    await take(store, "t2")
    before = await whole(store)

    for expect in [stale, 0, before[0].version + 1]:
        with pytest.raises(Conflict, match="work"):
            await store.claim("", "work", start("t3", expect=expect))
    assert await whole(store) == before


async def test_a_turn_that_expects_a_session_does_not_make_one(store):
    with pytest.raises(Conflict, match="work"):
        await store.claim("", "work", start("t1", expect=1))

    assert await store.row("", "work") is None


async def test_a_request_id_stands_for_one_turn(store):
    """Issue 4: the same `request_id` twice, also concurrently: one turn."""
    assert await store.repeated("", "work", "r") is None
    claimed = await claim(store, "t1", request_id="r")

    assert await store.claim("", "work", start("t2", request_id="r")) == Known("t1")
    assert await store.repeated("", "work", "r") == Known("t1")
    await store.settle(claimed, ended("t1"))
    before = await whole(store)

    assert await store.claim("", "work", start("t3", request_id="r", expect=0)) == Known("t1")
    assert await store.repeated("", "work", "r") == Known("t1")
    assert await whole(store) == before


async def test_a_request_that_came_to_nothing_is_known(store):
    claimed = await claim(store, "t1", request_id="r")
    await store.settle(claimed, ended("t1", kept=False, status="failed"))

    assert await store.claim("", "work", start("t2", request_id="r")) == Known("t1")


async def test_a_request_is_known_while_another_turn_runs_and_after_the_history_was_replaced(store):
    claimed = await claim(store, "t1", request_id="r")
    await store.settle(claimed, ended("t1"))
    await store.put("", [Put(name="work", lines=())])
    await claim(store, "t2")

    assert await store.claim("", "work", start("t3", request_id="r")) == Known("t1")


async def test_a_request_id_is_free_in_another_session(store):
    await claim(store, "t1", request_id="r")

    assert await store.repeated("", "play", "r") is None
    assert (await claim(store, "t2", name="play", request_id="r")).turn_id == "t2"


async def test_of_many_with_one_request_id_one_takes_the_turn(store):
    claimed = []

    async def want(number):
        claimed.append(await store.claim("", "work", start(f"t{number}", request_id="r")))

    async with anyio.create_task_group() as tasks:
        for number in range(16):
            tasks.start_soon(want, number)

    (won,) = [claim for claim in claimed if isinstance(claim, Claim)]
    assert claimed.count(Known(won.turn_id)) == 15
    assert (await row(store)).turns == 1


async def test_turns_are_counted_when_they_begin(store):
    await take(store, "t1")
    claimed = await claim(store, "t2")
    assert (await row(store)).turns == 2

    await store.settle(claimed, ended("t2", kept=False))
    assert (await row(store)).turns == 2


async def test_a_caller_who_gave_up_leaves_the_store_in_order(store):
    with anyio.move_on_after(0):
        await store.claim("", "work", start("t1"))
    with anyio.move_on_after(0):
        await store.load("", "work")

    seen = await store.row("", "work")
    assert seen is None or seen.running == Running("t1", 100.0)
    await ask(store, "t2") if seen is None else None
    await take(store, "t3", name="play")
    assert await said(store, "play") == [(1, "hi"), (2, "hello")]
