"""Waiting for a turn and asking for its outcome: at once, later, again, from another process."""

import logging

import anyio
import pytest

from eai_mcp.calls import TextDelta, ToolUseStarted
from eai_mcp.chat.ending import CUT_OFF
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.values import Effective, TurnResult
from eai_mcp.errors import CallTimeout, ContextOverflow, NotFound, StorageUnavailable, TurnFailed, Unavailable
from eai_mcp.messages import Usage, assistant, user
from tests.chat.taking import Faulty, ask, begin, history, opened, outcome, process, texts
from tests.fakes import Held, said


async def test_a_caller_that_leaves_does_not_stop_the_turn(catalog):
    """Issue 4: a silent provider and `timeout_ms=500`: the call returns `running`."""
    held = Held("par", "tial")
    async with opened(catalog, held) as (registry, _):
        turn = await begin(registry, "a")
        await held.reached.wait()
        assert await registry.reply(turn, 0) == TurnResult(
            status="running",
            reply="par",
            session="default",
            turn_id=turn.turn_id,
            effective=Effective(model="plain"),
            progress="3 characters so far",
        )
        assert await registry.find("", "default") is turn
        assert await registry.find("", "default", turn.turn_id) is turn
        held.let_go.set()
        assert (await registry.reply(turn, 5)).reply == "partial"


async def test_at_its_limit_a_wait_tells_how_the_turn_stands(catalog):
    held = Held()
    async with opened(catalog, held) as (registry, _):
        turn = await begin(registry, "a")
        assert (await registry.reply(turn, 0.02)).status == "running"
        assert not held.cancelled


async def test_the_outcome_is_the_same_each_time_it_is_asked_for(catalog, tmp_path):
    """Issue 4: `wait_for_reply` returns the same outcome each time, also from another process."""
    path = tmp_path / "sessions.db"
    steps = (said("one", warnings=("careful",)), said("two"))
    async with process(catalog, path, *steps) as (registry, _):
        first = await ask(registry, "a", model="other", metadata={"ticket": [7, None]})
        second = await ask(registry, "b")
        async with process(catalog, path) as (elsewhere, _):
            for each in (registry, elsewhere):
                for _ in range(2):
                    assert await outcome(each, first.turn_id) == first
                    assert await outcome(each) == second
            with pytest.raises(NotFound):
                await outcome(elsewhere, "t_none")
            with pytest.raises(NotFound):
                await outcome(elsewhere, session="nowhere")
    assert first.warnings == ("careful",)
    assert first.metadata == {"ticket": [7, None]}


async def test_a_session_without_turns_has_no_outcome(catalog):
    async with opened(catalog) as (registry, _):
        with pytest.raises(NotFound, match="has no finished turn"):
            await outcome(registry)


async def test_a_failure_is_told_again_with_its_details(catalog, tmp_path):
    error = ContextOverflow("too long", retryable=True, retry_after_s=2.5, known=("a", "b"), tokens=7)
    path = tmp_path / "sessions.db"
    async with process(catalog, path, error) as (registry, _):
        with pytest.raises(ContextOverflow) as caught:
            await ask(registry, "a")
        async with process(catalog, path) as (elsewhere, _):
            for each in (registry, elsewhere):
                with pytest.raises(TurnFailed, match="too long") as again:
                    await outcome(each)
                assert (again.value.code, again.value.retryable, again.value.retry_after_s) == (
                    "context_overflow",
                    True,
                    2.5,
                )
                assert again.value.details == {**caught.value.details, "known": ["a", "b"]}
        assert await history(registry) == []


async def test_a_failed_turn_leaves_no_trace_so_that_a_retry_says_it_once(catalog):
    """Issue 4: all-or-nothing history."""
    async with opened(catalog, Unavailable("503"), said("ok")) as (registry, call):
        with pytest.raises(Unavailable, match="503"):
            await ask(registry, "a")
        await ask(registry, "a")
        assert call.requests[1].messages == (user("a"),)
        assert await history(registry) == [user("a"), assistant("ok")]


async def test_text_that_came_before_a_failure_is_kept_as_partial(catalog):
    """Issue 4: partial text kept and marked."""

    async def breaks_off(request, emit):
        await emit(TextDelta("half"))
        raise Unavailable("broke off", partial="half")

    async with opened(catalog, breaks_off) as (registry, _):
        with pytest.raises(Unavailable) as caught:
            await ask(registry, "a")
        assert caught.value.details["partial"] == "half"
        assert await history(registry) == [user("a"), assistant("half", partial=True)]
        with pytest.raises(TurnFailed) as again:
            await outcome(registry)
        assert again.value.details == caught.value.details


async def test_a_bug_ends_its_own_turn_and_its_text_stays_in_the_log(catalog, caplog):
    caplog.set_level(logging.ERROR, "eai_mcp")
    async with opened(catalog, ValueError("secret sauce"), said("fine")) as (registry, _):
        with pytest.raises(Exception, match=r"internal error [0-9a-f]{8}; the server's log") as caught:
            await ask(registry, "a")
        assert "secret" not in str(caught.value)
        assert "secret sauce" in caplog.text
        assert (await ask(registry, "b")).reply == "fine"


async def test_a_turn_ends_at_its_limit(catalog):
    """Issue 4: `turn_limit_s`."""
    held = Held("so far")
    async with opened(catalog, held, limits=Limits(turn_s=0.01)) as (registry, _):
        with pytest.raises(CallTimeout, match=r"longer than its limit of 0\.01 s") as caught:
            await ask(registry, "a")
        assert caught.value.details["partial"] == "so far"
        assert await texts(registry) == ["a", "so far"]
        assert held.cancelled


async def test_a_model_file_may_set_another_limit(catalog):
    async with opened(catalog, said("quick")) as (registry, call):
        await ask(registry, "a", model="hasty")
        (request,) = call.requests
        assert request.deadline is not None
        assert request.deadline - anyio.current_time() <= 30


async def test_a_turn_is_stopped_with_a_reason(catalog):
    held = Held("so far")
    async with opened(catalog, held) as (registry, _):
        turn = await begin(registry, "a")
        await held.reached.wait()
        stopped = await registry.stop("", turn, "stopped after 2 s, as asked")
        assert (stopped.status, stopped.reply, stopped.warnings) == (
            "interrupted",
            "so far",
            ("stopped after 2 s, as asked",),
        )
        assert await registry.stop("", turn, "again") == stopped == await outcome(registry)
        ended = await registry.find("", "default")
        assert await registry.stop("", ended, "again") == stopped


async def test_a_turn_of_another_process_is_stopped_after_a_wait_for_it(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held("so far")
    store = Faulty(path)
    async with process(catalog, path, held) as (here, _), process(catalog, path, store=store) as (there, _):
        turn = await begin(here, "a")
        await held.reached.wait()
        followed = await there.find("", "default", turn.turn_id)
        assert (await there.reply(followed, 0.2)).status == "running"
        await store.until("find", 1)  # the keeper finds that nobody waits, and lets the turn go
        stopped = await there.stop("", followed)
        assert (stopped.status, stopped.reply) == ("interrupted", "so far")


async def test_a_turn_of_another_process_is_followed_to_its_end(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held("one ", "two")
    async with process(catalog, path, held) as (here, _), process(catalog, path) as (there, _):
        turn = await begin(here, "a", model="other", metadata={"n": 1})
        await held.reached.wait()
        followed = await there.find("", "default")
        assert (followed.turn_id, followed.session, followed.model) == (turn.turn_id, "default", "other")
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(there.reply, followed, 5)
            while not followed.heard.text:
                await followed.heard.changed()
            standing = followed.standing()
            held.let_go.set()
        assert standing == TurnResult(
            status="running",
            reply="one ",
            session="default",
            turn_id=turn.turn_id,
            effective=Effective(model="other"),
            metadata={"n": 1},
        )
        assert CUT_OFF not in standing.warnings
        assert await there.reply(followed, 0) == await here.reply(turn, 5) == await outcome(there)


async def test_what_was_saved_before_a_turn_was_found_is_heard_too(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held("one ", "two")
    store = Faulty(path)
    async with (
        process(catalog, path, held, store=store) as (here, _),
        process(catalog, path) as (there, _),
    ):
        await begin(here, "a")
        await held.reached.wait()
        await store.until("renew", 2)
        followed = await there.find("", "default")
        assert followed.standing().reply == "one "
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(there.reply, followed, 5)
            while followed.heard.text != "one ":
                await followed.heard.changed()
            held.let_go.set()


async def test_a_process_that_only_reads_hears_of_the_end_at_once(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    async with process(catalog, path, held) as (here, _), process(catalog, path, renew_s=60) as (there, _):
        await begin(here, "a")
        await held.reached.wait()
        followed = await there.find("", "default")
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(there.reply, followed, 9)
            await anyio.wait_all_tasks_blocked()
            held.let_go.set()
        assert (await there.reply(followed, 0)).status == "completed"


async def test_a_waiter_in_another_process_hears_of_a_failure(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()

    async def fails(request, emit):
        await held(request, emit)
        raise Unavailable("503")

    async with process(catalog, path, fails) as (here, _), process(catalog, path) as (there, _):
        await begin(here, "a", session="work")
        await held.reached.wait()
        followed = await there.find("", "work")
        held.let_go.set()
        with pytest.raises(TurnFailed, match="503"):
            await there.reply(followed, 5)


async def test_a_waiter_hears_that_the_session_was_closed(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    store = Faulty(path)
    async with process(catalog, path, held) as (here, _), process(catalog, path, store=store) as (there, _):
        turn = await begin(here, "a", session="work")
        await held.reached.wait()
        followed = await there.find("", "work")
        store.faults["find"] = NotFound("no session named 'work'")
        held.let_go.set()
        await here.reply(turn, 5)
        with pytest.raises(NotFound):
            await there.reply(followed, 5)


async def test_a_waiter_in_another_process_outlasts_a_fault_of_the_file(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    store = Faulty(path)
    async with process(catalog, path, held) as (here, _), process(catalog, path, store=store) as (there, _):
        turn = await begin(here, "a")
        await held.reached.wait()
        followed = await there.find("", "default")
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(there.reply, followed, 5)
            store.faults["find"] = [StorageUnavailable("for now"), RuntimeError("a bug")]
            await store.until("find", 3)
            held.let_go.set()
        assert await there.reply(followed, 0) == await here.reply(turn, 5)


async def test_what_the_model_does_is_told(catalog):
    held = Held()

    async def looks(request, emit):
        await emit(ToolUseStarted("look"))
        return await held(request, emit)

    async with opened(catalog, looks) as (registry, _):
        turn = await begin(registry, "a")
        await held.reached.wait()
        assert turn.standing().progress == "using look"


async def test_the_usage_of_a_turn_is_what_its_calls_read_and_wrote(catalog):
    async with opened(catalog, said("x", usage=Usage(5, 7, cost_usd=0.25))) as (registry, _):
        assert (await ask(registry, "a")).usage == Usage(5, 7, cost_usd=0.25)
        assert (await registry.session("", "default")).usage == Usage(5, 7, cost_usd=0.25)
