import pytest

from eai_mcp.calls import ModelRequest, Samplers, ToolSpec
from eai_mcp.errors import ConfigError
from eai_mcp.messages import user
from eai_mcp.providers.asking import blamed
from eai_mcp.providers.complaints import Complaint
from eai_mcp.providers.openai_chat_quirks import Quirks, quirks_of
from eai_mcp.providers.openai_chat_request import asked
from tests.providers.answering import HELLO, model

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
    anthropic_beta=("x",),
    reasoning_effort="none",
)
FRAME = {
    "model": "wire-1",
    "messages": [{"role": "user", "content": "hello"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}


def sent(own: Samplers = Samplers(), /, *, defaults: Samplers = Samplers(), refused=(), **quirks):
    request = ModelRequest(messages=(user("hello"),), samplers=own)
    return asked(request, model(samplers=defaults), Quirks(**quirks), refused=frozenset(refused))


def test_nothing_is_sent_that_nobody_asked_for():
    assert sent().body == FRAME
    assert sent().warnings == ()


def test_every_sampler_is_sent_in_the_endpoints_words_and_zero_is_a_value():
    told = sent(ALL)

    assert told.body == {
        **FRAME,
        "temperature": 0.0,
        "top_p": 0.5,
        "max_tokens": 9,
        "frequency_penalty": 0,
        "presence_penalty": -1.0,
        "stop": ["a", "b"],
        "seed": 0,
        "reasoning_effort": "none",
    }
    assert told.warnings == tuple(
        f"{name} was not sent: this endpoint does not take it"
        for name in ("top_k", "min_p", "repetition_penalty", "anthropic_beta")
    )


def test_samplers_beyond_openais_are_sent_where_the_endpoint_takes_them():
    listed = sent(ALL, samplers=("top_k", "min_p"))
    assert (listed.body["top_k"], listed.body["min_p"]) == (0, 0.1)
    assert "repetition_penalty" not in listed.body

    named = sent(ALL, samplers={"repetition_penalty": "repeat_penalty"})
    assert named.body["repeat_penalty"] == 1.1
    assert "repetition_penalty" not in named.body


def test_fields_are_named_as_the_quirks_say():
    told = sent(
        Samplers(max_tokens=9, seed=1), max_tokens_field="max_completion_tokens", seed_field="random_seed"
    )

    assert told.body == {**FRAME, "max_completion_tokens": 9, "random_seed": 1}


def test_the_callers_samplers_go_over_the_model_files():
    told = sent(Samplers(temperature=0.0), defaults=Samplers(temperature=1.0, top_p=0.9))

    assert (told.body["temperature"], told.body["top_p"]) == (0.0, 0.9)


def test_an_empty_list_of_stops_takes_the_model_files_away():
    told = sent(Samplers(stop_sequences=()), defaults=Samplers(stop_sequences=("a",)))

    assert (told.body, told.warnings) == (FRAME, ())


def test_a_refused_default_is_left_out_but_not_the_callers_own():
    defaults = Samplers(temperature=1.0)

    told = sent(defaults=defaults, refused=["temperature"])
    assert (told.body, told.warnings) == (
        FRAME,
        ("temperature was not sent: this endpoint refuses the temperature of the model's file",),
    )
    assert (
        sent(Samplers(temperature=0.5), defaults=defaults, refused=["temperature"]).body["temperature"] == 0.5
    )


def test_tools_are_functions():
    tool = ToolSpec("look", "Looks.", {"type": "object"})
    request = ModelRequest(messages=HELLO.messages, tools=(tool,))

    assert asked(request, model(), Quirks(), refused=frozenset()).body["tools"] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
        }
    ]


def test_usage_is_not_asked_for_where_that_is_refused():
    assert "stream_options" not in sent(usage_option=False).body


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (Complaint(param="max_completion_tokens"), "max_tokens"),
        (Complaint(param="stop"), "stop_sequences"),
        (Complaint(words="Unsupported value: 'temperature' does not support 0.2"), "temperature"),
        (Complaint(words="Unrecognized request argument supplied: top_p"), "top_p"),
        (Complaint(words="unknown field `seed`"), "seed"),
        (Complaint(words="top_p and temperature cannot both be set", param="top_p"), "top_p"),
        (Complaint(words="please stop; the seed is bad"), None),
        (Complaint(words="top_protocol is unknown", param="messages"), None),
        (Complaint(), None),
    ],
)
def test_a_rejection_is_traced_to_the_sampler_that_it_names(said, name):
    fields = sent(ALL, max_tokens_field="max_completion_tokens").sent

    assert blamed(said, fields) == name


@pytest.mark.parametrize(
    ("host", "quirks"),
    [
        ("api.openai.com", Quirks(max_tokens_field="max_completion_tokens")),
        ("x.openai.azure.com", Quirks(max_tokens_field="max_completion_tokens", key_header="api-key")),
        ("api.mistral.ai", Quirks(seed_field="random_seed", usage_option=False, mistral_tools=True)),
        ("api.deepseek.com", Quirks(reasoning_back="reasoning_content")),
        ("notapi.deepseek.com.evil", Quirks()),
        ("127.0.0.1", Quirks()),
    ],
)
def test_hosts_have_their_quirks(host, quirks):
    assert quirks_of(model(), host) == quirks


def test_the_models_own_quirks_go_over_those_of_the_host():
    entry = model(quirks={"max_tokens_field": "max_tokens", "samplers": ["top_k"]})

    assert quirks_of(entry, "api.openai.com") == Quirks(samplers=("top_k",))
    table = model(quirks={"samplers": {"top_k": "top_k", "repetition_penalty": "repeat_penalty"}})
    assert quirks_of(table, "h").sampler_fields["repetition_penalty"] == "repeat_penalty"


@pytest.mark.parametrize(
    ("quirks", "words"),
    [
        ({"max_token_field": "max_tokens"}, "quirks.max_token_field: Unexpected keyword argument; known"),
        ({"max_tokens_field": "tokens"}, "quirks.max_tokens_field: Input should be 'max_tokens' or"),
        ({"samplers": ["top_x"]}, "quirks.samplers: Input should be 'top_k', 'min_p' or"),
    ],
)  # fmt: skip
def test_a_quirk_that_cannot_be_is_named(quirks, words):
    with pytest.raises(ConfigError) as caught:
        quirks_of(model(quirks=quirks), "h")

    assert f"model 'm': {words}" in str(caught.value)
