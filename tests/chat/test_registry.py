import logging
from contextlib import asynccontextmanager

import anyio
import pytest

from eai_mcp.calls import Preparing, Samplers, TextDelta, ThinkingDelta
from eai_mcp.chat.registry import Limits, Registry
from eai_mcp.chat.values import Effective, Talk, TurnResult
from eai_mcp.errors import (
    CallTimeout,
    InvalidArgument,
    LimitExceeded,
    NoTask,
    NotFound,
    SessionBusy,
    StorageFull,
    TurnFailed,
    Unavailable,
    UnknownName,
)
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ToolUseBlock,
    Usage,
    assistant,
    user,
)
from eai_mcp.observe import Fact
from eai_mcp.store.memory import MemoryStore
from tests.fakes import Held, Scripted, said


@asynccontextmanager
async def opened(catalog, *steps, store=None, limits=Limits(), observe=lambda fact: None):  # noqa: B008
    call = Scripted(list(steps))
    async with anyio.create_task_group() as tasks:
        registry = Registry(
            store=store or MemoryStore(),
            catalog=catalog,
            call_for=lambda model: call,
            tasks=tasks,
            default_model="plain",
            limits=limits,
            observe=observe,
        )
        with anyio.fail_after(5):
            yield registry, call
            await registry.aclose()
        tasks.cancel_scope.cancel()


async def ask(registry, content, **fields):
    turn = await registry.begin("", Talk(content=content, **fields))
    return await registry.reply(turn, 5)


async def texts(registry, session="default"):
    return [entry.message.text for entry in await registry.history("", session)]


async def test_a_session_remembers_what_was_said(catalog):
    async with opened(catalog, said("one"), said("two")) as (registry, call):
        first = await ask(registry, "a", session="work")
        second = await ask(registry, "b", session="work")

    assert first == TurnResult(
        status="completed",
        reply="one",
        session="work",
        turn_id=first.turn_id,
        effective=Effective(model="plain"),
        stop_reason="end",
        usage=Usage(input=2, output=3),
    )
    assert second.reply == "two"
    assert call.requests[1].messages == (user("a"), assistant("one"), user("b"))
    assert call.requests[0].system is None


async def test_sessions_do_not_wait_for_each_other(catalog):
    held = Held()
    async with opened(catalog, held, said("quick")) as (registry, _):
        slow = await registry.begin("", Talk(content="a", session="slow"))
        await held.reached.wait()
        assert (await ask(registry, "b", session="quick")).reply == "quick"
        held.let_go.set()
        assert (await registry.reply(slow, 5)).reply == "done"


async def test_a_second_turn_in_a_busy_session_is_refused_with_the_first_ones_id(catalog):
    held = Held()
    async with opened(catalog, held) as (registry, _):
        turn = await registry.begin("", Talk(content="a"))
        await held.reached.wait()
        with pytest.raises(SessionBusy) as caught:
            await registry.begin("", Talk(content="b"))
        assert caught.value.details["turn_id"] == turn.claim.turn_id


async def test_a_caller_that_leaves_does_not_stop_the_turn(catalog):
    held = Held("par", "tial")
    async with opened(catalog, held) as (registry, _):
        turn = await registry.begin("", Talk(content="a"))
        await held.reached.wait()
        standing = await registry.reply(turn, 0)
        assert (standing.status, standing.reply, standing.progress) == (
            "running",
            "par",
            "3 characters so far",
        )

        assert await registry.find("", "default") is turn
        assert await registry.find("", "default", turn.claim.turn_id) is turn
        held.let_go.set()
        assert (await registry.reply(turn, 5)).reply == "partial"


async def test_the_outcome_of_a_turn_can_be_asked_for_again(catalog):
    async with opened(catalog, said("one", warnings=("careful",)), said("two")) as (registry, _):
        first = await ask(registry, "a")
        second = await ask(registry, "b")
        assert await registry.find("", "default", first.turn_id) == first
        assert await registry.find("", "default") == second
        with pytest.raises(NotFound):
            await registry.find("", "default", "t_none")
        with pytest.raises(NotFound):
            await registry.find("", "nowhere")


async def test_an_interrupt_ends_the_call_and_keeps_the_partial_text(catalog):
    """Issue 2: `interrupt` is one of the tools; DESIGN section 4: it cancels the provider request."""
    held = Held("half a rep")
    async with opened(catalog, held, said("next")) as (registry, call):
        turn = await registry.begin("", Talk(content="a"))
        await held.reached.wait()
        stopped = await registry.interrupt("", "default")

        assert (stopped.status, stopped.reply, stopped.stop_reason) == (
            "interrupted",
            "half a rep",
            "interrupted",
        )
        assert held.cancelled
        assert await registry.reply(turn, 5) == stopped == await registry.find("", "default")
        await ask(registry, "b")
        assert call.requests[1].messages == (user("a"), assistant("half a rep", partial=True), user("b"))


async def test_an_interrupted_turn_with_nothing_said_leaves_no_trace(catalog):
    held = Held()
    async with opened(catalog, held, said("ok")) as (registry, call):
        await registry.begin("", Talk(content="a"))
        await held.reached.wait()
        await registry.interrupt("", "default")
        await ask(registry, "b")
        assert call.requests[1].messages == (user("b"),)


async def test_an_interrupt_says_when_there_is_nothing_to_stop(catalog):
    held = Held()
    async with opened(catalog, held) as (registry, _):
        with pytest.raises(NoTask, match="nothing is running in session 'default'"):
            await registry.interrupt("", "default")
        with pytest.raises(NotFound, match="no session named 'nowhere'"):
            await registry.interrupt("", "nowhere")
        turn = await registry.begin("", Talk(content="a"))
        await held.reached.wait()
        with pytest.raises(NoTask, match=f"turn t_other is not running .* turn {turn.claim.turn_id} is"):
            await registry.interrupt("", "default", "t_other")
        assert not held.cancelled


async def test_a_failed_turn_leaves_no_trace_so_that_a_retry_says_it_once(catalog):
    async with opened(catalog, Unavailable("503"), said("ok")) as (registry, call):
        with pytest.raises(Unavailable, match="503") as caught:
            await ask(registry, "a", session="work")
        await ask(registry, "a", session="work")

        assert call.requests[1].messages == (user("a"),)
        turn_id = caught.value.details["turn_id"]
        with pytest.raises(TurnFailed, match="503") as again:
            await registry.find("", "work", turn_id)
        assert (again.value.code, again.value.retryable) == ("provider_unavailable", True)


async def test_text_that_came_before_a_failure_is_kept_as_partial(catalog):
    async def breaks_off(request, emit):
        await emit(TextDelta("half"))
        raise Unavailable("broke off", partial="half")

    async with opened(catalog, breaks_off) as (registry, _):
        with pytest.raises(Unavailable) as caught:
            await ask(registry, "a")
        assert caught.value.details["partial"] == "half"
        entries = await registry.history("", "default")
    assert [entry.message for entry in entries] == [user("a"), assistant("half", partial=True)]


async def test_a_bug_ends_its_own_turn_and_its_text_stays_in_the_log(catalog, caplog):
    caplog.set_level(logging.ERROR, "eai_mcp")
    async with opened(catalog, ValueError("secret sauce"), said("fine")) as (registry, _):
        turn = await registry.begin("", Talk(content="a"))
        with pytest.raises(Exception, match=r"internal error [0-9a-f]{8}; the server's log") as caught:
            await registry.reply(turn, 5)
        assert "secret" not in str(caught.value)
        assert "secret sauce" in caplog.text
        assert (await ask(registry, "b")).reply == "fine"


async def test_a_turn_ends_at_its_limit(catalog):
    held = Held("so far")
    async with opened(catalog, held, limits=Limits(turn_s=0.01)) as (registry, _):
        with pytest.raises(CallTimeout, match=r"longer than its limit of 0\.01 s"):
            await ask(registry, "a")
        assert await texts(registry) == ["a", "so far"]


async def test_a_model_file_may_set_another_limit(catalog):
    async with opened(catalog, said("quick")) as (registry, _):
        turn = await registry.begin("", Talk(content="a", model="hasty"))
        assert turn.limit_s == 30
        assert turn.request.deadline is not None
        assert turn.request.deadline - anyio.current_time() <= 30


async def test_a_store_that_cannot_save_fails_the_turn(catalog):
    class Full(MemoryStore):
        async def settle(self, claim, settlement):
            raise StorageFull("the disk is full")

    class Broken(MemoryStore):
        async def settle(self, claim, settlement):
            raise RuntimeError("no such table")

    async with opened(catalog, said("lost"), store=Full()) as (registry, _):
        with pytest.raises(StorageFull):
            await ask(registry, "a")
    async with opened(catalog, said("lost"), store=Broken()) as (registry, _):
        with pytest.raises(Exception, match="internal error"):
            await ask(registry, "a")


async def test_closing_interrupts_what_runs_and_saves_it(catalog):
    store, held = MemoryStore(), Held("said so far")
    async with opened(catalog, held, store=store) as (registry, _):
        await registry.begin("", Talk(content="a"))
        await held.reached.wait()

    assert [entry.message.text for entry in await store.load("", "default")] == ["a", "said so far"]
    assert (await store.outcome("", "default"))[0].status == "interrupted"


async def test_a_task_group_that_is_cancelled_leaves_the_turn_settled(catalog):
    store, held = MemoryStore(), Held("said so far")
    async with anyio.create_task_group() as tasks:
        registry = Registry(
            store=store, catalog=catalog, call_for=lambda model: held, tasks=tasks, default_model="plain"
        )
        await registry.begin("", Talk(content="a"))
        await held.reached.wait()
        tasks.cancel_scope.cancel()

    row = await store.row("", "default")
    assert row is not None
    assert row.running is None
    assert [entry.message.text for entry in await store.load("", "default")] == ["a", "said so far"]


@pytest.mark.parametrize("content", ["", " \n", ()])
async def test_empty_content_is_refused(catalog, content):
    async with opened(catalog) as (registry, _):
        with pytest.raises(InvalidArgument, match="content is empty"):
            await ask(registry, content)


async def test_content_that_cannot_be_said_is_refused_and_nothing_is_kept(catalog):
    tool = ToolUseBlock("1", "run", {})
    async with opened(catalog, limits=Limits(message_bytes=4)) as (registry, _):
        with pytest.raises(LimitExceeded, match="content and system have 6 bytes; the limit is 4"):
            await ask(registry, "ééé", session="a")
        with pytest.raises(InvalidArgument, match="a lone surrogate at character 1"):
            await ask(registry, "a\ud800", session="a")
        with pytest.raises(InvalidArgument, match="not tool_use"):
            await ask(registry, (tool,), session="a")
        for image, problem in (
            (ImageBlock("\ud800", "aGk="), "media_type should be like image/png"),
            (ImageBlock("image/png", "!!!"), "data is not base64"),
            (ImageBlock("image/png", "\ud800"), "data is not base64"),
            (DocumentBlock("a/b", "aGk=", "\ud800"), "a lone surrogate at character 0"),
        ):
            with pytest.raises(InvalidArgument, match=problem):
                await ask(registry, (image,), session="a")
        with pytest.raises(LimitExceeded):
            await ask(registry, "a", session="a", system="long")
        with pytest.raises(UnknownName):
            await ask(registry, "hi", session="a", model="none")
        assert [row.name for row in await registry.sessions("")] == ["default"]


async def test_an_image_alone_is_something_to_say(catalog):
    image = ImageBlock("image/png", "aGk=")
    async with opened(catalog, said("a picture")) as (registry, call):
        await ask(registry, (image,))
        assert call.requests[0].messages == (Message("user", (image,)),)


async def test_an_empty_reply_is_said_to_be_empty_and_not_sent_back(catalog):
    async with opened(catalog, said("", message=Message("assistant", ())), said("ok")) as (registry, call):
        result = await ask(registry, "a")
        assert (result.reply, result.warnings) == ("", ("the model's reply was empty",))
        await ask(registry, "b")
        assert call.requests[1].messages == (user("a"), user("b"))


async def test_samplers_hold_for_one_turn_and_zero_is_given(catalog):
    async with opened(catalog, said("1"), said("2")) as (registry, call):
        await ask(registry, "a", samplers=Samplers(temperature=0.0, stop_sequences=()))
        await ask(registry, "b")
    assert call.requests[0].samplers.given() == ("temperature", "stop_sequences")
    assert call.requests[1].samplers.given() == ()


async def test_a_session_remembers_its_model_prompt_and_card(catalog):
    async with opened(catalog, said("1"), said("2")) as (registry, call):
        await ask(registry, "a", session="work", model="other", prompt="coder", card="pirate")
        result = await ask(registry, "b", session="work")
    assert result.effective == Effective(model="other", prompt="coder", card="pirate")
    assert call.requests[0].system == call.requests[1].system != None  # noqa: E711


async def test_what_is_heard_tells_what_the_model_is_doing(catalog):
    steps = anyio.Event()

    async def prepares(request, emit):
        await emit(Preparing("fetching: 41 of 93 MB"))
        await steps.wait()
        await emit(ThinkingDelta("hm"))
        return said("ok")

    async with opened(catalog, prepares) as (registry, _):
        turn = await registry.begin("", Talk(content="a"))
        while not turn.heard.note:
            await turn.heard.changed()
        assert turn.standing().progress == "fetching: 41 of 93 MB"
        steps.set()
        await registry.reply(turn, 5)
        assert turn.heard.note == "thinking"


async def test_facts_tell_of_a_turn_by_sizes_and_ids(catalog):
    facts: list[Fact] = []
    async with opened(catalog, said("x"), observe=facts.append) as (registry, _):
        result = await ask(registry, "a", session="work")
    assert [(fact.name, fact.session, fact.turn_id) for fact in facts] == [
        ("turn.started", "work", result.turn_id),
        ("turn.completed", "work", result.turn_id),
    ]


async def test_the_default_session_is_always_there(catalog):
    async with opened(catalog) as (registry, _):
        assert await registry.history("", "default") == []
        assert [row.name for row in await registry.sessions("")] == ["default"]
        with pytest.raises(NotFound):
            await registry.history("", "other")


async def test_spaces_are_apart(catalog):
    async with opened(catalog, said("mine")) as (registry, _):
        turn = await registry.begin("ann", Talk(content="a", session="work"))
        await registry.reply(turn, 5)
        with pytest.raises(NotFound):
            await registry.history("bob", "work")
        with pytest.raises(NotFound):
            await registry.find("bob", "work", turn.claim.turn_id)


def test_text_blocks_and_strings_are_the_same_message():
    assert user("a") == user((TextBlock("a"),))
