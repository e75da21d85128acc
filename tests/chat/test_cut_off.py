"""Turns whose process died, or was thought to have: what others make of them, and what it can still write."""

import itertools
import time

import anyio
import pytest

from eai_mcp.chat.ending import CUT_OFF
from eai_mcp.errors import TurnFailed
from eai_mcp.messages import Message, ToolUseBlock, assistant, user
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import QUICK_S, Faulty, ask, begin, history, opened, outcome, process, result, uses
from tests.fakes import Held, said

LOOK = ToolUseBlock("u1", "look", {})
STEP = (Message("assistant", (LOOK,)), user((result("u1", "there is no tool named 'look'", failed=True),)))


@pytest.mark.parametrize(
    ("steps", "text", "kept"),
    [
        ([], "", []),
        ([], "half a", [user("a"), assistant("half a", partial=True)]),
        ([uses(LOOK)], "", [user("a"), *STEP]),
        ([uses(LOOK)], "half a", [user("a"), *STEP, assistant("half a", partial=True)]),
    ],
    ids=["nothing", "text", "a step", "a step and text"],
)
async def test_a_turn_whose_process_died_is_told_of_with_what_was_saved(catalog, tmp_path, steps, text, kept):
    """Issue 4: cut-off turns found by lease or owner lock, never by another process's start."""
    path, held = tmp_path / "sessions.db", Held(text)
    dying = Faulty(path)
    async with opened(catalog, *steps, held, store=dying, renew_s=QUICK_S) as (here, _):
        turn = await begin(here, "a", model="other", request_id="r1", metadata={"n": 1})
        await held.reached.wait()
        async with process(catalog, path, said("next")) as (there, call):
            assert (await outcome(there)).status == "running"
            await dying.until("renew", 2)  # the first of them may have begun before the text came
            await dying.aclose()
            cut = await outcome(there, turn.turn_id)
            assert (cut.status, cut.stop_reason, cut.reply, cut.warnings) == (
                "interrupted",
                "cut_off",
                text,
                (CUT_OFF,),
            )
            assert (cut.effective.model, cut.metadata) == ("other", {"n": 1})
            assert await outcome(there) == cut
            assert (await ask(there, "a", request_id="r1")).status == "interrupted"
            assert call.requests == []
            assert await history(there) == kept
            assert (await ask(there, "b")).reply == "next"
            assert call.requests[0].messages == (*kept, user("b"))


async def test_the_next_talk_alone_cuts_off_a_turn_whose_process_died(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    dying = SqliteStore(path)
    async with opened(catalog, held, store=dying) as (here, _):
        await begin(here, "a", session="work")
        await held.reached.wait()
        async with process(catalog, path, said("next")) as (there, call):
            await dying.aclose()
            assert (await ask(there, "b", session="work")).reply == "next"
            assert call.requests[0].messages == (user("b"),)
            assert (await there.session("", "work")).turns == 2


async def test_those_who_wait_elsewhere_hear_that_the_process_died(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    dying = SqliteStore(path)
    async with opened(catalog, held, store=dying) as (here, _), process(catalog, path) as (there, _):
        await begin(here, "a")
        await held.reached.wait()
        followed = await there.find("", "default")
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(there.reply, followed, 5)
            await anyio.wait_all_tasks_blocked()
            await dying.aclose()
        assert (await there.reply(followed, 0)).stop_reason == "cut_off"


async def test_a_claim_that_was_lost_ends_the_turn_and_writes_nothing(catalog, tmp_path):
    """DESIGN section 4: whether a turn was cut off is decided by its lease or its owner's lock."""
    path, held = tmp_path / "sessions.db", Held("half a")
    store = Faulty(path)
    async with process(catalog, path, held, said("mine"), store=store) as (here, call):
        turn = await begin(here, "a")
        await held.reached.wait()
        await store.until("renew", 2)
        await store.aclose()  # which lets its lock go
        async with process(catalog, path, said("taken over")) as (there, _):
            assert (await outcome(there, turn.turn_id)).stop_reason == "cut_off"
            assert (await ask(there, "b")).reply == "taken over"
            told = await here.reply(turn, 5)
            assert held.cancelled
            assert (told.status, told.stop_reason, told.reply) == ("interrupted", "cut_off", "half a")
            cut = [user("a"), assistant("half a", partial=True)]
            assert await history(here) == [*cut, user("b"), assistant("taken over")]
            assert (await outcome(here)).reply == "taken over"
            assert (await outcome(here, turn.turn_id)).stop_reason == "cut_off"
        assert (await ask(here, "c")).reply == "mine"
        assert len(call.requests[1].messages) == 5


async def test_a_step_that_was_finished_after_the_claim_was_lost_is_not_written(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()

    async def asks_for_a_tool(request, emit):
        await held(request, emit)
        return uses(LOOK)

    minutes = itertools.count(0, 60)
    later = SqliteStore(path, now=lambda: time.time() + 1000, monotonic=lambda: next(minutes))
    # Its keeper sleeps, so that the step itself finds out.
    async with process(catalog, path, asks_for_a_tool, renew_s=60) as (here, call):
        turn = await begin(here, "a")
        await held.reached.wait()
        for running in (True, False):
            row = await later.row("", "default")
            assert row is not None
            assert (row.running is not None) == running
        held.let_go.set()
        assert (await here.reply(turn, 5)).stop_reason == "cut_off"
        assert len(call.requests) == 1
        assert await history(here) == []
    await later.aclose()


async def test_closing_interrupts_what_runs_and_saves_it(catalog, tmp_path):
    """DESIGN section 4: on stdio EOF is the end of the process: interrupt and save."""
    path, held = tmp_path / "sessions.db", Held("said so far")
    async with process(catalog, path, held) as (registry, _):
        await begin(registry, "a")
        await held.reached.wait()
    async with process(catalog, path) as (registry, _):
        ended = await outcome(registry)
        assert (ended.status, ended.stop_reason, ended.reply) == ("interrupted", "interrupted", "said so far")
        assert await history(registry) == [user("a"), assistant("said so far", partial=True)]


async def test_a_task_group_that_is_cancelled_leaves_the_turn_settled(catalog):
    store, held = SqliteStore(None), Held("said so far")
    with anyio.CancelScope() as scope:
        async with opened(catalog, held, store=store) as (registry, _):
            await begin(registry, "a")
            await held.reached.wait()
            scope.cancel()
            await anyio.sleep_forever()
    async with opened(catalog, said("next"), store=store) as (registry, _):
        assert (await outcome(registry)).status == "interrupted"
        assert await history(registry) == [user("a"), assistant("said so far", partial=True)]
        assert (await ask(registry, "b")).reply == "next"


async def test_a_failure_of_another_process_is_told_as_it_was(catalog, tmp_path):
    path = tmp_path / "sessions.db"
    async with process(catalog, path, ValueError("a bug")) as (here, _), process(catalog, path) as (there, _):
        turn = await begin(here, "a")
        with pytest.raises(Exception, match=r"internal error") as caught:
            await here.reply(turn, 5)
        with pytest.raises(TurnFailed) as again:
            await outcome(there)
        assert (str(again.value), again.value.code) == (str(caught.value), "internal")
