import math

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.calls import ModelResponse, Samplers, TextDelta, ThinkingDelta, ToolUseStarted, unheard
from eai_mcp.errors import CallError, CallTimeout, RateLimited, Rejected, Unavailable
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
    assistant,
    user,
)
from eai_mcp.providers.scripted import MOST_COUNTED
from eai_mcp.wire import INVALID_JSON
from tests.providers.scripting import answer, asking, call, failure, heard, reply


def used(name: str, at: str = "t1") -> Message:
    return Message("assistant", (ToolUseBlock(at, name, {}),))


def result(text: str, at: str = "t1") -> Message:
    return user((ToolResultBlock(at, (TextBlock(text),)),))


async def test_a_model_without_a_script_echoes_the_users_last_words():
    """Issue 3: `scripted` (deterministic, for tests and demos: … echo …)."""
    response = await answer(call(), "one", assistant("one"), "two words")

    assert response == ModelResponse(
        message=assistant("two words"), stop="end", usage=Usage(input=4, output=2), served_by="m"
    )


async def test_an_echo_of_no_words_tells_what_there_was():
    image, paper = ImageBlock("image/png", "AA=="), DocumentBlock("application/pdf", "AA==")

    assert await reply(call(), used("f"), result("21 degrees")) == "21 degrees"
    assert await reply(call(), user((image, paper))) == "[image] [document]"
    assert await reply(call()) == ""


async def test_replies_come_in_order_and_any_process_finds_the_same_place():
    """Issue 3: scripted replies; they are found from the history alone."""
    first, other = call({"text": "a"}, {"text": "b"}), call({"text": "a"}, {"text": "b"})

    assert await reply(first, "x") == await reply(first, "y") == "a"
    assert await reply(other, "x", assistant("a"), "y") == "b"


@pytest.mark.parametrize(("then", "third"), [("echo", "3"), ("last", "b"), ("again", "a")])
async def test_what_follows_the_last_reply_can_be_chosen(then, third):
    assert await reply(call({"text": "a"}, {"text": "b"}, then=then), "1", "2", "3") == third


async def test_a_script_that_has_run_out_is_an_error_unless_it_has_rules_alone():
    error = await failure(Rejected, call({"text": "a"}), asking("1", "2"))
    assert str(error) == "model 'm': its script has no reply left; `then` in it says what follows"

    rule = {"when": {"exact": "hi"}, "text": "hello"}
    assert await reply(call(rule), "ho") == "ho"
    await failure(Rejected, call(rule, then="error"), asking("ho"))


@pytest.mark.parametrize(
    ("when", "hits", "misses"),
    [
        ({"exact": "stop"}, "stop", "stop!"),
        ({"contains": "weather"}, "the weather?", "the Weather?"),
        ({"regex": "^add [0-9]+$"}, "add 12", "please add 12"),
        ({"contains": "a", "regex": "b"}, "ab", "a"),
    ],
)
async def test_a_rule_answers_the_words_that_it_names(when, hits, misses):
    ask = call({"text": "in order"}, {"when": when, "text": "by rule"})

    assert await reply(ask, hits) == "by rule"
    assert await reply(ask, misses) == "in order"


async def test_what_a_rule_answers_takes_no_place_in_the_order():
    ask = call({"when": {"exact": "ping"}, "text": "pong"}, {"text": "a"}, {"text": "b"})

    assert await reply(ask, "ping", "x") == "a"
    assert await reply(ask, "x", "ping", "ping", "y") == "b"


async def test_an_expression_takes_time_that_grows_with_the_text_alone():
    """The same expression takes a backtracking matcher longer than the world is old."""
    ask = call({"when": {"regex": "^(a+)+$"}, "text": "only a"})

    assert await reply(ask, "a" * 50_000 + "b") == "a" * 50_000 + "b"
    assert await reply(ask, "a" * 50_000) == "only a"


async def test_a_rule_can_answer_a_tools_result():
    ask = call(
        {"when": {"contains": "weather"}, "tools": [{"name": "forecast", "input": {"city": "Oslo"}}]},
        {"when": {"after_tool": "forecast", "contains": "rain"}, "text": "Take a coat."},
        {"when": {"after_tool": "forecast"}, "text": "Leave the coat."},
    )
    first = await answer(ask, "the weather?")
    assert first.message.content == (ToolUseBlock("call_1_1", "forecast", {"city": "Oslo"}),)

    assert (
        await reply(ask, "the weather?", first.message, result("rain of weather", "call_1_1"))
        == "Take a coat."
    )
    assert (
        await reply(ask, "the weather?", first.message, result("dry weather", "call_1_1"))
        == "Leave the coat."
    )
    assert await reply(ask, used("other"), result("weather")) == "weather"


async def test_tools_are_asked_for_in_parallel_and_in_order():
    """Issue 3: tool use single and parallel in order."""
    ask = call(
        {
            "text": "Let me look.",
            "tools": [
                {"name": "a", "input": {"x": [1, None]}},
                {"name": "b", "id": "own"},
                {"name": "c", "raw": "{"},
            ],
        },
        {"text": "Done."},
    )
    response, events = await heard(ask, asking("go"))

    assert response.message.content == (
        TextBlock("Let me look."),
        ToolUseBlock("call_1_1", "a", {"x": [1, None]}),
        ToolUseBlock("own", "b", {}),
        ToolUseBlock("call_1_3", "c", {INVALID_JSON: "{"}),
    )
    assert response.stop == "tools"
    assert events == [TextDelta("Let me look."), *map(ToolUseStarted, "abc")]
    assert await reply(ask, "go", response.message, result("1", "call_1_1")) == "Done."


async def test_a_yield_is_the_tool_that_asks_the_user():
    """Issue 3: `scripted` (… yields …); issue 6: `awaiting_input` by the model's `ask_user`."""
    ask = call({"tools": [{"name": "ask_user", "input": {"question": "Which one?"}}]})

    response = await answer(ask, "go")
    assert response.message.content == (ToolUseBlock("call_1_1", "ask_user", {"question": "Which one?"}),)


async def test_thinking_comes_first_and_all_of_it_in_pieces():
    """Issue 3: text, thinking; chunking."""
    response, events = await heard(call({"thinking": "hmmm", "text": "yes, I do", "chunk": 3}), asking("?"))

    assert response.message.content == (ThinkingBlock("hmmm"), TextBlock("yes, I do"))
    assert response.usage == Usage(input=1, output=4, reasoning=1)
    assert events == [*map(ThinkingDelta, ("hmm", "m")), *map(TextDelta, ("yes", ", I", " do"))]


async def test_a_reply_says_how_it_stopped_what_it_cost_and_what_to_warn_of():
    usage = {"input": 9, "output": 8, "cache_read": 7, "cache_write": 1, "reasoning": 2, "cost_usd": 0.5}
    ask = call({"stop": "refusal", "usage": usage, "warnings": ["careful"]})

    assert await answer(ask, "x") == ModelResponse(
        message=Message("assistant", ()),
        stop="refusal",
        usage=Usage(9, 8, 7, 1, 2, 0.5),
        served_by="m",
        warnings=("careful",),
    )


async def test_without_usage_the_words_are_counted():
    history = (
        user((TextBlock("two words"), ImageBlock("image/png", "AA=="))),
        used("f"),
        result("three more words"),
    )
    response = await answer(call(then="echo"), *history, system="be so kind")

    assert response.usage == Usage(input=3 + 2 + 1 + 1 + 3, output=3)


@pytest.mark.parametrize(
    ("samplers", "text", "stop"),
    [
        ({"max_tokens": 2}, "one  two", "length"),
        ({"max_tokens": 4}, "one  two three\nfour", "tools"),
        ({"max_tokens": 0}, "", "length"),
        ({"stop_sequences": ("three", "two")}, "one  ", "end"),
        ({"stop_sequences": ("ten",)}, "one  two three\nfour", "tools"),
        ({"max_tokens": 1, "stop_sequences": ("three",)}, "one", "length"),
        ({"max_tokens": 2, "stop_sequences": ("three",)}, "one  two ", "end"),
        ({"temperature": 0.0, "seed": 0}, "one  two three\nfour", "tools"),
    ],
)
async def test_the_samplers_that_cut_a_reply_cut_it(samplers, text, stop):
    ask = call({"text": "one  two three\nfour", "tools": [{"name": "f"}]})
    response = await answer(ask, "x", samplers=Samplers(**samplers))

    assert (response.message.text, response.stop, response.warnings) == (text, stop, ())
    assert any(isinstance(block, ToolUseBlock) for block in response.message.content) == (stop == "tools")


async def test_the_callers_samplers_win_over_those_of_the_file():
    ask = call(samplers=Samplers(max_tokens=1))

    assert await reply(ask, "one two three") == "one"
    assert await reply(ask, "one two three", samplers=Samplers(max_tokens=2)) == "one two"


@given(st.text(), st.integers(1, 9))
async def test_any_text_in_any_pieces_is_the_same_text(text, chunk):
    response, events = await heard(call(chunk=chunk), asking(text))

    assert response.message.text == text
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text


@pytest.mark.parametrize("kind", CallError.__subclasses__(), ids=lambda kind: kind.code)
async def test_every_error_of_a_call_can_be_planned(kind):
    """Issue 3: failures by plan."""
    error = await failure(CallError, call({"fail": {"code": kind.code}}), asking("x"))

    assert (type(error), error.retryable) == (kind, kind.retryable)
    assert str(error) == f"model 'm' fails with {kind.code}, as its script says"


async def test_a_planned_failure_keeps_what_was_said_and_how_long_to_wait():
    plan = {
        "code": "rate_limited",
        "message": "slow down",
        "retryable": False,
        "retry_after_s": 7,
        "partial": "so f",
    }
    events = []

    async def hear(event):
        events.append(event)

    with pytest.raises(RateLimited, match="slow down") as caught:
        await call({"text": "never", "fail": plan, "chunk": 2})(asking("x"), hear)
    assert (caught.value.partial, caught.value.retryable, caught.value.retry_after_s) == ("so f", False, 7.0)
    assert events == [TextDelta("so"), TextDelta(" f")]


async def test_the_first_attempts_fail_then_one_answers_and_each_message_counts_anew():
    ask = call({"text": "at last", "fail": {"code": "provider_unavailable", "times": 2}}, then="last")
    one, other = asking("x", session="one"), asking("x", session="other")
    for request in (one, other, one, other):
        await failure(Unavailable, ask, request)
    assert (await ask(one, unheard)).message.text == (await ask(other, unheard)).message.text == "at last"

    again = asking("x", "y", session="one")
    await failure(Unavailable, ask, again)
    await failure(Unavailable, ask, again)
    assert (await ask(again, unheard)).message.text == "at last"


async def test_a_shared_plan_counts_the_attempts_of_all_sessions_once():
    """Issue 6: a breaker that opens and closes sees failures of many sessions."""
    ask = call({"text": "up", "fail": {"code": "provider_unavailable", "times": 3, "shared": True}})
    for session in "abc":
        await failure(Unavailable, ask, asking("x", session=session))

    assert [await reply(ask, "x", session=session) for session in "abcd"] == ["up"] * 4


async def test_the_oldest_counts_are_forgotten_before_they_fill_the_memory():
    ask = call({"text": "up", "fail": {"code": "timeout", "times": 1}})
    for session in range(MOST_COUNTED + 1):
        with pytest.raises(CallTimeout):
            await ask(asking("x", session=str(session)), unheard)

    assert await reply(ask, "x", session=str(MOST_COUNTED)) == "up"
    await failure(CallTimeout, ask, asking("x", session="0"))


@pytest.mark.parametrize("text", ["tick ", ""])
async def test_an_endless_reply_goes_on_until_its_deadline(text):
    """Issue 3: delays; the deadline of the request is kept."""
    ask = call({"text": text, "endless": True, "pause_s": 0.001, "chunk": 2})

    error = await failure(CallTimeout, ask, asking("x", deadline=anyio.current_time() + 0.05))
    assert "did not finish its reply in the time it had" in str(error)
    assert error.partial.startswith("tick ti" if text else "")


async def test_an_endless_reply_is_stopped_by_cancelling_it():
    events = []

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def hear(event):
                events.append(event)
                if len(events) == 3:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(call({"text": "tick", "endless": True}), asking("x"), hear)
    assert events == [TextDelta("tick")] * 3


async def test_delays_are_waited_for_and_can_be_cancelled():
    ask = call(delay_s=86_400)
    error = await failure(CallTimeout, ask, asking("x", deadline=anyio.current_time() + 0.01))
    assert error.partial == ""

    with anyio.move_on_after(0.01) as limit:
        await ask(asking("x"), unheard)
    assert limit.cancelled_caught


async def test_a_reply_has_its_own_pace_and_else_the_scripts():
    replies = ({"text": "abcd"}, {"text": "abcd", "chunk": 1, "delay_s": 0, "pause_s": 0})
    ask = call(*replies, chunk=2, delay_s=0.01, pause_s=0.01)
    begun = anyio.current_time()

    _, slow = await heard(ask, asking("x"))
    assert anyio.current_time() - begun >= 0.02
    assert slow == [TextDelta("ab"), TextDelta("cd")]
    _, quick = await heard(ask, asking("x", "y"))
    assert quick == list(map(TextDelta, "abcd"))


@pytest.mark.parametrize("deadline", [-math.inf, 0.0])
async def test_a_deadline_that_has_passed_leaves_nothing_to_hear(deadline):
    error = await failure(CallTimeout, call({"text": "hi"}), asking("x", deadline=deadline))
    assert error.partial == ""
