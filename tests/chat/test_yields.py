"""Turns that end with a question of a middleware, and go on with the answer."""

from dataclasses import replace

import anyio
import pytest

from eai_mcp.chat import questions
from eai_mcp.chat.limits import Limits
from eai_mcp.errors import Conflict, Internal, NoTask, Refused, SessionBusy, Unavailable
from eai_mcp.messages import TextBlock, ToolResultBlock, ToolUseBlock, assistant, closing, user
from eai_mcp.middleware import Ask, Refuse, ToolOutcome
from eai_mcp.observe import Fact
from tests.chat.layering import RoundTool, RoundTurn, layers
from tests.chat.taking import ask, asks, begin, history, opened, outcome, process, texts, uses
from tests.fakes import Held, said

RM = ToolUseBlock("u1", "rm", {"path": "/tmp/x"})
CLOCK = ToolUseBlock("u2", "clock", {})
MV = ToolUseBlock("u3", "mv", {})
BOTH = (("u1", "rm"), ("u3", "mv"))


async def confirms(given, go_on):
    """Asks before the model is asked; anything but yes is refused."""
    if given.asked is None:
        return Ask(f"Send {given.message.text!r}?", {"of": given.message.text})
    if given.message.text != "yes":
        return Refuse("not confirmed")
    return await go_on(given)


async def approves(run, go_on):
    """Asks before each rm and mv; the clock needs nobody."""
    if run.name == "clock":
        return ToolOutcome((TextBlock("noon"),))
    if run.asked is None:
        return Ask(f"{run.name}?", {"input": run.input})
    if run.answer == "what?":
        return Ask(f"really {run.name}?", {"again": True})
    if run.answer != "approve":
        return Refuse(f"the person said {run.answer}")
    return ToolOutcome((TextBlock(f"{run.name} done"),))


async def test_a_middleware_asks_and_its_answer_goes_back_to_it(catalog):
    """Issue 6: "`awaiting_input` ... by a middleware"; "the answer goes to the paused step"."""
    layer = RoundTurn(confirms)
    async with opened(catalog, said("sent"), said("x"), layers=layers(layer)) as (registry, call):
        waiting = await ask(registry, "hello")
        assert (waiting.status, waiting.reply, call.requests) == ("awaiting_input", "Send 'hello'?", [])
        done = await ask(registry, "yes")
        assert (done.status, done.reply, done.turn_id) == ("completed", "sent", waiting.turn_id)
        shown = [user("hello"), assistant("Send 'hello'?"), user("yes")]
        assert [*call.requests[0].messages] == shown
        assert await history(registry) == [*shown, assistant("sent")]
        assert layer.given[1].asked == Ask("Send 'hello'?", {"of": "hello"})
        assert layer.given[1].is_resumed
        assert (await ask(registry, "next")).reply == "Send 'next'?"


async def test_a_question_of_a_middleware_survives_a_restart(catalog, tmp_path):
    """Issue 6: "Yield and resume"; DESIGN section 4: it survives restarts."""
    path, layer = tmp_path / "sessions.db", layers(RoundTurn(confirms))
    async with process(catalog, path, layers=layer) as (here, _):
        waiting = await ask(here, "hello")
    async with process(catalog, path, said("sent"), layers=layer) as (there, _):
        done = await ask(there, "yes")
        assert (done.reply, done.turn_id) == ("sent", waiting.turn_id)


async def test_a_refused_answer_keeps_the_question(catalog):
    """Issue 6: "a rejected or failed resume keeps the question"."""
    async with opened(catalog, said("sent"), layers=layers(RoundTurn(confirms))) as (registry, _):
        await ask(registry, "hello")
        with pytest.raises(Refused, match="not confirmed") as caught:
            await ask(registry, "no")
        assert caught.value.message.startswith("not confirmed (the question is still open")
        assert (await registry.session("", "default")).question is not None
        assert (await ask(registry, "yes")).reply == "sent"
        assert await texts(registry) == ["hello", "Send 'hello'?", "yes", "sent"]


async def test_a_failed_answer_keeps_the_question(catalog):
    """Issue 6: "a rejected or failed resume keeps the question"; facts, chit.md 1.8: continuation lost."""
    steps = [Unavailable("503"), said("sent")]
    async with opened(catalog, *steps, layers=layers(RoundTurn(confirms))) as (registry, _):
        await ask(registry, "hello")
        with pytest.raises(Unavailable):
            await ask(registry, "yes")
        assert (await ask(registry, "yes")).reply == "sent"


async def test_questions_of_a_middleware_can_be_chained(catalog):
    """Issue 6: "chained yields"."""

    async def wizard(given, go_on):
        known = [*given.asked.state["known"], given.message.text] if given.asked else []
        return (
            Ask(f"question {len(known) + 1}", {"known": known}) if len(known) < 3 else said(" ".join(known))
        )

    async with opened(catalog, layers=layers(RoundTurn(wizard))) as (registry, _):
        told = [(await ask(registry, text)).reply for text in ("go", "a", "b", "c")]
        assert told == ["question 1", "question 2", "question 3", "a b c"]
        assert len({entry.turn_id for entry in await registry.history("", "default")}) == 1
        assert (await registry.session("", "default")).turns == 1


async def test_an_interrupt_drops_the_question_of_a_middleware(catalog):
    """Issue 6: "`interrupt` drops it"."""
    async with opened(catalog, said("x"), layers=layers(RoundTurn(confirms))) as (registry, call):
        waiting = await ask(registry, "hello")
        dropped = await registry.interrupt("", "default")
        assert (dropped.status, dropped.turn_id) == ("interrupted", waiting.turn_id)
        with pytest.raises(NoTask):
            await registry.interrupt("", "default")
        assert (await ask(registry, "yes")).status == "awaiting_input"
        assert call.requests == []


async def test_an_inner_question_passes_the_outer_middleware_and_comes_back_inside(catalog):
    seen = []

    async def outer(given, go_on):
        outcome = await go_on(given)
        seen.append((given.asked, type(outcome).__name__))
        return outcome

    stack = layers(RoundTurn(outer), RoundTurn(confirms))
    async with opened(catalog, said("sent"), layers=stack) as (registry, _):
        await ask(registry, "hello")
        assert (await ask(registry, "yes")).reply == "sent"
    assert seen == [(None, "Ask"), (None, "ModelResponse")]


async def test_the_models_own_question_passes_every_middleware(catalog):
    """Issue 6: "`awaiting_input` by the model's `ask_user`"."""
    seen = []

    async def watches(given, go_on):
        outcome = await go_on(given)
        seen.append((given.message.text, given.is_resumed, given.asked, type(outcome).__name__))
        return outcome

    steps = [uses(asks("which?")), said("red it is")]
    async with opened(catalog, *steps, layers=layers(RoundTurn(watches))) as (registry, call):
        assert (await ask(registry, "paint")).reply == "which?"
        assert (await ask(registry, "red")).reply == "red it is"
        assert call.requests[1].messages[-1].content == (ToolResultBlock("q1", (TextBlock("red"),)),)
    assert seen == [("paint", False, None, "Ask"), ("red", True, None, "ModelResponse")]


async def test_a_middleware_changes_the_answer_to_the_models_question(catalog):
    async def redacts(given, go_on):
        return await go_on(replace(given, message=user("X"))) if given.is_resumed else await go_on(given)

    steps = [uses(asks("name?")), said("hello")]
    async with opened(catalog, *steps, layers=layers(RoundTurn(redacts))) as (registry, call):
        await ask(registry, "hi")
        await ask(registry, "Bond")
        answer = ToolResultBlock("q1", (TextBlock("X"),))
        assert call.requests[1].messages[-1].content == (answer,)
        assert (await history(registry))[2].content == (answer,)


async def test_a_reply_can_wait_for_approval_and_then_be_let_out(catalog):
    async def reviews(given, go_on):
        if given.asked is None:
            response = await go_on(given)
            return Ask("let it out?", {"reply": response.message.text})
        return said(given.asked.state["reply"]) if given.message.text == "yes" else Refuse("no")

    async with opened(catalog, said("the plan"), layers=layers(RoundTurn(reviews))) as (registry, call):
        waiting = await ask(registry, "plan?")
        assert (waiting.status, waiting.reply) == ("awaiting_input", "let it out?")
        done = await ask(registry, "yes")
        assert (done.reply, len(call.requests)) == ("the plan", 1)


async def test_a_tool_runs_once_it_is_approved_and_not_before(catalog):
    """Issue 6: "`awaiting_input` ... by an approval"; "the answer goes to the paused step"."""
    tool = RoundTool(approves)
    steps = [uses(RM, CLOCK), said("removed")]
    async with opened(catalog, *steps, layers=layers(tool)) as (registry, call):
        waiting = await ask(registry, "clean up")
        assert (waiting.status, waiting.reply, len(call.requests)) == ("awaiting_input", "rm?", 1)
        done = await ask(registry, "approve")
        assert (done.status, done.reply, done.turn_id) == ("completed", "removed", waiting.turn_id)
        results = (
            ToolResultBlock("u1", (TextBlock("rm done"),)),
            ToolResultBlock("u2", (TextBlock("noon"),)),
        )
        assert call.requests[1].messages[-1].content == results
        assert (await history(registry))[2].content == results
    first, second, third = [(run.name, run.answer) for run in tool.runs]
    assert {first, second} == {("rm", None), ("clock", None)}
    assert third == ("rm", "approve")
    assert tool.runs[2].asked == Ask("rm?", {"input": {"path": "/tmp/x"}})


async def test_what_is_not_approved_is_told_to_the_model(catalog):
    async with opened(catalog, uses(RM), said("fine"), layers=layers(RoundTool(approves))) as (
        registry,
        call,
    ):
        await ask(registry, "clean up")
        await ask(registry, "never")
        (result,) = call.requests[1].messages[-1].content
        refused = (TextBlock("refused: the person said never"),)
        assert result == ToolResultBlock("u1", refused, failed=True)


async def test_the_tools_of_a_step_ask_together(catalog):
    async with opened(catalog, uses(RM, MV), said("ok"), layers=layers(RoundTool(approves))) as (
        registry,
        call,
    ):
        assert (await ask(registry, "go")).reply == "rm?\n\nmv?"
        await ask(registry, "approve")
        done = [ToolResultBlock(use, (TextBlock(f"{use_name} done"),)) for use, use_name in BOTH]
        assert [*call.requests[1].messages[-1].content] == done


async def test_an_approval_can_be_asked_for_again(catalog):
    """Issue 6: "chained yields"."""
    async with opened(catalog, uses(RM), said("ok"), layers=layers(RoundTool(approves))) as (registry, call):
        first = await ask(registry, "go")
        again = await ask(registry, "what?")
        assert (again.status, again.reply, again.turn_id) == ("awaiting_input", "really rm?", first.turn_id)
        assert (await ask(registry, "approve")).reply == "ok"
        assert [message.role for message in await history(registry)] == [
            "user",
            "assistant",
            "user",
            "assistant",
        ]
        assert closing(call.requests[1].messages[:-1]) != ()


async def test_a_tool_that_fails_in_its_middleware_when_resumed_keeps_the_question(catalog):
    calls = []

    async def breaks_once(run, go_on):
        calls.append(run.answer)
        if len(calls) == 2:
            raise ValueError("oops")
        return await approves(run, go_on)

    async with opened(catalog, uses(RM), said("ok"), layers=layers(RoundTool(breaks_once))) as (registry, _):
        await ask(registry, "go")
        with pytest.raises(Internal, match="middleware RoundTool failed") as caught:
            await ask(registry, "approve")
        assert "the question is still open" in caught.value.message
        assert (await ask(registry, "approve")).reply == "ok"


async def test_a_tool_that_has_run_is_not_run_again_if_the_model_fails_after_it(catalog):
    steps = [uses(RM), Unavailable("503"), said("ok")]
    tool = RoundTool(approves)
    async with opened(catalog, *steps, layers=layers(tool)) as (registry, _):
        await ask(registry, "go")
        with pytest.raises(Unavailable):
            await ask(registry, "approve")
        assert (await registry.session("", "default")).question is None
        assert (await ask(registry, "and?")).reply == "ok"
        messages = await history(registry)
    assert [run.answer for run in tool.runs] == [None, "approve"]
    assert messages[2].content == (ToolResultBlock("u1", (TextBlock("rm done"),)),)


async def test_beside_the_models_own_question_no_tool_asks(catalog):
    steps = [uses(RM, asks("which?")), said("ok")]
    async with opened(catalog, *steps, layers=layers(RoundTool(approves))) as (registry, call):
        assert (await ask(registry, "go")).reply == "which?"
        await ask(registry, "red")
        first, second = call.requests[1].messages[-1].content
        assert first == ToolResultBlock("u1", (TextBlock(questions.ONE_AT_A_TIME),), failed=True)
        assert second == ToolResultBlock("q1", (TextBlock("red"),))


async def test_a_dropped_approval_closes_the_tools_of_its_step(catalog):
    async with opened(catalog, uses(RM, CLOCK), said("ok"), layers=layers(RoundTool(approves))) as (
        registry,
        call,
    ):
        await ask(registry, "go")
        await registry.interrupt("", "default")
        assert (await ask(registry, "next")).reply == "ok"
        assert call.requests[1].messages[2].content == (
            ToolResultBlock("u1", (TextBlock(questions.WITHDRAWN),), failed=True),
            ToolResultBlock("u2", (TextBlock("noon"),)),
        )


async def test_an_approved_tool_that_is_interrupted_leaves_a_valid_history(catalog):
    reached = anyio.Event()

    async def waits(run, go_on):
        if run.answer is None:
            return Ask("sure?")
        reached.set()
        return await anyio.sleep_forever()

    steps = [uses(RM), said("ok"), said("fine")]
    async with opened(catalog, *steps, layers=layers(RoundTool(waits))) as (registry, _):
        await ask(registry, "go")
        await begin(registry, "yes")
        await reached.wait()
        stopped = await registry.interrupt("", "default")
        assert stopped.status == "interrupted"
        messages = await history(registry)
        assert closing(messages) == ()
        assert (await ask(registry, "next")).reply == "ok"


@pytest.mark.parametrize("who", ["middleware", "limit"])
async def test_an_expired_question_cannot_be_answered_and_is_dropped(catalog, who):
    """Issue 6: "expiry"; facts, chit.md 2: a stale turn gets a clear error, never a fresh turn."""

    async def briefly(given, go_on):
        return Ask("now?", expires_s=-1 if who == "middleware" else None)

    limits = Limits(question_s=-1 if who == "limit" else None)
    async with opened(catalog, said("x"), limits=limits, layers=layers(RoundTurn(briefly))) as (
        registry,
        call,
    ):
        waiting = await ask(registry, "hello")
        with pytest.raises(Conflict, match="has expired and was dropped") as caught:
            await ask(registry, "yes")
        assert caught.value.details["turn_id"] == waiting.turn_id
        assert (await outcome(registry)).status == "interrupted"
        assert (await ask(registry, "new")).turn_id != waiting.turn_id
        assert call.requests == []


async def test_a_question_that_does_not_expire_waits_as_long_as_it_likes(catalog):
    limits = Limits(question_s=60)
    async with opened(catalog, said("x"), limits=limits, layers=layers(RoundTurn(confirms))) as (registry, _):
        await ask(registry, "hello")
        assert (await ask(registry, "yes")).reply == "x"


async def test_facts_tell_of_a_turn_that_yields_and_goes_on(catalog):
    """Issue 6: "Facts: the vocabulary of chit.md section 2, in order, with session, turn and request ids"."""
    facts: list[Fact] = []
    stack = layers(RoundTool(approves))
    async with opened(catalog, uses(RM), said("ok"), observe=facts.append, layers=stack) as (registry, _):
        done = await ask(registry, "go", request_id="r1")
        await ask(registry, "approve", request_id="r2")
    assert [(fact.name, fact.request_id) for fact in facts] == [
        ("session.opened", ""),
        *[(name, "r1") for name in ("turn.received", "turn.started", "tool.started", "tool.completed")],
        ("turn.yielded", "r1"),
        *[(name, "r2") for name in ("turn.received", "turn.resumed", "tool.started", "tool.completed")],
        ("turn.completed", "r2"),
    ]
    assert {fact.turn_id for fact in facts[1:]} == {done.turn_id}
    assert not [value for fact in facts for value in fact.fields.values() if value in ("go", "rm?", "ok")]


async def test_of_two_answers_at_once_one_counts(catalog):
    """Facts, chit.md 1.9: a second input while a continuation runs."""
    held = Held("par")
    async with opened(catalog, held, layers=layers(RoundTurn(confirms))) as (registry, _):
        await ask(registry, "hello")
        await begin(registry, "yes")
        await held.reached.wait()
        with pytest.raises(SessionBusy):
            await ask(registry, "yes")
        held.let_go.set()
        with anyio.fail_after(5):
            assert (await outcome(registry)).status in ("running", "completed")
