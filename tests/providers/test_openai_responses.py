"""The whole way of a call: what is asked, and what becomes of answers that are none."""

from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx2
import pytest

from eai_mcp import wire
from eai_mcp.calls import ModelRequest, Samplers, TextDelta, ToolSpec, unheard
from eai_mcp.errors import (
    AuthFailed,
    CallError,
    CallTimeout,
    ConfigError,
    ContextOverflow,
    RateLimited,
    Rejected,
    Unavailable,
)
from eai_mcp.messages import JsonObject, assistant
from eai_mcp.providers import Parts, adapter
from eai_mcp.providers.openai_responses_quirks import Quirks, quirks_of
from eai_mcp.providers.openai_responses_request import asked
from tests.providers.answering import HELLO, Answers, Bytes, event
from tests.providers.openai_responses_events import call, ended, entry, message, replied, said

STREAM = {"content-type": "text/event-stream"}
FRAME = {
    "model": "wire-1",
    "input": [{"role": "user", "content": "hello"}],
    "include": ["reasoning.encrypted_content"],
    "store": False,
    "stream": True,
}


def parts(answers: Answers, **environ: str) -> Parts:
    client = answers.client()
    return Parts(environ=environ, client=lambda: client, closing=AsyncExitStack(), cache=Path())


def ok() -> httpx2.Response:
    return replied(ended(message("hi")))


def refusal(param: str, words: str = "Unsupported parameter") -> httpx2.Response:
    return httpx2.Response(400, json={"error": {"message": words, "param": param}})


def sent(own: Samplers = Samplers(), /, *, defaults: Samplers = Samplers(), refused=(), **quirks):
    request = ModelRequest(messages=HELLO.messages, samplers=own)
    return asked(request, entry(samplers=defaults), Quirks(**quirks), refused=frozenset(refused))


async def failure(kind: type[Exception], answers: Answers, request: ModelRequest = HELLO, **fields):
    with anyio.fail_after(5), pytest.raises(kind) as caught:
        await call(answers, **fields)(request, unheard)
    assert type(caught.value) is kind
    assert "hunter2" not in str(caught.value)
    return caught.value


async def test_openai_is_asked_and_told_to_keep_nothing():
    """Issue 3: OpenAI Responses (`store: false`, encrypted reasoning)."""
    answers = Answers(ok())
    response = await adapter(entry(api_key_env="M_KEY"), parts(answers, M_KEY="secret"))(HELLO, unheard)

    (request,) = answers.requests
    assert (request.method, str(request.url)) == ("POST", "https://api.openai.com/v1/responses")
    assert request.headers["authorization"] == "Bearer secret"
    assert answers.bodies == [FRAME]
    assert (response.message, response.served_by, response.warnings) == (assistant("hi"), "m", ())


@pytest.mark.parametrize(
    ("base_url", "quirks"),
    [
        ("https://x.openai.azure.com/openai/v1", {}),
        ("https://gateway.example/openai/v1", {"key_header": "api-key"}),
    ],
)
async def test_azure_has_its_key_in_a_header_of_its_own(base_url, quirks):
    answers = Answers(ok())
    asks = entry(api_key_env="M_KEY", base_url=base_url, quirks=quirks)
    await adapter(asks, parts(answers, M_KEY="secret"))(HELLO, unheard)

    (request,) = answers.requests
    assert str(request.url) == f"{base_url}/responses"
    assert request.headers["api-key"] == "secret"
    assert "authorization" not in request.headers


def test_a_quirk_that_cannot_be_is_named():
    for quirks, words in (
        ({"x": 1}, "quirks.x: Unexpected keyword argument"),
        ({"reasoning_summary": "long"}, "quirks.reasoning_summary: Input should be"),
    ):
        with pytest.raises(ConfigError, match=f"model 'm': {words}.*known quirks: reasoning_summary"):
            quirks_of(entry(quirks=quirks), "h")
    with pytest.raises(ConfigError, match="base_url"):
        adapter(entry(base_url="nowhere"), parts(Answers()))


def test_a_host_that_only_sounds_like_azure_is_not_azure():
    assert (
        quirks_of(entry(), "x.openai.azure.com.evil")
        == quirks_of(entry(), "evilopenai.azure.com")
        == Quirks()
    )


def test_samplers_are_sent_as_the_endpoint_names_them_and_zero_is_a_value():
    """Issue 3: all samplers of `talk`, and a warning in the result when something could not be said.

    Issue 3: the Responses API has no stop, seed, penalties, top_k at all."""
    told = sent(
        Samplers(
            temperature=0.0,
            top_p=0,
            top_k=0,
            min_p=0.1,
            max_tokens=9,
            repetition_penalty=1.1,
            frequency_penalty=0,
            presence_penalty=-1.0,
            stop_sequences=("a",),
            seed=0,
            anthropic_beta=("x",),
            reasoning_effort="none",
        )
    )

    said = {"temperature": 0.0, "top_p": 0, "max_output_tokens": 9, "reasoning": {"effort": "none"}}
    assert told.body == {**FRAME, **said}
    unsaid: tuple[str, ...] = (
        "top_k",
        "min_p",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
    )
    unsaid += ("stop_sequences", "seed", "anthropic_beta")
    assert told.warnings == tuple(f"{name} was not sent: this endpoint does not take it" for name in unsaid)


def test_the_system_text_and_the_tools_have_fields_of_their_own():
    schema: JsonObject = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = ModelRequest(
        messages=HELLO.messages, system="be kind", tools=(ToolSpec("look", "Looks.", schema),)
    )

    body = asked(request, entry(), Quirks(), refused=frozenset()).body
    assert body["instructions"] == "be kind"
    assert body["tools"] == [
        {"type": "function", "name": "look", "description": "Looks.", "parameters": schema, "strict": False}
    ]


def test_the_same_request_is_the_same_bytes_and_a_longer_history_begins_with_it():
    """Issue 3: prompt caching: byte-stable prefixes."""
    longer = ModelRequest(messages=(*HELLO.messages, assistant("hi")))
    first, second, third = [
        asked(request, entry(), Quirks(), refused=frozenset()).body for request in (HELLO, HELLO, longer)
    ]

    assert list(first) == list(second) == list(third)
    assert first == second
    assert wire.items(first["input"]) == wire.items(third["input"])[:1]


def test_a_summary_of_the_reasoning_is_asked_for_where_the_model_file_says_so():
    assert sent(reasoning_summary="auto").body["reasoning"] == {"summary": "auto"}
    both = sent(Samplers(reasoning_effort="high"), reasoning_summary="concise")
    assert both.body["reasoning"] == {"effort": "high", "summary": "concise"}


async def test_a_model_without_reasoning_is_asked_again_without_what_it_refuses():
    answers = Answers(
        refusal("include", "Encrypted content is not supported with this model."),
        refusal("reasoning.summary"),
        ok(),
        ok(),
    )
    ask = call(answers, quirks={"reasoning_summary": "auto"})

    for _ in range(2):
        response = await ask(HELLO, unheard)
        assert (response.message, response.warnings) == (assistant("hi"), ())
    assert ["include" in body for body in answers.bodies] == [True, False, False, False]
    assert ["reasoning" in body for body in answers.bodies] == [True, True, False, False]


@pytest.mark.parametrize(
    ("own", "param", "words"),
    [
        ({"temperature": 0.2}, "temperature", "Unsupported parameter: 'temperature' is not supported"),
        ({"reasoning_effort": "low"}, "reasoning.effort", "Unsupported value"),
        ({"max_tokens": 1}, "max_output_tokens", "integer below minimum value"),
        ({"top_p": 0.5}, None, "Unsupported parameter: 'top_p' is not supported"),
    ],
)
async def test_a_refused_default_is_left_out_and_a_refused_choice_is_reported(own, param, words):
    """Issue 3: a 400 that names a sampler which came from a default is retried once without it; one that the
    caller set is reported."""
    (name,) = own
    answers = Answers(refusal(param, words), ok())
    response = await call(answers, samplers=Samplers(**own))(HELLO, unheard)
    assert response.warnings == (
        f"{name} was not sent: this endpoint refuses the {name} of the model's file",
    )
    assert {**FRAME, **answers.bodies[1]} == FRAME

    chosen = ModelRequest(messages=HELLO.messages, samplers=Samplers(**own))
    error = await failure(Rejected, Answers(refusal(param, words)), chosen)
    assert words in str(error)


async def test_statuses_become_errors_with_what_the_provider_said():
    """Issue 3: errors mapped once, with request id, retryable or not, retry-after in all its forms."""
    wrong = {"error": {"message": "key hunter2hunter2 is wrong", "code": "invalid_api_key"}}
    answer = httpx2.Response(401, json=wrong, headers={"x-request-id": "r1"})
    error = await failure(AuthFailed, Answers(answer), api_key_env="M_KEY")
    assert (error.details["request_id"], error.retryable) == ("r1", False)
    assert str(error).endswith("(HTTP 401): key [hidden] is wrong. Check M_KEY")

    limited = httpx2.Response(429, json={"error": {"message": "slow"}}, headers={"retry-after-ms": "1500"})
    assert (await failure(RateLimited, Answers(limited))).retry_after_s == 1.5
    long = {"error": {"code": "context_length_exceeded", "message": "too long"}}
    await failure(ContextOverflow, Answers(httpx2.Response(400, json=long)))


async def test_a_reply_that_does_not_stream_is_taken_whole():
    body = ended(message("hi"))["response"]
    heard: list[object] = []

    async def hear(event: object) -> None:
        heard.append(event)

    response = await call(Answers(httpx2.Response(200, json=body)))(HELLO, hear)
    assert (response.message, response.usage.input, heard) == (assistant("hi"), 11, [TextDelta("hi")])


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx2.Response(200, json={"error": {"message": "boom"}}), "is not available: boom"),
        (httpx2.Response(200, json={"object": "response", "status": "failed", "error": {"message": "boom"}}),
         "is not available: boom"),
        (httpx2.Response(200, json={"ok": True}), "application/json, which is no reply (11 bytes)"),
        (httpx2.Response(200, json={"object": "response", "status": "queued", "output": []}),
         "ended the stream before the reply was finished"),
        (httpx2.Response(200, content=b"{", headers={"content-type": "application/json"}),
         "sent a piece of the reply that is not JSON"),
        (httpx2.Response(200, text="hello"), "with text/plain, which is no reply"),
        (httpx2.Response(200, html="<title>Portal</title>"), "(a page titled 'Portal')"),
        (httpx2.Response(200, content=b"", headers=STREAM), "with text/event-stream, which is no reply"),
    ],
)  # fmt: skip
async def test_a_success_that_is_no_reply_is_an_error(response, words):
    """Issue 3: also a plain 200 with an HTML or text body, from proxies."""
    assert words in str(await failure(Unavailable, Answers(response)))


@pytest.mark.parametrize(
    ("last", "kind", "words"),
    [
        ([], Unavailable, "ended the stream before the reply was finished"),
        (["[DONE]"], Unavailable, "ended the stream before the reply was finished"),
        ([httpx2.ReadError("reset")], Unavailable, "broke off"),
        ([httpx2.ReadTimeout("")], CallTimeout, "fell silent for too long"),
        ([b"data: {\n\n"], Unavailable, "a piece of the reply that is not JSON"),
        ([event("{", "response.output_text.delta")], Unavailable, "a piece of the reply that is not JSON"),
    ],
)
async def test_a_reply_that_breaks_off_is_an_error_with_the_text_so_far(last, kind, words):
    """Issue 3: a stream that ends without its terminal event is an error (with the partial text kept), as is
    a corrupt chunk."""
    error: CallError = await failure(kind, Answers(replied(said("so far"), *last)))

    assert (error.partial, error.retryable) == ("so far", True)
    assert words in str(error)


async def test_nothing_counts_after_the_last_event():
    late = [event("not json"), event({"type": "error", "message": "late"}, "error"), "[DONE]", None]
    with anyio.fail_after(5):
        response = await call(Answers(replied(ended(message("hi")), *late)))(HELLO, unheard)

    assert response.message == assistant("hi")


async def test_cancelling_closes_the_response_and_is_not_an_error():
    """Issue 3: cancellation that closes the connection at once."""
    body = Bytes([event(said("so far")), None])
    ask = call(Answers(httpx2.Response(200, headers=STREAM, stream=body)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def hear(_: object) -> None:
                tasks.cancel_scope.cancel()

            tasks.start_soon(ask, HELLO, hear)
    assert body.closed
