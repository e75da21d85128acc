import json
from typing import Any

import pytest

from eai_mcp.calls import ModelRequest, Samplers, ToolSpec
from eai_mcp.errors import ConfigError
from eai_mcp.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock, user
from eai_mcp.providers.asking import blamed
from eai_mcp.providers.bedrock_quirks import Quirks, quirks_of
from eai_mcp.providers.bedrock_request import asked
from eai_mcp.providers.complaints import Complaint
from tests.providers.answering import HELLO
from tests.providers.bedrock_bytes import model

ALL = Samplers(
    temperature=0.0,
    top_p=0.5,
    top_k=0,
    min_p=0.1,
    max_tokens=9,
    repetition_penalty=1.1,
    frequency_penalty=0,
    presence_penalty=-1.0,
    stop_sequences=("a", "b"),
    seed=0,
    anthropic_beta=("x", "y"),
    reasoning_effort="none",
)
FRAME = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"x": {"type": "number"}}})
MARK = {"cachePoint": {"type": "default"}}
UNSAID = "{} was not sent: this endpoint does not take it"


def sent(own: Samplers = Samplers(), /, *, defaults: Samplers = Samplers(), refused=(), **quirks):
    request = ModelRequest(messages=HELLO.messages, samplers=own)
    return asked(request, model(samplers=defaults), Quirks(**quirks), refused=frozenset(refused))


def written(request: ModelRequest, **quirks: Any) -> dict[str, Any]:
    return dict(asked(request, model(), Quirks(**quirks), refused=frozenset()).body)


def test_nothing_is_sent_that_nobody_asked_for():
    assert sent().body == FRAME
    assert sent().warnings == ()
    assert sent().headers == {"Accept": "application/vnd.amazon.eventstream"}


def test_every_sampler_is_sent_in_the_endpoints_words_and_zero_is_a_value():
    """Issue 3: sent when given (0 is given), and a warning in the result when something could not be said."""
    told = sent(ALL)

    assert told.body == {
        **FRAME,
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.0, "topP": 0.5, "stopSequences": ["a", "b"]},
        "additionalModelRequestFields": {"top_k": 0},
    }
    unsaid = (
        "min_p",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "anthropic_beta",
    )
    assert told.warnings == tuple(UNSAID.format(name) for name in (*unsaid, "reasoning_effort"))


def test_betas_are_sent_only_to_models_of_anthropic():
    """Issue 3: anthropic_beta sent only where it means something."""
    told = sent(Samplers(anthropic_beta=("x", "y")), anthropic=True)

    assert told.body["additionalModelRequestFields"] == {"anthropic_beta": ["x", "y"]}
    assert told.warnings == ()


@pytest.mark.parametrize(
    ("field", "fields"),
    [("k", {"additionalModelRequestFields": {"k": 5}}),
     ("inferenceConfig.topK", {"additionalModelRequestFields": {"inferenceConfig": {"topK": 5}}}),
     ("", {})],
)  # fmt: skip
def test_top_k_is_called_what_the_model_calls_it(field, fields):
    told = sent(Samplers(top_k=5), top_k_field=field)

    assert told.body == {**FRAME, **fields}
    assert told.warnings == (() if field else (UNSAID.format("top_k"),))


@pytest.mark.parametrize(
    ("effort", "fields"),
    [
        ("none", {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}}),
        (
            "minimal",
            {
                "outputConfig": {"effort": "low"},
                "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
            },
        ),
        (
            "max",
            {
                "outputConfig": {"effort": "max"},
                "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
            },
        ),
    ],
)
def test_adaptive_thinking_is_told_its_effort(effort, fields):
    """Issue 3: reasoning_effort mapped."""
    told = sent(Samplers(reasoning_effort=effort), reasoning="adaptive")

    assert (told.body, told.warnings) == ({**FRAME, **fields}, ())


@pytest.mark.parametrize(
    ("effort", "max_tokens", "budget"),
    [
        ("minimal", None, 1024),
        ("low", None, 2048),
        ("max", None, 32_768),
        ("max", 10_000, 5000),
        ("high", 1025, 1024),
    ],
)
def test_thinking_with_a_budget_is_told_its_tokens(effort, max_tokens, budget):
    told = sent(Samplers(reasoning_effort=effort, max_tokens=max_tokens), reasoning="budget")

    thinking = {"type": "enabled", "budget_tokens": budget}
    assert told.body["additionalModelRequestFields"] == {"thinking": thinking}
    assert told.warnings == ()


def test_a_budget_for_which_there_is_no_room_is_not_sent():
    told = sent(Samplers(reasoning_effort="high", max_tokens=1024), reasoning="budget")

    assert "additionalModelRequestFields" not in told.body
    (warning,) = told.warnings
    assert warning.startswith("reasoning_effort was not sent: max_tokens leaves no room for 1024 tokens")
    off = sent(Samplers(reasoning_effort="none"), reasoning="budget")
    assert off.body["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}


def test_effort_is_a_field_where_the_model_has_one():
    told = sent(Samplers(reasoning_effort="low"), reasoning="effort")
    assert told.body["additionalModelRequestFields"] == {"reasoning_effort": "low"}

    told = sent(Samplers(reasoning_effort="low"), reasoning="effort", effort_field="reasoning_config.level")
    assert told.body["additionalModelRequestFields"] == {"reasoning_config": {"level": "low"}}


@pytest.mark.parametrize(
    "quirks", [{"reasoning": "adaptive"}, {"reasoning": "budget"}, {"reasoning": "effort"}]
)
def test_a_refused_default_is_left_out_with_a_warning(quirks):
    """Issue 3: a 400 that names a sampler which came from a default is retried once without it."""
    defaults = Samplers(reasoning_effort="high", temperature=0.5)
    told = sent(defaults=defaults, refused=["reasoning_effort", "temperature"], **quirks)

    assert told.body == FRAME
    assert len(told.warnings) == 2


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (
            "The model returned the following errors: `temperature` is deprecated for this model.",
            "temperature",
        ),
        ("The model returned the following errors: `top_p` is not supported", "top_p"),
        ("Value '2.0' at 'inferenceConfig.topP' failed to satisfy constraint", "top_p"),
        ("Malformed input request: #: extraneous key [top_k] is not permitted", "top_k"),
        ("stopSequences: too many", "stop_sequences"),
        ("messages: text content blocks must be non-empty", None),
    ],
)
def test_a_rejection_names_a_sampler_in_the_words_of_the_service_or_of_the_model(words, name):
    assert blamed(Complaint(words=words), sent(ALL).sent) == name


def test_the_system_text_stands_beside_the_messages():
    request = ModelRequest(messages=HELLO.messages, system="be kind")
    assert written(request) == {
        **FRAME,
        "system": [{"text": "be kind"}],
    }
    blank = ModelRequest(messages=HELLO.messages, system=" ")
    assert written(blank) == FRAME


def test_tools_are_told_as_they_are():
    request = ModelRequest(messages=HELLO.messages, tools=(ADD, ToolSpec("bare", "", {"type": "object"})))
    body = written(request)

    assert body["toolConfig"] == {
        "tools": [
            {"toolSpec": {"name": "add", "description": "Adds.", "inputSchema": {"json": ADD.parameters}}},
            {"toolSpec": {"name": "bare", "inputSchema": {"json": {"type": "object"}}}},
        ]
    }


def test_a_history_with_tools_in_it_always_has_some_beside_it():
    """Facts on Bedrock: toolConfig must be present whenever the history has tool blocks."""
    use = Message(
        "assistant",
        (ToolUseBlock("1", "add", {}), ToolUseBlock("2", "sub", {}), ToolUseBlock("3", "add", {})),
    )
    results = user(tuple(ToolResultBlock(own, (TextBlock("a"),)) for own in "123"))
    body = asked(
        ModelRequest(messages=(user("q"), use, results)), model(), Quirks(), refused=frozenset()
    ).body

    spec = {"description": "Was used earlier, and is not there any more."}
    schema = {"inputSchema": {"json": {"type": "object"}}}
    assert body["toolConfig"] == {
        "tools": [{"toolSpec": {"name": name, **spec, **schema}} for name in ("add", "sub")]
    }

    alone = written(ModelRequest(messages=(results,)))
    assert "toolConfig" in alone


@pytest.mark.parametrize(
    ("cache", "places"),
    [(True, ["messages", "system", "tools"]), (False, []), (("system", "messages"), ["messages", "system"])],
)
def test_what_is_worth_caching_is_marked_where_the_model_can(cache, places):
    """Issue 3: cache marks for Anthropic and Bedrock."""
    request = ModelRequest(messages=HELLO.messages, system="s", tools=(ADD,))
    body = written(request, cache=cache)

    ends = {
        "messages": body["messages"][-1]["content"][-1],
        "system": body["system"][-1],
        "tools": body["toolConfig"]["tools"][-1],
    }
    assert [place for place, last in ends.items() if last == MARK] == places


def test_the_same_request_is_the_same_bytes():
    """Issue 3: byte-stable prefixes."""
    bodies = {json.dumps(sent(ALL, reasoning="adaptive", cache=True).body) for _ in range(3)}
    assert len(bodies) == 1


def test_quirks_come_from_the_models_file_and_are_checked():
    entry = model(quirks={"cache": ["tools"], "reasoning": "budget", "region": "eu-west-1"})
    assert quirks_of(entry) == Quirks(cache=("tools",), reasoning="budget", region="eu-west-1")
    assert quirks_of(model(quirks={"cache": True})).cache is True

    with pytest.raises(
        ConfigError, match=r"model 'm': quirks\.reasoning: .*known quirks: region, top_k_field"
    ):
        quirks_of(model(quirks={"reasoning": "much"}))
