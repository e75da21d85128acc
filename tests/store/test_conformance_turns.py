"""What every store must do: keep a turn step by step, and settle it once."""

import pytest

from eai_mcp.errors import Conflict
from eai_mcp.messages import Usage, assistant, user
from eai_mcp.store import Choices, Claim, Entry, Put
from tests.store.taking import claim, ended, results, row, said, take, uses, whole


async def test_a_settled_turn_is_in_the_history(store, clock):
    claimed = await claim(store, "t1", "what time is it?")
    clock.now = 101.0
    await store.append(claimed, [uses("u1"), results("u1")])
    clock.now = 102.0
    await store.append(claimed, [assistant("it is")])
    clock.now = 103.0
    await store.settle(claimed, ended("t1", assistant("noon")))

    assert await store.load("", "work") == [
        Entry(1, "t1", 100.0, user("what time is it?")),
        Entry(2, "t1", 101.0, uses("u1")),
        Entry(3, "t1", 101.0, results("u1")),
        Entry(4, "t1", 102.0, assistant("it is")),
        Entry(5, "t1", 103.0, assistant("noon")),
    ]
    assert (await row(store)).message_count == 5


async def test_a_running_turn_is_no_part_of_the_history(store):
    await take(store, "t1")
    claimed = await claim(store, "t2", "more")
    await store.append(claimed, [uses("u1"), results("u1")])

    assert await said(store) == [(1, "hi"), (2, "hello")]
    assert (await row(store)).message_count == 2


async def test_the_version_grows_with_every_change(store):
    versions = []

    async def look():
        versions.append((await row(store)).version)

    await store.ensure("", "work")
    await look()
    claimed = await claim(store, "t1")
    await look()
    await store.append(claimed, [uses("u1"), results("u1")])
    await look()
    await store.settle(claimed, ended("t1"))
    await look()
    await store.put("", [Put(name="work", lines=())])
    await look()
    await store.settle(await claim(store, "t2"), ended("t2", kept=False))
    await look()

    assert versions == sorted(set(versions))


async def test_looking_changes_nothing(store):
    await take(store, "t1")
    before = await whole(store)

    await store.ensure("", "work")
    await store.list("")
    await store.find("", "work")
    await store.repeated("", "work", "r")
    await store.attend("", "work", "t1")
    await store.look([Claim("", "work", "t1")])

    assert await whole(store) == before


async def test_a_turn_that_came_to_nothing_leaves_no_message(store):
    await take(store, "t1", "one", "1")
    claimed = await claim(store, "t2", "two")
    await store.append(claimed, [uses("u1"), results("u1")])
    await store.settle(claimed, ended("t2", assistant("2"), kept=False, usage=Usage(input=7)))
    await take(store, "t3", "three", "3")

    assert await said(store) == [(1, "one"), (2, "1"), (3, "three"), (4, "3")]
    assert (await row(store)).message_count == 4
    assert (await row(store)).usage == Usage(input=7)


async def test_choices_stay_when_a_turn_sets_none(store):
    choices = Choices(model="m", prompt="p")
    await store.settle(await claim(store, "t1"), ended("t1", choices=choices))
    await take(store, "t2")
    assert (await row(store)).choices == choices

    await store.settle(await claim(store, "t3"), ended("t3", choices=Choices(card="c")))
    assert (await row(store)).choices == Choices(card="c")


async def test_usage_adds_up_with_what_it_cost(store):
    async def use(turn_id, usage):
        await store.settle(await claim(store, turn_id), ended(turn_id, usage=usage))
        return (await row(store)).usage

    assert await use("t1", Usage(input=1, output=2)) == Usage(1, 2)
    assert await use("t2", Usage(1, 2, 3, 4, 5, 0.25)) == Usage(2, 4, 3, 4, 5, 0.25)
    assert await use("t3", Usage(1, 0, 0, 0, 0, 0.5)) == Usage(3, 4, 3, 4, 5, 0.75)
    assert await use("t4", Usage()) == Usage(3, 4, 3, 4, 5, 0.75)


async def test_a_turn_that_ended_can_write_nothing_more(store):
    claimed = await claim(store, "t1")
    await store.settle(claimed, ended("t1", assistant("done")))
    before = await whole(store)

    with pytest.raises(Conflict, match="work"):
        await store.settle(claimed, ended("t1", assistant("again")))
    with pytest.raises(Conflict, match="work"):
        await store.append(claimed, [assistant("late")])
    await store.renew({claimed: "late"})
    assert await whole(store) == before


async def test_a_turn_that_ended_cannot_write_into_the_next(store):
    first = await claim(store, "t1")
    await store.settle(first, ended("t1"))
    await claim(store, "t2")
    before = await whole(store)

    with pytest.raises(Conflict):
        await store.settle(first, ended("t1", assistant("again")))
    with pytest.raises(Conflict):
        await store.append(first, [assistant("late")])
    await store.renew({first: "late"})
    assert await whole(store) == before


@pytest.mark.parametrize("again", ["t1", "t2"])
async def test_a_claim_on_a_removed_session_writes_nothing_into_the_one_made_again(store, again):
    first = await claim(store, "t1")
    await store.settle(first, ended("t1"))
    await store.delete("", "work")
    await claim(store, again)
    before = await whole(store)

    with pytest.raises(Conflict):
        await store.settle(first, ended("t1", assistant("again")))
    with pytest.raises(Conflict):
        await store.append(first, [assistant("late")])
    await store.renew({first: "late"})
    assert await whole(store) == before


async def test_a_claim_on_a_session_that_is_gone_is_refused(store):
    first = await claim(store, "t1")
    await store.settle(first, ended("t1"))
    await store.delete("", "work")

    with pytest.raises(Conflict):
        await store.settle(first, ended("t1"))
    with pytest.raises(Conflict):
        await store.append(first, [assistant("late")])
    assert await store.row("", "work") is None
