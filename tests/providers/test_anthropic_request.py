"""What is asked of Anthropic Messages; rows of section 8 of the providers' facts are quoted."""

from typing import Any

import pytest

from eai_mcp.calls import ModelRequest, Samplers, ToolSpec
from eai_mcp.errors import ConfigError, InvalidArgument
from eai_mcp.messages import Message, ToolResultBlock, ToolUseBlock, user
from eai_mcp.providers.anthropic_quirks import Quirks, quirks_of
from eai_mcp.providers.anthropic_request import asked
from eai_mcp.providers.asking import blamed
from eai_mcp.providers.complaints import Complaint
from tests.providers.answering import HELLO, model

MARK = {"cache_control": {"type": "ephemeral"}}
FRAME = {
    "model": "wire-1",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    "max_tokens": 8192,
    "stream": True,
}
ADAPTIVE = {"type": "adaptive", "display": "summarized"}
NOT_TAKEN = "{} was not sent: this endpoint does not take it"
NOT_WITH = "{} was not sent: this endpoint does not take it together with {}"
NEWEST: dict[str, Any] = {"samplers": (), "can_disable_thinking": False}
BUDGET: dict[str, Any] = {"thinking": "budget"}


def sent(
    own: Samplers = Samplers(), /, *, defaults: Samplers = Samplers(), refused=(), headers=None, **quirks: Any
):
    request = ModelRequest(messages=(user("hello"),), samplers=own)
    entry = model(samplers=defaults, headers=headers or {})
    return asked(request, entry, Quirks(**{"cache": False, **quirks}), refused=frozenset(refused))


def test_nothing_is_sent_that_nobody_asked_for_but_the_limit_that_has_to_be():
    """Facts, section 4: max_tokens is required."""
    told = sent()

    assert (told.body, told.warnings, told.sent) == (FRAME, (), {})
    assert told.headers == {"anthropic-version": "2023-06-01"}
    assert sent(max_tokens_default=99).body["max_tokens"] == 99


def test_samplers_are_sent_in_the_endpoints_words_and_zero_is_a_value():
    """Issue 3: all samplers of `talk`, sent when given (0 is given), a warning when one cannot be said."""
    everything = Samplers(
        temperature=0.0,
        top_k=0,
        min_p=0.1,
        max_tokens=9,
        repetition_penalty=1.1,
        frequency_penalty=0,
        presence_penalty=-1.0,
        stop_sequences=("a", "b"),
        seed=0,
        anthropic_beta=("x",),
    )
    told = sent(everything)

    said = {"temperature": 0.0, "top_k": 0, "max_tokens": 9, "stop_sequences": ["a", "b"]}
    assert told.body == {**FRAME, **said}
    unsaid = ("min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "seed")
    assert told.warnings == tuple(map(NOT_TAKEN.format, unsaid))


def test_a_model_without_samplers_gets_none_and_the_caller_is_told():
    """Facts, section 8: from Opus 4.7 on temperature, top_p and top_k are refused."""
    told = sent(Samplers(temperature=0.5, top_k=3, reasoning_effort="high"), **NEWEST)

    assert set(told.body) == {*FRAME, "thinking", "output_config"}
    assert told.warnings == (NOT_TAKEN.format("temperature"), NOT_TAKEN.format("top_k"))


@pytest.mark.parametrize(
    ("own", "defaults", "left", "out"),
    [
        (Samplers(temperature=0.5, top_p=0.9), Samplers(), "temperature", "top_p"),
        (Samplers(temperature=0.5), Samplers(top_p=0.9), "temperature", "top_p"),
        (Samplers(top_p=0.9), Samplers(temperature=0.5), "top_p", "temperature"),
        (Samplers(), Samplers(temperature=0.5, top_p=0.9), "temperature", "top_p"),
    ],
)
def test_temperature_and_top_p_are_not_sent_together(own, defaults, left, out):
    """Facts, section 8: Claude up to 4.6 refuses temperature with top_p together."""
    told = sent(own, defaults=defaults)

    assert (left in told.body, out in told.body) == (True, False)
    assert told.warnings == (NOT_WITH.format(out, left),)
    assert {left, out} <= set(sent(own, defaults=defaults, exclusive_samplers=False).body)


def test_a_temperature_that_is_refused_does_not_keep_top_p_away():
    told = sent(defaults=Samplers(temperature=0.5, top_p=0.9), refused=["temperature"])

    assert ("temperature" in told.body, told.body["top_p"]) == (False, 0.9)


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh", "max"])
def test_effort_is_said_as_effort_with_adaptive_thinking_that_can_be_read(effort):
    """Facts, section 4: from Sonnet 5/Opus 5 on thinking is omitted unless a summary is asked for."""
    told = sent(Samplers(reasoning_effort=effort))

    assert told.body["thinking"] == ADAPTIVE
    assert told.body["output_config"] == {"effort": "low" if effort == "minimal" else effort}
    assert (told.warnings, told.sent) == ((), {"reasoning_effort": "output_config.effort"})
    assert told.body["max_tokens"] > 8192  # thinking counts towards the limit
    assert sent(Samplers(reasoning_effort=effort, max_tokens=9)).body["max_tokens"] == 9


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh", "max"])
@pytest.mark.parametrize("limit", [1025, 2000, 8192, 64_000, None])
def test_a_budget_is_at_least_1024_and_below_the_limit(effort, limit):
    """Facts, section 4: `enabled` with `budget_tokens` >= 1024 and < max_tokens."""
    body = sent(Samplers(reasoning_effort=effort, max_tokens=limit), **BUDGET).body

    assert body["thinking"]["type"] == "enabled"
    assert 1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"] < 64_001
    assert body["max_tokens"] == limit if limit else body["max_tokens"] < 32_000
    assert "output_config" not in body


def test_a_limit_that_leaves_no_room_for_a_budget_leaves_thinking_off():
    told = sent(Samplers(reasoning_effort="high", max_tokens=1024, temperature=0.5), **BUDGET)

    assert told.body == {**FRAME, "max_tokens": 1024, "temperature": 0.5}
    assert told.warnings == ("reasoning_effort was not sent: it needs max_tokens of more than 1024 here",)


def test_a_turn_that_another_model_began_goes_on_without_a_budget():
    asking = Message("assistant", (ToolUseBlock("c1", "look", {}),))
    messages = (*HELLO.messages, asking, user((ToolResultBlock("c1", ()),)))
    request = ModelRequest(messages=messages, samplers=Samplers(reasoning_effort="high", temperature=0.5))

    told = asked(request, model(), Quirks(thinking="budget"), refused=frozenset())
    assert ("thinking" in told.body, told.body["temperature"]) == (False, 0.5)
    assert told.warnings == ("reasoning_effort was not sent: the turn began without reasoning of this model",)
    assert "thinking" in asked(request, model(), Quirks(), refused=frozenset()).body


def test_no_effort_turns_thinking_off_where_that_can_be_done():
    for quirks in ({}, BUDGET):
        told = sent(Samplers(reasoning_effort="none", temperature=0.5), **quirks)
        assert told.body == {**FRAME, "temperature": 0.5, "thinking": {"type": "disabled"}}
        assert told.warnings == ()


def test_a_model_that_always_thinks_is_told_to_think_little():
    """Facts, section 8: Opus 5.5 refuses `disabled`; for Sonnet 5.5 `between_tools` is the lowest."""
    warning = "reasoning_effort none was sent as {}: this model cannot be told not to think"

    told = sent(Samplers(reasoning_effort="none"), **NEWEST)
    assert (told.body["thinking"], told.body["output_config"]) == (ADAPTIVE, {"effort": "low"})
    assert told.warnings == (warning.format("low"),)

    told = sent(Samplers(reasoning_effort="none"), **NEWEST, between_tools=True)
    assert (told.body["thinking"], "output_config" in told.body) == ({"type": "between_tools"}, False)
    assert told.warnings == (warning.format("thinking between tools"),)


def test_a_model_that_cannot_think_is_not_asked_to():
    told = sent(Samplers(reasoning_effort="high", temperature=0.5), thinking="none")
    assert (told.body, told.warnings) == (
        {**FRAME, "temperature": 0.5},
        (NOT_TAKEN.format("reasoning_effort"),),
    )

    told = sent(Samplers(reasoning_effort="none"), thinking="none")
    assert (told.body, told.warnings) == (FRAME, ())


@pytest.mark.parametrize("quirks", [{}, BUDGET], ids=["adaptive", "budget"])
def test_what_does_not_go_with_thinking_is_left_out(quirks):
    """Facts, section 8: with thinking on, temperature other than 1, top_k, and top_p < 0.95 are refused."""
    thinking = Samplers(reasoning_effort="high")
    told = sent(thinking, defaults=Samplers(temperature=0.5, top_k=3), **quirks)
    assert ("temperature" in told.body, "top_k" in told.body) == (False, False)
    assert told.warnings == tuple(
        NOT_WITH.format(name, "reasoning_effort") for name in ("temperature", "top_k")
    )
    assert sent(thinking, defaults=Samplers(top_p=0.9), **quirks).warnings

    for fine in (Samplers(temperature=1.0), Samplers(top_p=0.95)):
        told = sent(thinking, defaults=fine, **quirks)
        assert fine.given()[0] in told.body
        assert told.warnings == ()
    told = sent(thinking, defaults=Samplers(temperature=0.5), **quirks, exclusive_samplers=False)
    assert (told.body["temperature"], told.warnings) == (0.5, ())


def test_what_the_caller_chose_goes_before_the_effort_of_the_models_file():
    told = sent(Samplers(temperature=0.5), defaults=Samplers(reasoning_effort="high"))

    assert told.body == {**FRAME, "temperature": 0.5}
    assert told.warnings == (NOT_WITH.format("reasoning_effort", "temperature"),)


def test_a_refused_default_is_left_out():
    defaults = Samplers(reasoning_effort="high", temperature=0.5, max_tokens=90_000)
    told = sent(defaults=defaults, refused=["reasoning_effort", "max_tokens"])

    assert told.body == {**FRAME, "temperature": 0.5}
    assert len(told.warnings) == 2


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("`temperature` is deprecated for this model.", "temperature"),
        ("max_tokens: 90000 > 64000, which is the maximum allowed number of output tokens", "max_tokens"),
        ("output_config.effort: Input should be 'low', 'medium' or 'high'", "reasoning_effort"),
        ('"effort" is not supported by this model', "reasoning_effort"),
    ],
)
def test_a_rejection_is_traced_to_the_sampler_that_it_names(words, name):
    fields = sent(Samplers(temperature=1.0, max_tokens=9, reasoning_effort="max")).sent

    assert blamed(Complaint(words=words), fields) == name


def test_betas_are_joined_in_a_header():
    """Issue 3: `anthropic_beta` joined with ", "."""
    told = sent(Samplers(anthropic_beta=("b-2", "a-1", "b-2")))
    assert told.headers["anthropic-beta"] == "b-2, a-1"
    assert "anthropic-beta" not in sent(Samplers(anthropic_beta=())).headers

    told = sent(Samplers(anthropic_beta=("a",)), headers={"Anthropic-Beta": "x"})
    assert "anthropic-beta" not in told.headers
    assert told.warnings == ("anthropic_beta was not sent: the headers of the model's file set it",)


@pytest.mark.parametrize("beta", ["", "a,b", "a\nb", "a\r\nx-evil: 1", "é", " a", "a\x7f"])
def test_what_cannot_be_a_beta_is_refused_by_name(beta):
    with pytest.raises(InvalidArgument, match="anthropic_beta: ") as caught:
        sent(Samplers(anthropic_beta=("fine", beta)))
    assert caught.value.details["field"] == "anthropic_beta"

    with pytest.raises(ConfigError, match=r"model 'm': samplers\.anthropic_beta: "):
        sent(defaults=Samplers(anthropic_beta=(beta,)))


def test_tools_have_a_schema_with_a_type():
    look, find = ToolSpec("look", "Looks.", {"type": "object", "properties": {}}), ToolSpec("find", "", {})
    request = ModelRequest(messages=HELLO.messages, tools=(look, find), system="be kind")

    body = asked(request, model(), Quirks(), refused=frozenset()).body
    assert body["tools"] == [
        {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}},
        {"name": "find", "input_schema": {"type": "object"}},
    ]
    assert body["system"] == [{"type": "text", "text": "be kind", **MARK}]
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hello", **MARK}]}]


def test_a_model_file_says_what_its_model_is_like():
    assert quirks_of(model()) == Quirks()
    assert quirks_of(model(quirks={"samplers": [], "thinking": "budget"})) == Quirks(
        samplers=(), thinking="budget"
    )


@pytest.mark.parametrize(
    ("quirks", "words"),
    [
        ({"max_token": 1}, "quirks.max_token: Unexpected keyword argument; known quirks: max_tokens"),
        ({"max_tokens_default": 0}, "quirks.max_tokens_default: Input should be greater than 0"),
        ({"thinking": "hard"}, "quirks.thinking: Input should be 'adaptive', 'budget' or 'none'"),
    ],
)  # fmt: skip
def test_a_quirk_that_cannot_be_is_named(quirks, words):
    with pytest.raises(ConfigError) as caught:
        quirks_of(model(quirks=quirks))

    assert f"model 'm': {words}" in str(caught.value)
