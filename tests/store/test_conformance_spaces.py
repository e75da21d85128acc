"""What every store must do: people's sessions kept apart, whatever they have in common."""

import pytest

from eai_mcp.errors import NoTask, NotFound
from eai_mcp.messages import line, user
from eai_mcp.store import Known, Put, Running
from tests.store.taking import ask, claim, ended, row, said, start, take, whole

SPACES = ["", "ann", "bob", "An", "ann/work", "%"]


async def test_a_name_is_free_in_each_space(store):
    for space in SPACES:
        assert await store.ensure(space, "work")
        assert not await store.ensure(space, "work")

    for space in SPACES:
        assert [shown.name for shown in await store.list(space)] == ["work"]
    assert await store.list("none") == []


async def test_sessions_are_counted_in_each_space(store):
    for name in ("default", "a", "b"):
        await store.ensure("ann", name)
    await store.ensure("bob", "a")

    counts = [await store.count(space, apart_from="default") for space in ("ann", "bob", "")]
    assert counts == [2, 1, 0]
    assert await store.count("ann", apart_from="none") == 3


async def test_a_turn_runs_in_its_space_only(store):
    claims = [await claim(store, "t", f"in {space}", space=space) for space in SPACES]
    await store.interrupt("ann", "work")
    await store.renew({claims[2]: "half"})

    assert (await store.look(claims)).interrupted == {claims[1]}
    assert await store.find("bob", "work") == Running("t", 100.0, "half")
    assert await store.find("ann", "work") == Running("t", 100.0)
    for space, claimed in zip(SPACES, claims, strict=True):
        await store.settle(claimed, ended("t"))
        assert await said(store, space=space) == [(1, f"in {space}")]


async def test_nothing_of_another_space_is_seen(store):
    await take(store, "t1", "mine", "yes", space="ann")
    await store.settle(await claim(store, "t2", space="ann", request_id="r"), ended("t2"))
    await claim(store, "t3", space="ann")

    for space in ["", "bob"]:
        assert (await store.row(space, "work"), await store.list(space)) == (None, [])
        assert await store.repeated(space, "work", "r") is None
        for looked in [
            store.load(space, "work"),
            store.find(space, "work", "t1"),
            store.find(space, "work"),
            store.interrupt(space, "work"),
            store.fork(space, "work", "copy"),
        ]:
            with pytest.raises(NotFound):
                await looked
        assert not await store.delete(space, "work")


async def test_nothing_of_another_space_is_changed(store, clock):
    await ask(store, "t1")
    running = await claim(store, "t2", name="busy")
    before = [await whole(store), await whole(store, "busy")]
    clock.now = 101.0

    await store.attend("ann", "busy", "t2")
    await store.ensure("ann", "work")
    await take(store, "t9", name="busy", space="ann")
    with pytest.raises(NoTask):
        await store.interrupt("ann", "busy")
    await store.put("ann", [Put(name="work", lines=[line(user("x"), turn_id="t", at=1.0)])])
    await store.fork("ann", "work", "copy")
    await store.delete("ann", "work")

    assert [await whole(store), await whole(store, "busy")] == before
    look = await store.look([running])
    assert (look.lost, look.interrupted) == (frozenset(), frozenset())
    assert look.attended.get(running) != 101.0
    assert [shown.name for shown in await store.list("")] == ["busy", "work"]


async def test_a_request_id_stands_for_a_turn_of_its_space(store):
    await claim(store, "t1", request_id="r")
    await claim(store, "t2", request_id="r", space="ann")

    assert await store.repeated("", "work", "r") == Known("t1")
    assert await store.claim("ann", "work", start("t3", request_id="r")) == Known("t2")


async def test_revisions_are_counted_in_each_space(store):
    await store.put("ann", [Put(name="work", lines=())])

    assert await store.put("bob", [Put(name="work", lines=())]) == (1,)
    assert await store.put("ann", [Put(name="work", lines=())]) == (2,)
    assert (await row(store, space="bob")).revision == 1
