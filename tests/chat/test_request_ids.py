"""A talk that is sent again under the same request id is one turn."""

import anyio
import pytest

from eai_mcp.chat.beginning import REPEATED
from eai_mcp.errors import InvalidArgument, SessionBusy, TurnFailed, Unavailable
from tests.chat.taking import ask, asks, begin, lasts, opened, process, texts, uses
from tests.fakes import Held, said


async def test_the_same_request_twice_is_one_turn(catalog):
    """Issue 4: the same `request_id` twice, also concurrently and after kill -9: one turn."""
    async with opened(catalog, said("one"), said("two")) as (registry, call):
        first = await ask(registry, "a", request_id="r1")
        again = await ask(registry, "something else", request_id="r1")
        assert first.warnings == ()
        assert (again.turn_id, again.reply, again.warnings) == (first.turn_id, "one", (REPEATED,))
        assert call.requests[0].request_id == "r1"
        assert (await ask(registry, "b", request_id="r2")).reply == "two"
        assert await texts(registry) == ["a", "one", "b", "two"]


@pytest.mark.parametrize("if_busy", ["error", "wait", "interrupt"])
async def test_requests_at_the_same_time_are_one_turn(catalog, tmp_path, if_busy):
    """Issue 4: the same `request_id` twice, also concurrently and after kill -9: one turn."""
    path = tmp_path / "sessions.db"
    async with (
        process(catalog, path, *[said("here")] * 9) as (here, one),
        process(catalog, path, *[said("there")] * 9) as (there, other),
    ):
        turns = []

        async def talk(registry):
            turns.append((await ask(registry, "a", request_id="r1", if_busy=if_busy)).turn_id)

        async with anyio.create_task_group() as callers:
            for registry in (here, there):
                for _ in range(3):
                    callers.start_soon(talk, registry)
        assert len(turns) == 6
        assert len(set(turns)) == 1
        assert len(one.requests) + len(other.requests) == 1
        assert len(await texts(here)) == 2


async def test_a_request_that_is_repeated_while_it_runs_joins_its_turn(catalog, tmp_path):
    """Issue 4: idempotent `request_id`."""
    path, held = tmp_path / "sessions.db", Held("par", "tial")
    async with process(catalog, path, held) as (here, call), process(catalog, path) as (there, _):
        turn = await begin(here, "a", request_id="r1")
        await held.reached.wait()
        assert await begin(here, "a", request_id="r1") is turn
        followed = await begin(there, "a", request_id="r1")
        assert followed.turn_id == turn.turn_id
        with pytest.raises(SessionBusy):
            await begin(here, "b", request_id="r2")
        held.let_go.set()
        assert await there.reply(followed, 5) == await here.reply(turn, 5)
        assert lasts(call) == ["a"]


async def test_those_who_wait_with_the_same_request_join_the_one_that_began(catalog):
    first, second = Held(), Held()
    async with opened(catalog, first, second) as (registry, call):
        await begin(registry, "a")
        await first.reached.wait()
        turns = []

        async def wait():
            turns.append(await begin(registry, "b", request_id="r1", if_busy="wait"))

        async with anyio.create_task_group() as waiters:
            waiters.start_soon(wait)
            waiters.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            first.let_go.set()
        assert turns[0] is turns[1]
        second.let_go.set()
        await registry.reply(turns[0], 5)
        assert lasts(call) == ["a", "b"]


async def test_a_request_that_failed_is_told_again_and_not_tried_again(catalog):
    async with opened(catalog, Unavailable("503"), said("never")) as (registry, call):
        with pytest.raises(Unavailable):
            await ask(registry, "a", request_id="r1")
        with pytest.raises(TurnFailed, match="503"):
            await ask(registry, "a", request_id="r1")
        assert len(call.requests) == 1


async def test_a_repeated_request_is_known_in_another_process(catalog, tmp_path):
    path = tmp_path / "sessions.db"
    async with process(catalog, path, said("one")) as (here, _):
        first = await ask(here, "a", request_id="r1")
    async with process(catalog, path) as (there, call):
        again = await ask(there, "a", request_id="r1")
        assert (again.turn_id, again.reply, again.warnings) == (first.turn_id, "one", (REPEATED,))
        assert call.requests == []


async def test_sessions_have_request_ids_of_their_own(catalog):
    async with opened(catalog, said("one"), said("two")) as (registry, _):
        assert (await ask(registry, "a", session="x", request_id="r1")).reply == "one"
        assert (await ask(registry, "a", session="y", request_id="r1")).reply == "two"


async def test_a_repeated_question_and_a_repeated_answer_are_of_the_same_turn(catalog):
    async with opened(catalog, uses(asks()), said("thanks")) as (registry, call):
        asked = await ask(registry, "a", request_id="r1")
        assert (await ask(registry, "a", request_id="r1")).status == "awaiting_input"
        answered = await ask(registry, "red", request_id="r2")
        for request_id in ("r1", "r2"):
            again = await ask(registry, "?", request_id=request_id)
            assert (again.turn_id, again.reply) == (asked.turn_id, answered.reply)
        assert len(call.requests) == 2


@pytest.mark.parametrize("request_id", ["", "x" * 129, "\ud800"])
async def test_a_request_id_is_a_short_text(catalog, request_id):
    async with opened(catalog) as (registry, _):
        with pytest.raises(InvalidArgument, match="request_id"):
            await begin(registry, "a", request_id=request_id)
