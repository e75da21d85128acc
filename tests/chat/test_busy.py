"""What a talk does about a turn that is running: refuse, wait, or stop it."""

import anyio
import pytest

from eai_mcp.chat.beginning import STOPPED_BY_TALK
from eai_mcp.chat.values import Talk
from eai_mcp.errors import NotFound, SessionBusy, Unavailable
from eai_mcp.messages import assistant, user
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import ask, begin, history, lasts, opened, outcome, process, texts
from tests.fakes import Held, said

NEXT = said("next")


async def running(registry, held, content="first", **fields):
    turn = await begin(registry, content, **fields)
    await held.reached.wait()
    return turn


async def test_sessions_do_not_wait_for_each_other(catalog):
    held = Held()
    async with opened(catalog, held, said("quick")) as (registry, _):
        slow = await running(registry, held, session="slow")
        async with anyio.create_task_group() as others:
            others.start_soon(lambda: begin(registry, "later", session="slow", if_busy="wait"))
            await anyio.wait_all_tasks_blocked()
            assert (await ask(registry, "b", session="quick")).reply == "quick"
            others.cancel_scope.cancel()
        held.let_go.set()
        assert (await registry.reply(slow, 5)).reply == "done"


async def test_a_second_turn_is_refused_with_the_first_ones_id_and_age(catalog):
    """Issue 4: `if_busy` error, wait (FIFO), interrupt."""
    held = Held()
    async with opened(catalog, held) as (registry, call):
        turn = await running(registry, held)
        with pytest.raises(SessionBusy, match=f"turn {turn.turn_id} has been running for") as caught:
            await begin(registry, "second")
        running_s = caught.value.details["running_s"]
        assert isinstance(running_s, float)
        assert caught.value.details == {
            "chat_session": "default",
            "turn_id": turn.turn_id,
            "running_s": running_s,
        }
        assert caught.value.retryable
        held.let_go.set()
        await registry.reply(turn, 5)
        assert lasts(call) == ["first"]


async def test_those_who_wait_get_their_turns_in_the_order_in_which_they_came(catalog):
    """Issue 4: `if_busy` error, wait (FIFO), interrupt."""
    held, numbers = Held(), [str(number) for number in range(5)]
    async with opened(catalog, held, *(said(f"to {number}") for number in numbers)) as (registry, call):
        first = await running(registry, held)
        replies = {}

        async def wait(number):
            replies[number] = (await ask(registry, number, if_busy="wait")).reply

        async with anyio.create_task_group() as waiters:
            for number in numbers:
                waiters.start_soon(wait, number)
                await anyio.wait_all_tasks_blocked()
            assert len(call.requests) == 1
            held.let_go.set()
        assert replies == {number: f"to {number}" for number in numbers}
        assert lasts(call) == ["first", *numbers]
        assert (await outcome(registry, first.turn_id)).reply == "done"
        assert len(await texts(registry)) == 12


async def test_a_wait_on_an_idle_session_begins_at_once(catalog):
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        assert (await ask(registry, "a", if_busy="wait")).reply == "1"
        assert (await ask(registry, "b", if_busy="interrupt")).reply == "2"


async def test_at_its_limit_a_wait_is_refused_and_nothing_is_kept_of_it(catalog):
    """DESIGN section 4: `timeout_ms` is a real limit on the wait."""
    held = Held()
    async with opened(catalog, held) as (registry, call):
        turn = await running(registry, held)
        talk = Talk(content="second", if_busy="wait", request_id="r1")
        with pytest.raises(SessionBusy, match=r"busy after 0\.02 s of waiting; nothing was sent") as caught:
            await registry.begin("", talk, wait_s=0.02)
        assert caught.value.details["turn_id"] == turn.turn_id
        held.let_go.set()
        await registry.reply(turn, 5)
        assert lasts(call) == ["first"]
        assert await texts(registry) == ["first", "done"]
        assert (await registry.session("", "default")).turns == 1


async def test_a_wait_of_no_time_begins_in_an_idle_session(catalog):
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        for if_busy in ("wait", "interrupt"):
            turn = await registry.begin("", Talk(content="a", if_busy=if_busy), wait_s=0)
            assert (await registry.reply(turn, 5)).status == "completed"


async def test_a_waiter_that_is_cancelled_leaves_the_line(catalog):
    held = Held()
    async with opened(catalog, held, said("to b"), said("to c")) as (registry, call):
        await running(registry, held)
        async with anyio.create_task_group() as waiters:
            with anyio.move_on_after(5) as leaving:
                async with anyio.create_task_group() as first:
                    first.start_soon(lambda: begin(registry, "a", if_busy="wait"))
                    await anyio.wait_all_tasks_blocked()
                    waiters.start_soon(lambda: ask(registry, "b", if_busy="wait"))
                    await anyio.wait_all_tasks_blocked()
                    leaving.cancel()
            held.let_go.set()
        assert lasts(call) == ["first", "b"]
        assert (await ask(registry, "c")).reply == "to c"


async def test_an_error_comes_at_once_while_others_wait_in_line(catalog):
    held, second = Held(), Held()
    async with opened(catalog, held, second) as (registry, call):
        first = await running(registry, held)
        async with anyio.create_task_group() as waiters:
            waiters.start_soon(lambda: ask(registry, "in line", if_busy="wait"))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(SessionBusy, match="others wait for session 'default' already") as caught:
                await begin(registry, "pushes in")
            assert caught.value.details["turn_id"] == first.turn_id
            held.let_go.set()
            await second.reached.wait()
            second.let_go.set()
        assert lasts(call) == ["first", "in line"]


async def test_an_interrupt_stops_what_runs_and_goes_on(catalog):
    """Issue 4: `if_busy` error, wait (FIFO), interrupt."""
    held = Held("half a")
    async with opened(catalog, held, said("new")) as (registry, call):
        turn = await running(registry, held)
        assert (await ask(registry, "second", if_busy="interrupt")).reply == "new"
        stopped = await registry.reply(turn, 0)
        assert (stopped.status, stopped.reply, stopped.warnings) == (
            "interrupted",
            "half a",
            (STOPPED_BY_TALK,),
        )
        assert held.cancelled
        assert call.requests[1].messages == (
            user("first"),
            assistant("half a", partial=True),
            user("second"),
        )


async def test_an_interrupt_goes_on_when_the_turn_failed_by_itself(catalog):
    held = Held()

    async def fails_once_stopped(request, emit):
        try:
            return await held(request, emit)
        finally:
            raise Unavailable("the line went dead")

    async with opened(catalog, fails_once_stopped, said("new")) as (registry, _):
        await running(registry, held)
        assert (await ask(registry, "second", if_busy="interrupt")).reply == "new"
        assert await history(registry) == [user("second"), assistant("new")]


async def test_a_talk_waits_for_the_turn_of_another_process(catalog, tmp_path):
    """Issue 4: several server processes share it, each seeing the others' sessions, busy states."""
    path, held = tmp_path / "sessions.db", Held("slow")
    async with process(catalog, path, held) as (here, _), process(catalog, path, NEXT) as (there, call):
        turn = await running(here, held)
        with pytest.raises(SessionBusy) as caught:
            await begin(there, "refused")
        assert caught.value.details["turn_id"] == turn.turn_id

        async with anyio.create_task_group() as waiters:
            waiters.start_soon(lambda: ask(there, "second", if_busy="wait"))
            await anyio.wait_all_tasks_blocked()
            held.let_go.set()
        assert call.requests[0].messages == (user("first"), assistant("slowdone"), user("second"))


async def test_a_talk_stops_the_turn_of_another_process(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held("half a")
    async with process(catalog, path, held) as (here, _), process(catalog, path, NEXT) as (there, call):
        turn = await running(here, held)
        assert (await ask(there, "second", if_busy="interrupt")).reply == "next"
        assert (await here.reply(turn, 5)).status == "interrupted"
        assert call.requests[0].messages == (
            user("first"),
            assistant("half a", partial=True),
            user("second"),
        )


async def test_a_waiter_goes_on_when_the_owner_of_the_turn_dies(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    dying = SqliteStore(path)
    async with opened(catalog, held, store=dying) as (here, _):
        await running(here, held)
        async with process(catalog, path, NEXT) as (there, call):
            async with anyio.create_task_group() as waiters:
                waiters.start_soon(lambda: ask(there, "second", if_busy="wait"))
                await anyio.wait_all_tasks_blocked()
                await dying.aclose()
            assert call.requests[0].messages == (user("second"),)


async def test_a_session_that_is_closed_meanwhile_is_made_anew(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    async with process(catalog, path, held) as (here, _), process(catalog, path, NEXT) as (there, _):
        turn = await running(here, held, session="work")
        async with anyio.create_task_group() as waiters:
            waiters.start_soon(lambda: ask(there, "second", session="work", if_busy="wait"))
            await anyio.wait_all_tasks_blocked()
            held.let_go.set()
            await here.reply(turn, 5)
        await there.close("", "work")
        with pytest.raises(NotFound):
            await here.find("", "work")
