"""What every store must do: tell how a turn ended, then and ever after."""

import pytest

from eai_mcp.errors import NotFound
from eai_mcp.messages import assistant
from eai_mcp.store import Outcome, Put, Running, Settlement
from tests.store.taking import claim, ended, results, take, uses


async def test_a_turn_is_found_running(store):
    await take(store, "t1")
    await claim(store, "t2")

    assert await store.find("", "work") == Running("t2", 100.0)
    assert await store.find("", "work", "t2") == Running("t2", 100.0)
    assert await store.find("", "work", "t1") == (ended("t1").outcome, "hello")


async def test_a_running_turn_is_found_with_the_report_that_it_began_with(store):
    await claim(store, "t1", report={"model": "m", "n": [1, None]})

    for turn_id in [None, "t1"]:
        assert await store.find("", "work", turn_id) == Running(
            "t1", 100.0, report={"model": "m", "n": [1, None]}
        )


async def test_an_outcome_is_found_by_its_turn_or_as_the_last(store):
    await take(store, "t1", "one", "1")
    await take(store, "t2", "two", "2")

    assert await store.find("", "work", "t1") == (ended("t1").outcome, "1")
    assert await store.find("", "work", "t2") == (ended("t2").outcome, "2")
    assert await store.find("", "work") == (ended("t2").outcome, "2")
    assert await store.find("", "work", "t1") == (ended("t1").outcome, "1")


async def test_an_outcome_keeps_its_status_and_report(store):
    outcome = Outcome(
        turn_id="t1", status="failed", report={"error": {"code": "x"}, "n": [1, 2.5, None, True]}
    )
    await store.settle(await claim(store, "t1"), Settlement(outcome=outcome, kept=False))

    assert await store.find("", "work", "t1") == (outcome, "")


async def test_the_last_of_a_turns_replies_is_the_one_found(store):
    claimed = await claim(store, "t1")
    await store.append(claimed, [assistant("wait"), uses("u1"), results("u1")])
    await store.settle(claimed, ended("t1", assistant("noon")))

    assert await store.find("", "work", "t1") == (ended("t1").outcome, "noon")


async def test_a_failed_turn_is_found_between_others(store):
    await take(store, "t1")
    await store.settle(await claim(store, "t2"), ended("t2", kept=False, status="failed"))
    assert await store.find("", "work") == (ended("t2", status="failed").outcome, "")

    await take(store, "t3", "x", "3")
    assert await store.find("", "work") == (ended("t3").outcome, "3")
    assert await store.find("", "work", "t2") == (ended("t2", status="failed").outcome, "")


@pytest.mark.parametrize("turn_id", ["t9", None])
async def test_a_turn_that_never_was_is_not_found(store, turn_id):
    await store.ensure("", "work")
    await take(store, "t9", name="play")

    with pytest.raises(NotFound, match="work"):
        await store.find("", "work", turn_id)


async def test_an_outcome_outlives_its_history(store):
    await take(store, "t1")
    await store.put("", [Put(name="work", lines=())])

    found = await store.find("", "work", "t1")
    assert isinstance(found, tuple)
    assert found[0] == ended("t1").outcome
