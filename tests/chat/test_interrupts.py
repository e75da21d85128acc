"""Turns that are stopped: by somebody here, in another process, or because nobody waits any more."""

import anyio
import pytest

from eai_mcp.chat.limits import Limits
from eai_mcp.chat.values import Talk
from eai_mcp.errors import NoTask, NotFound
from eai_mcp.messages import Message, ToolUseBlock, assistant, user
from tests.chat.taking import (
    QUICK_S,
    Faulty,
    ask,
    begin,
    history,
    opened,
    outcome,
    process,
    result,
    uses,
)
from tests.fakes import Held, said

ORPHAN_S = 0.6
LEFT_ALONE = "stopped: nobody waited for it for 0.6 s"


async def test_an_interrupt_ends_the_call_and_keeps_the_partial_text(catalog):
    """Issue 4: the waiting call answers `interrupted` with the partial text; the next turn is clean."""
    held = Held("half a rep")
    async with opened(catalog, held, said("next")) as (registry, call):
        turn = await begin(registry, "a")
        await held.reached.wait()
        stopped = await registry.interrupt("", "default")
        assert (stopped.status, stopped.reply, stopped.stop_reason, stopped.warnings) == (
            "interrupted",
            "half a rep",
            "interrupted",
            (),
        )
        assert held.cancelled
        assert await registry.reply(turn, 5) == stopped == await outcome(registry)
        assert (await ask(registry, "b")).status == "completed"
        assert call.requests[1].messages == (user("a"), assistant("half a rep", partial=True), user("b"))


async def test_an_interrupted_turn_with_nothing_said_leaves_no_trace(catalog):
    """Issue 4: all-or-nothing history."""
    held = Held()
    async with opened(catalog, held, said("ok")) as (registry, call):
        await begin(registry, "a")
        await held.reached.wait()
        await registry.interrupt("", "default")
        await ask(registry, "b")
        assert call.requests[1].messages == (user("b"),)


async def test_a_turn_is_stopped_before_its_model_was_asked(catalog):
    async with opened(catalog, said("next")) as (registry, call):
        turn = await begin(registry, "a")
        assert (await registry.interrupt("", "default", turn.turn_id)).status == "interrupted"
        assert (await ask(registry, "b")).reply == "next"
        assert call.requests[0].messages == (user("b"),)


async def test_a_finished_step_is_kept_and_its_pairs_are_whole(catalog):
    """Issue 4: tool pairing always valid."""
    look = ToolUseBlock("u1", "look", {})
    step = (
        Message("assistant", (look,)),
        user((result("u1", "there is no tool named 'look'", failed=True),)),
    )
    for text in ("half", ""):
        held = Held(text)
        async with opened(catalog, uses(look), held) as (registry, _):
            await begin(registry, "a")
            await held.reached.wait()
            assert (await registry.interrupt("", "default")).reply == text
            partial = (assistant("half", partial=True),) if text else ()
            assert await history(registry) == [user("a"), *step, *partial]


async def test_an_interrupt_says_when_there_is_nothing_to_stop(catalog):
    async with opened(catalog, said("ok")) as (registry, _):
        with pytest.raises(NoTask, match="nothing is running in session 'default'"):
            await registry.interrupt("", "default")
        with pytest.raises(NotFound, match="no session named 'nowhere'"):
            await registry.interrupt("", "nowhere")
        turn_id = (await ask(registry, "a")).turn_id
        with pytest.raises(NoTask):
            await registry.interrupt("", "default", turn_id)


async def test_only_the_turn_that_is_named_is_stopped(catalog):
    """DESIGN section 5: what was stopped, only that turn."""
    held = Held()
    async with opened(catalog, said("1"), held) as (registry, _):
        before = await ask(registry, "a")
        turn = await begin(registry, "b")
        await held.reached.wait()
        with pytest.raises(NoTask, match=f"turn {before.turn_id} is not running .* turn {turn.turn_id} is"):
            await registry.interrupt("", "default", before.turn_id)
        assert not held.cancelled
        assert (await registry.interrupt("", "default", turn.turn_id)).turn_id == turn.turn_id


async def test_an_interrupt_that_came_too_late_hits_no_later_turn(catalog):
    """DESIGN section 4: an interrupt never leaks into the next turn."""
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        turn = await begin(registry, "a")
        first = await registry.reply(turn, 5)
        assert await registry.stop("", turn, "too late") == first
        with pytest.raises(NoTask):
            await registry.interrupt("", "default")
        assert (await ask(registry, "b")).status == "completed"


async def test_a_turn_is_interrupted_from_another_process(catalog, tmp_path):
    """Issue 4: `talk` in one process, `interrupt` from another."""
    path, held = tmp_path / "sessions.db", Held("half a rep")
    async with (
        process(catalog, path, held, said("next"), renew_s=60) as (here, call),
        process(catalog, path, renew_s=60) as (there, _),
    ):
        turn = await begin(here, "a")
        await held.reached.wait()
        with pytest.raises(NoTask, match=r"turn t_other is not running"):
            await there.interrupt("", "default", "t_other")
        assert not held.cancelled

        stopped = await there.interrupt("", "default", turn.turn_id)
        assert (stopped.status, stopped.reply) == ("interrupted", "half a rep")
        assert await here.reply(turn, 5) == stopped
        assert held.cancelled
        assert (await ask(here, "b")).reply == "next"
        assert call.requests[1].messages == (user("a"), assistant("half a rep", partial=True), user("b"))


async def test_a_turn_of_another_space_is_not_stopped(catalog):
    held = Held()
    async with opened(catalog, held) as (registry, _):
        turn = await registry.begin("ann", Talk(content="a", session="work"))
        await held.reached.wait()
        with pytest.raises(NotFound):
            await registry.interrupt("bob", "work")
        assert not turn.done.is_set()


async def test_a_turn_that_nobody_waits_for_is_stopped_in_the_end(catalog):
    """Issue 4: detach on disconnect with `orphan_limit`."""
    held = Held("so far")
    limits = Limits(orphan_s=ORPHAN_S)
    async with opened(catalog, held, limits=limits, renew_s=QUICK_S) as (registry, _):
        turn = await begin(registry, "a")
        await held.reached.wait()
        assert (await registry.reply(turn, 0)).status == "running"
        await turn.done.wait()
        stopped = await registry.reply(turn, 0)
        assert (stopped.status, stopped.reply, stopped.warnings) == ("interrupted", "so far", (LEFT_ALONE,))


async def test_a_turn_that_somebody_waits_for_goes_on(catalog):
    held = Held()
    store = Faulty()
    limits = Limits(orphan_s=QUICK_S)
    async with opened(catalog, held, store=store, limits=limits, renew_s=QUICK_S) as (registry, _):
        turn = await begin(registry, "a")
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(registry.reply, turn, 9)
            await store.until("renew", 5)
            assert not turn.done.is_set()
            held.let_go.set()
        assert (await registry.reply(turn, 0)).status == "completed"


async def test_a_turn_that_is_waited_for_in_another_process_goes_on(catalog, tmp_path):
    """DESIGN section 4: `orphan_limit` (10 min without a waiter, in any process) ends it."""
    path, held = tmp_path / "sessions.db", Held()
    store = Faulty(path)
    limits = Limits(orphan_s=ORPHAN_S)
    async with (
        process(catalog, path, held, store=store, limits=limits) as (here, _),
        process(catalog, path, limits=limits) as (there, _),
    ):
        turn = await begin(here, "a")
        async with anyio.create_task_group() as waiting:
            followed = await there.find("", "default")
            waiting.start_soon(there.reply, followed, 9)
            # Each takes QUICK_S at least.
            await store.until("renew", 2 + int(1.5 * ORPHAN_S / QUICK_S))
            assert not turn.done.is_set()
            waiting.cancel_scope.cancel()
        await turn.done.wait()
        assert (await outcome(there)).warnings == (LEFT_ALONE,)
