"""What is asked of Gemini; facts are those of section 6 of the providers' facts."""

from typing import Any

import pytest

from eai_mcp import wire
from eai_mcp.calls import ModelRequest, Samplers, ToolSpec
from eai_mcp.errors import ConfigError
from eai_mcp.messages import user
from eai_mcp.providers.asking import blamed
from eai_mcp.providers.complaints import Complaint
from eai_mcp.providers.gemini_quirks import Quirks, quirks_of
from eai_mcp.providers.gemini_request import asked
from tests.providers.answering import HELLO, model

CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
NOT_TAKEN = "{} was not sent: this endpoint does not take it"
BUDGET: dict[str, Any] = {"thinking": "budget"}


def sent(own: Samplers = Samplers(), /, *, defaults: Samplers = Samplers(), refused=(), **quirks: Any):
    request = ModelRequest(messages=(user("hello"),), samplers=own)
    return asked(request, model(samplers=defaults), Quirks(**quirks), refused=frozenset(refused))


def thinking(effort: Any, limit: int | None = None, **quirks: Any) -> Any:
    body: Any = sent(Samplers(reasoning_effort=effort, max_tokens=limit), **quirks).body
    return body["generationConfig"]["thinkingConfig"]


def test_nothing_is_sent_that_nobody_asked_for():
    told = sent()

    assert (told.body, told.warnings, told.sent, told.headers) == (CONTENTS, (), {}, {})


def test_samplers_are_sent_in_the_endpoints_words_and_zero_is_a_value():
    """Issue 3: all samplers of `talk`, sent when given (0 is given), a warning when one cannot be said."""
    told = sent(
        Samplers(
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
            anthropic_beta=("x",),
        )
    )

    assert told.body == {
        **CONTENTS,
        "generationConfig": {
            "temperature": 0.0,
            "topP": 0.5,
            "topK": 0,
            "seed": 0,
            "presencePenalty": -1.0,
            "frequencyPenalty": 0,
            "maxOutputTokens": 9,
            "stopSequences": ["a", "b"],
        },
    }
    assert told.warnings == tuple(map(NOT_TAKEN.format, ("min_p", "repetition_penalty", "anthropic_beta")))


def test_a_model_that_takes_few_samplers_is_sent_no_others():
    told = sent(Samplers(temperature=0.5, presence_penalty=1.0), samplers=("temperature",))

    assert told.body == {**CONTENTS, "generationConfig": {"temperature": 0.5}}
    assert told.warnings == (NOT_TAKEN.format("presence_penalty"),)


@pytest.mark.parametrize(
    ("effort", "level"),
    [("minimal", "minimal"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "high"),
     ("max", "high")],
)  # fmt: skip
def test_effort_is_a_level_and_the_thoughts_are_asked_for(effort, level):
    """Facts: thinkingConfig {thinkingLevel (3), includeThoughts}; issue 3: `reasoning_effort` mapped."""
    assert thinking(effort) == {"thinkingLevel": level, "includeThoughts": True}
    told = sent(Samplers(reasoning_effort=effort))
    assert (told.sent, told.warnings) == (
        {"reasoning_effort": "generationConfig.thinkingConfig.thinkingLevel"},
        (),
    )


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh", "max"])
@pytest.mark.parametrize("limit", [None, 1, 1_000, 100_000])
def test_effort_is_a_budget_of_tokens_where_the_model_is_told_so(effort, limit):
    """Facts: thinkingConfig {thinkingBudget (2.5)}."""
    config = thinking(effort, limit, **BUDGET)

    assert config.pop("includeThoughts") is True
    assert 512 <= config.pop("thinkingBudget") <= 24_576
    assert config == {}


def test_a_budget_leaves_room_for_words():
    assert thinking("max", 8_000, **BUDGET)["thinkingBudget"] == 6_000


def test_no_effort_turns_thinking_off_or_down():
    least = "reasoning_effort none was sent as minimal: this model cannot be told not to think"
    none = Samplers(reasoning_effort="none")
    pro = {**BUDGET, "can_disable_thinking": False}

    assert (thinking("none", **BUDGET), sent(none, **BUDGET).warnings) == ({"thinkingBudget": 0}, ())
    assert (thinking("none", **pro), sent(none, **pro).warnings) == ({"thinkingBudget": 512}, (least,))
    assert (thinking("none"), sent(none).warnings) == ({"thinkingLevel": "minimal"}, (least,))


def test_a_model_that_cannot_think_is_not_told_to():
    assert sent(Samplers(reasoning_effort="none"), thinking="none").warnings == ()
    told = sent(Samplers(reasoning_effort="low"), thinking="none")
    assert (told.body, told.warnings) == (CONTENTS, (NOT_TAKEN.format("reasoning_effort"),))


def test_an_effort_of_the_models_file_that_was_refused_is_left_out():
    told = sent(defaults=Samplers(reasoning_effort="high"), refused=["reasoning_effort"])

    assert told.body == CONTENTS
    assert told.warnings == (
        "reasoning_effort was not sent: this endpoint refuses the reasoning_effort of the model's file",
    )


def test_system_and_tools_go_first_and_a_schema_goes_whole():
    """Facts: `systemInstruction`, `tools [{functionDeclarations}]`."""
    schema: Any = {"properties": {"a": {"oneOf": [{"const": 1}]}}, "additionalProperties": False}
    tools = (ToolSpec("look", "Looks.", schema), ToolSpec("stop", "", {"type": "object"}))
    request = ModelRequest(messages=HELLO.messages, system="be kind", tools=tools)

    body = asked(request, model(), Quirks(), refused=frozenset()).body
    assert [*body] == ["systemInstruction", "tools", "contents"]
    assert body["systemInstruction"] == {"parts": [{"text": "be kind"}]}
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "look",
                    "description": "Looks.",
                    "parametersJsonSchema": {"type": "object", **schema},
                },
                {"name": "stop", "parametersJsonSchema": {"type": "object"}},
            ]
        }
    ]


def test_a_longer_history_begins_with_the_same_bytes():
    """Issue 3: prompt caching: byte-stable prefixes."""
    short = ModelRequest(messages=(user("a"),), system="s", tools=(ToolSpec("t", "d", {}),))
    longer = ModelRequest(messages=(user("a"), *HELLO.messages), system="s", tools=short.tools)

    def body(request: ModelRequest) -> str:
        return wire.written(asked(request, model(), Quirks(), refused=frozenset()).body)

    assert body(longer).startswith(body(short).removesuffix("]}]}"))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (Complaint(words="it has a topK value of 100 but the supported range is from 1"), "top_k"),
        (Complaint(words="* GenerateContentRequest.generation_config.temperature: no"), "temperature"),
        (Complaint(words="no", param="generationConfig.maxOutputTokens"), "max_tokens"),
        (Complaint(words="no", param="request.generationConfig.maxOutputTokens"), "max_tokens"),
        (Complaint(words="no", param="generationConfig.thinkingConfig.thinkingLevel"), "reasoning_effort"),
        (Complaint(words="no", param="contents[0].parts"), None),
    ],
)
def test_the_sampler_that_a_refusal_is_about_is_known(said, name):
    told = sent(Samplers(temperature=1.0, top_k=100, max_tokens=9, reasoning_effort="low"))

    assert blamed(said, told.sent) == name


@pytest.mark.parametrize(
    ("quirks", "words"),
    [({"thinking": "adaptive"}, "quirks.thinking"), ({"thinkin": "level"}, "quirks.thinkin")],
)
def test_a_quirk_that_cannot_be_is_refused_by_name(quirks, words):
    with pytest.raises(ConfigError, match=words) as caught:
        quirks_of(model(quirks=quirks))
    assert "known quirks: thinking, can_disable_thinking, samplers, media_in_results" in str(caught.value)
