"""What an answer finds of the turn that asked, and answers that come too late, twice, or find it damaged."""

import json
import sqlite3

import pytest

from eai_mcp.calls import ResourcePushed
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.values import Answers
from eai_mcp.errors import Conflict, Internal, StorageUnavailable
from eai_mcp.messages import JsonObject
from eai_mcp.middleware import Ask
from tests.chat.layering import RoundTurn, layers
from tests.chat.taking import Faulty, ask, asks, begin, opened, outcome, process, replaced, uses
from tests.fakes import said

ONE = ResourcePushed(kind="table", uri="a:1", payload="one")
TWO = ResourcePushed(kind="table", uri="a:2", payload="two")


def pushes(resource, then):
    async def step(request, emit):
        await emit(resource)
        return then

    return step


async def test_an_answer_belongs_to_a_turn_with_all_that_was_pushed_in_it(catalog, tmp_path):
    """Issue 6: "resources pushed during a turn"; a link to the first leads there by its number."""
    path = tmp_path / "sessions.db"
    async with process(catalog, path, pushes(ONE, uses(asks()))) as (here, _):
        assert (await ask(here, "hi")).resources == (ONE,)
    async with process(catalog, path, pushes(TWO, said("x"))) as (there, _):
        done = await ask(there, "red")
        assert done.resources == (ONE, TWO)
        assert (await outcome(there, done.turn_id)).resources == (ONE, TWO)
        assert (await begin(there, "next")).heard.resources == {}


async def test_an_answer_belongs_to_a_turn_with_its_metadata(catalog):
    """DESIGN section 5: metadata is stored with the turn."""

    async def watches(given, go_on):
        seen.append(given.metadata)
        return await go_on(given)

    seen: list[object] = []
    steps = [uses(asks()), uses(asks()), said("x"), said("y")]
    async with opened(catalog, *steps, layers=layers(RoundTurn(watches))) as (registry, _):
        await ask(registry, "hi", metadata={"job": 1, "by": "a"})
        assert (await ask(registry, "red")).metadata == {"job": 1, "by": "a"}
        assert (await ask(registry, "dark", metadata={"by": "b"})).metadata == {"job": 1, "by": "b"}
        assert (await ask(registry, "next")).metadata == {}
    assert seen[1:] == [{"job": 1, "by": "a"}, {"job": 1, "by": "b"}, {}]


async def test_of_two_answers_that_come_too_late_the_second_is_told_so_too(catalog):
    """Issue 6: "expiry"; facts, chit.md 2: a stale turn gets a clear error, never a fresh turn."""
    store = Faulty(withdraw=[Conflict("session 'default' has changed meanwhile")])
    async with opened(catalog, uses(asks()), store=store, limits=Limits(question_s=-1)) as (registry, _):
        await ask(registry, "hi")
        for _ in range(2):
            with pytest.raises(Conflict, match="has expired and was dropped; nothing was sent"):
                await ask(registry, "red")
        assert (await registry.session("", "default")).turns == 1


async def test_an_answer_to_a_question_is_none_to_the_next_one_in_the_same_words(catalog):
    """Issue 6: "chained yields"; who says yes to one was not asked the other."""
    async with opened(catalog, uses(asks("sure?")), uses(asks("sure?")), said("x")) as (registry, _):
        first = await ask(registry, "hi")
        answers = Answers(turn_id=first.turn_id, asked_in=first.asked_in)
        second = await ask(registry, "yes", answers=answers)
        assert (second.status, second.reply) == ("awaiting_input", "sure?")
        with pytest.raises(Conflict, match="is not open any more"):
            await ask(registry, "yes", answers=answers)
        answers = Answers(turn_id=second.turn_id, asked_in=second.asked_in)
        assert (await ask(registry, "yes", answers=answers)).reply == "x"


DAMAGED: tuple[JsonObject, ...] = (
    {},
    {"kind": "tools"},
    {"kind": "of another version", "samplers": {}, "report": {}},
    {"kind": "tool", "tool_use_id": "q1", "results": [], "samplers": {"unknown": 1}},
    {"kind": "tool", "tool_use_id": "q1", "results": [7], "samplers": {}},
    {"kind": "turn", "samplers": {}},
    {"kind": "turn", "by": "x", "state": {}, "samplers": {}},
)


@pytest.mark.parametrize("data", DAMAGED)
async def test_a_question_that_is_damaged_says_so_and_goes_with_its_history(catalog, tmp_path, data):
    path = tmp_path / "sessions.db"
    async with process(catalog, path, uses(asks()), said("x")) as (registry, call):
        await ask(registry, "hi")
        with sqlite3.connect(path) as file:
            (stored,) = file.execute("SELECT question FROM session WHERE name = 'default'").fetchone()
            damaged = json.dumps({**json.loads(stored), "data": data})
            file.execute("UPDATE session SET question = ? WHERE name = 'default'", (damaged,))
        file.close()
        for way in (lambda: ask(registry, "red"), lambda: registry.interrupt("", "default")):
            with pytest.raises(StorageUnavailable, match="replace its history, which drops the question"):
                await way()
        assert len(call.requests) == 1
        await replaced(registry, "default", [])
        assert (await ask(registry, "next")).reply == "x"


@pytest.mark.parametrize("depth", [100, 500, 1200, 100_000])
async def test_a_state_that_is_nested_too_deep_fails_its_turn_or_comes_back_whole(catalog, tmp_path, depth):
    state: JsonObject = {}
    for _ in range(depth):
        state = {"in": state}

    async def asks_with_it(given, go_on):
        return Ask("sure?", state) if given.asked is None else said("x")

    stack = layers(RoundTurn(asks_with_it))
    async with process(catalog, tmp_path / "sessions.db", layers=stack) as (registry, _):
        if depth < 900:
            assert (await ask(registry, "hi")).status == "awaiting_input"
            assert (await ask(registry, "yes")).reply == "x"
        else:
            with pytest.raises(Internal, match="middleware RoundTurn failed"):
                await ask(registry, "hi")
            assert (await registry.session("", "default")).question is None
