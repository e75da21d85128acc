"""What every store must do: turns that run are held, looked at, waited for and interrupted."""

import pytest

from eai_mcp.errors import Conflict, NoTask, NotFound
from eai_mcp.messages import assistant, user
from eai_mcp.store import LEASE_S, Look, Put, Running
from tests.store.taking import ask, asking, claim, ended, results, row, said, take, uses, whole


async def test_what_was_said_so_far_is_saved(store):
    claimed = await claim(store, "t1")
    await store.renew({claimed: "Once upon"})
    assert await store.find("", "work") == Running("t1", 100.0, "Once upon")
    assert (await row(store)).running == Running("t1", 100.0, "Once upon")

    await store.renew({claimed: ""})
    assert (await row(store)).running == Running("t1", 100.0, "Once upon")
    await store.renew({claimed: "Once upon a time"})
    assert (await row(store)).running == Running("t1", 100.0, "Once upon a time")


async def test_what_was_saved_is_not_part_of_a_turn_that_ended_well(store):
    claimed = await claim(store, "t1")
    await store.renew({claimed: "Once upon"})
    await store.settle(claimed, ended("t1", assistant("Once upon a time")))

    assert await said(store) == [(1, "hi"), (2, "Once upon a time")]
    await claim(store, "t2")
    assert (await row(store)).running == Running("t2", 100.0)


async def test_the_id_of_a_turn_that_has_ended_begins_no_other(store):
    await take(store, "t1")
    before = await row(store)
    with pytest.raises(Conflict, match="t1 of session 'work' has already ended"):
        await claim(store, "t1", "again")
    assert await row(store) == before
    assert await said(store) == [(1, "hi"), (2, "hello")]


async def test_many_are_renewed_at_once(store):
    claims = [await claim(store, f"t{number}", name=f"s{number}") for number in range(5)]
    await store.renew({claimed: claimed.turn_id for claimed in claims})

    running = [shown.running for shown in await store.list("")]
    assert running == [Running(f"t{number}", 100.0, f"t{number}") for number in range(5)]


async def test_a_renewed_turn_outlives_its_lease(store, clock):
    claimed = await claim(store, "t1")
    for _ in range(3):
        clock.now += LEASE_S * 0.9
        await store.renew({claimed: ""})
        assert (await row(store)).running == Running("t1", 100.0)

    assert (await store.look([claimed])).lost == frozenset()
    await store.settle(claimed, ended("t1", assistant("at last")))
    assert await said(store) == [(1, "hi"), (2, "at last")]


async def test_a_turn_in_order_is_neither_lost_nor_interrupted(store):
    claimed = await claim(store, "t1")

    look = await store.look([claimed])
    assert (look.lost, look.interrupted) == (frozenset(), frozenset())


async def test_looking_at_nothing_shows_nothing(store):
    assert await store.look([]) == Look(frozenset(), frozenset(), {})
    await store.renew({})


async def test_an_interrupt_is_seen_by_that_turn_only(store):
    claimed, other = await claim(store, "t1"), await claim(store, "t2", name="play")

    assert await store.interrupt("", "work") == Running("t1", 100.0)
    assert (await store.look([other, claimed])).interrupted == {claimed}
    assert (await store.look([other])).interrupted == frozenset()

    await store.append(claimed, [assistant("still here")])
    assert (await store.look([claimed])).interrupted == {claimed}


async def test_an_interrupt_never_reaches_the_next_turn(store):
    claimed = await claim(store, "t1")
    await store.interrupt("", "work")
    await store.settle(claimed, ended("t1", status="interrupted"))

    following = await claim(store, "t2")
    assert (await store.look([following])).interrupted == frozenset()


async def test_an_interrupt_never_reaches_the_next_round(store):
    claimed = await claim(store, "t1")
    await store.interrupt("", "work")
    await store.settle(claimed, asking("t1"))

    answered = await claim(store, "t1", "red")
    assert (await store.look([answered])).interrupted == frozenset()


async def test_a_named_turn_is_interrupted_if_it_is_the_one_that_runs(store):
    await take(store, "t1")
    claimed = await claim(store, "t2")

    for turn_id in ["t1", "t9"]:
        with pytest.raises(NoTask, match="work"):
            await store.interrupt("", "work", turn_id)
    assert (await store.look([claimed])).interrupted == frozenset()

    assert await store.interrupt("", "work", "t2") == Running("t2", 100.0)
    assert (await store.look([claimed])).interrupted == {claimed}


async def test_an_interrupt_tells_what_was_said_so_far(store):
    claimed = await claim(store, "t1")
    await store.renew({claimed: "Once"})

    assert await store.interrupt("", "work") == Running("t1", 100.0, "Once")


async def test_where_nothing_runs_nothing_is_interrupted(store):
    with pytest.raises(NotFound, match="work"):
        await store.interrupt("", "work")
    assert await store.row("", "work") is None

    await take(store, "t1")
    for turn_id in [None, "t1"]:
        with pytest.raises(NoTask, match="work"):
            await store.interrupt("", "work", turn_id)


async def test_who_waits_is_seen_by_the_owner(store, clock):
    claimed, other = await claim(store, "t1"), await claim(store, "t2", name="play")
    clock.now = 103.0
    await store.attend("", "work", "t1")
    clock.now = 104.0
    assert (await store.look([claimed, other])).attended[claimed] == 103.0

    clock.now = 105.0
    await store.attend("", "work", "t1")
    look = await store.look([claimed, other])
    assert look.attended[claimed] == 105.0
    assert look.attended.get(other) not in {103.0, 105.0}


async def test_waiting_for_another_turn_is_not_waiting_for_this_one(store, clock):
    await take(store, "t1")
    claimed = await claim(store, "t2")
    before = await whole(store)
    clock.now = 103.0
    await store.attend("", "work", "t1")
    await store.attend("", "work", "t9")
    await store.attend("", "none", "t2")

    assert (await store.look([claimed])).attended.get(claimed) != 103.0
    assert await whole(store) == before
    assert await store.row("", "none") is None


async def test_waiting_does_not_hold_over_to_the_next_turn(store, clock):
    claimed = await claim(store, "t1")
    clock.now = 103.0
    await store.attend("", "work", "t1")
    await store.settle(claimed, ended("t1"))
    clock.now = 104.0

    following = await claim(store, "t2")
    assert (await store.look([following])).attended.get(following) != 103.0


async def test_steps_are_kept_in_their_order(store):
    claimed = await claim(store, "t1", "go")
    for number in range(10):
        await store.append(claimed, [uses(f"u{number}"), results(f"u{number}")])
    await store.append(claimed, [])
    await store.settle(claimed, ended("t1", assistant("done")))

    history = await store.load("", "work")
    assert [entry.seq for entry in history] == list(range(1, 23))
    steps = [message for number in range(10) for message in (uses(f"u{number}"), results(f"u{number}"))]
    assert [entry.message for entry in history[1:-1]] == steps


async def test_what_runs_may_be_forked_and_listed_but_not_replaced(store):
    await take(store, "t1")
    await claim(store, "t2")

    await store.fork("", "work", "copy")

    assert [shown.name for shown in await store.list("")] == ["copy", "work"]
    assert await said(store, "copy") == [(1, "hi"), (2, "hello")]
    assert (await row(store, "copy")).running is None


async def test_a_question_is_not_copied(store):
    await take(store, "t1")
    await ask(store, "t2")

    copy = await store.fork("", "work", "copy")

    assert (copy.question, copy.running, copy.message_count) == (None, None, 2)
    await store.put("", [Put(name="copy", lines=())])
    assert (await row(store)).question is not None


async def test_the_owner_can_have_back_what_was_said_in_its_turn(store):
    await take(store, "t0")
    claimed = await claim(store, "t1", "go")
    assert list(await store.said(claimed)) == [user("go")]

    await store.append(claimed, [uses("u1"), results("u1")])
    await store.renew({claimed: "half"})
    assert list(await store.said(claimed)) == [user("go"), uses("u1"), results("u1")]
    assert await said(store) == [(1, "hi"), (2, "hello")]


async def test_what_was_said_in_former_rounds_comes_first_and_failed_answers_do_not_count(store):
    await ask(store, "t1", "ask me", "which one?")
    failed = await claim(store, "t1", "red")
    await store.append(failed, [assistant("hm")])
    await store.settle(failed, ended("t1", kept=False, status="failed"))
    await store.settle(await claim(store, "t1", "blue"), asking("t1", "sure?"))

    claimed = await claim(store, "t1", "yes")
    rounds = [user("ask me"), assistant("which one?"), user("blue"), assistant("sure?"), user("yes")]
    assert list(await store.said(claimed)) == rounds


async def test_what_was_said_is_told_to_the_one_who_holds_the_turn_only(store):
    claimed = await claim(store, "t1")
    await store.settle(claimed, ended("t1"))
    with pytest.raises(Conflict, match="work"):
        await store.said(claimed)

    await claim(store, "t2")
    with pytest.raises(Conflict, match="work"):
        await store.said(claimed)
