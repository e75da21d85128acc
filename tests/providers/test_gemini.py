from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from eai_mcp.calls import ModelRequest, Samplers, unheard
from eai_mcp.errors import (
    AuthFailed,
    CallTimeout,
    ConfigError,
    ContextOverflow,
    RateLimited,
    Rejected,
    Unavailable,
)
from eai_mcp.messages import assistant
from eai_mcp.providers import Parts, adapter
from tests.providers.answering import HELLO, Answers, Bytes, model, stream
from tests.providers.gemini_chunks import STOP, call, chunk, event, text

GOOGLE = "type.googleapis.com/google.rpc"


def ok() -> httpx2.Response:
    return stream(event(chunk(text("hi"))), event(STOP))


def refusal(status: int, message: str, *details: dict[str, Any]) -> httpx2.Response:
    return httpx2.Response(
        status, json={"error": {"code": status, "message": message, "details": [*details]}}
    )


def parts(answers: Answers, **environ: str) -> Parts:
    client = answers.client()
    return Parts(environ=environ, client=lambda: client, closing=AsyncExitStack(), cache=Path())


async def failure(
    kind: type[Exception], answers: Answers, request: ModelRequest = HELLO, **fields: Any
) -> Any:
    with anyio.fail_after(5), pytest.raises(kind) as caught:
        await call(answers, **fields)(request, unheard)
    assert type(caught.value) is kind
    assert "hunter2" not in str(caught.value)
    return caught.value


async def test_gemini_is_asked_at_its_own_address_with_its_own_header():
    """Facts, section 6: `…/v1beta/models/M:streamGenerateContent?alt=sse`, header `x-goog-api-key`."""
    answers = Answers(ok())
    entry = model(provider="gemini", api_key_env="M_KEY")

    response = await adapter(entry, parts(answers, M_KEY="secret"))(HELLO, unheard)

    (request,) = answers.requests
    assert (request.method, str(request.url)) == (
        "POST",
        "https://generativelanguage.googleapis.com/v1beta/models/wire-1:streamGenerateContent?alt=sse",
    )
    assert (request.headers["x-goog-api-key"], "authorization" in request.headers) == ("secret", False)
    assert answers.bodies == [{"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}]
    assert (response.message, response.served_by) == (assistant("hi"), "m")


@pytest.mark.parametrize(
    ("base", "wire_model", "url"),
    [
        ("https://h/v1/", "a", "https://h/v1/models/a:streamGenerateContent?alt=sse"),
        ("https://h/v1?x=1", "a", "https://h/v1/models/a:streamGenerateContent?x=1&alt=sse"),
        ("https://h/v1?alt=json", "a", "https://h/v1/models/a:streamGenerateContent?alt=sse"),
        ("https://h", "models/a", "https://h/models/a:streamGenerateContent?alt=sse"),
        ("https://h", "tunedModels/a-1", "https://h/tunedModels/a-1:streamGenerateContent?alt=sse"),
        ("https://h", "a?b#c d", "https://h/models/a%3Fb%23c%20d:streamGenerateContent?alt=sse"),
    ],
)
async def test_the_address_is_made_of_the_base_and_the_model(base, wire_model, url):
    answers = Answers(ok())
    await call(answers, base_url=base, model=wire_model)(HELLO, unheard)

    assert str(answers.requests[0].url) == url


async def test_a_token_goes_as_a_bearer_where_the_quirk_says_so():
    answers = Answers(ok())
    await call(answers, quirks={"key_header": "Authorization"})(HELLO, unheard)

    assert answers.requests[0].headers["authorization"] == "Bearer hunter2hunter2"
    assert "x-goog-api-key" not in answers.requests[0].headers


def test_a_model_file_that_cannot_work_is_refused_when_it_is_first_used():
    for fields in ({"base_url": "nowhere"}, {"quirks": {"x": 1}}):
        with pytest.raises(ConfigError, match="model 'm'"):
            adapter(model(provider="gemini", **fields), parts(Answers()))


async def test_a_refused_default_is_left_out_and_the_call_goes_on():
    """Issue 3: a 400 that names a sampler which came from a default is retried once without it."""
    violation = {"field": "generation_config.max_output_tokens", "description": "too large"}
    blamed = {"@type": f"{GOOGLE}.BadRequest", "fieldViolations": [violation]}
    answers = Answers(refusal(400, "Request contains an invalid argument.", blamed), ok(), ok())
    ask = call(answers, samplers=Samplers(max_tokens=10**6))

    for _ in range(2):
        response = await ask(HELLO, unheard)
        assert response.warnings == (
            "max_tokens was not sent: this endpoint refuses the max_tokens of the model's file",
        )
    assert ["generationConfig" in body for body in answers.bodies] == [True, False, False]


async def test_a_refused_sampler_of_the_caller_is_the_callers_to_change():
    words = "it has a topK value of 100 but the supported range is from 1 (inclusive) to 65 (exclusive)"
    request = ModelRequest(messages=HELLO.messages, samplers=Samplers(top_k=100))

    error = await failure(Rejected, Answers(refusal(400, words)), request)
    assert str(error) == f"model 'm' at api.example rejected the request (HTTP 400): {words}"


@pytest.mark.parametrize(
    ("status", "words", "kind", "retryable"),
    [
        (400, "Request contains an invalid argument.", Rejected, False),
        (400, "API key not valid. Please pass a valid API key.", AuthFailed, False),
        (400, "The input token count (9) exceeds the maximum number of tokens allowed (8).", ContextOverflow,
         False),
        (403, "Permission denied", AuthFailed, False),
        (404, "models/x is not found for API version v1beta", Rejected, False),
        (429, "Resource has been exhausted", RateLimited, True),
        (500, "An internal error has occurred", Unavailable, True),
        (503, "The model is overloaded. hunter2hunter2", Unavailable, True),
        (504, "Deadline expired", CallTimeout, True),
    ],
)  # fmt: skip
async def test_errors_are_told_apart(status, words, kind, retryable):
    """Facts, section 6: errors `{error:{code,message,status,details[]}}`; a bad key is 400."""
    error = await failure(kind, Answers(refusal(status, words)))

    assert (error.retryable, error.details["status"]) == (retryable, status)


async def test_a_key_that_expired_is_known_by_the_name_of_its_error():
    details = {"@type": f"{GOOGLE}.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    error = await failure(AuthFailed, Answers(refusal(400, "API key expired.", details)), api_key_env="M_KEY")

    assert str(error).endswith("does not accept the key (HTTP 400): API key expired. Check M_KEY")


async def test_the_wait_stands_in_the_body():
    """Facts, section 6: 429 carries `RetryInfo.retryDelay` ("34.4s") in details and no header."""
    details = {"@type": f"{GOOGLE}.RetryInfo", "retryDelay": "34.4s"}
    error = await failure(RateLimited, Answers(refusal(429, "Quota exceeded.", details)))

    assert error.retry_after_s == 34.4
    assert str(error).endswith("asks to wait (HTTP 429): Quota exceeded. Try again in 35 s")


async def test_a_list_of_chunks_is_taken_too():
    """Facts, section 6: without `alt=sse` the stream is one JSON array."""
    answers = Answers(httpx2.Response(200, json=[chunk(text("h")), chunk(text("i")), STOP]))

    with anyio.fail_after(5):
        assert (await call(answers)(HELLO, unheard)).message == assistant("hi")


async def test_a_list_that_breaks_off_is_an_error():
    body = b'[{"candidates": [{"content": {"parts": [{"text": "hi"}]}}]}'
    answers = Answers(httpx2.Response(200, headers={"content-type": "application/json"}, content=body))

    await failure(Unavailable, answers)
    await failure(Unavailable, Answers(httpx2.Response(200, json=[chunk(text("hi"))])))
    assert "is no reply" in str(await failure(Unavailable, Answers(httpx2.Response(200, json={"x": 1}))))


async def test_what_follows_the_reason_is_waited_for():
    used = {"promptTokenCount": 3, "candidatesTokenCount": 2}
    answers = Answers(stream(event(chunk(text("hi"), finish="STOP")), event({"usageMetadata": used})))

    with anyio.fail_after(5):
        assert (await call(answers)(HELLO, unheard)).usage.input == 3


@pytest.mark.parametrize("past", [True, False])
async def test_the_deadline_ends_the_call_with_the_text_so_far(past):
    answers = Answers(stream(event(chunk(text("so far"))), None))
    deadline = anyio.current_time() + (-1 if past else 0.05)

    error = await failure(CallTimeout, answers, ModelRequest(messages=HELLO.messages, deadline=deadline))
    assert (error.partial, len(answers.requests)) == (("", 0) if past else ("so far", 1))


async def test_a_connection_that_breaks_off_keeps_the_text_so_far():
    answers = Answers(stream(event(chunk(text("so far"))), httpx2.ReadError("reset")))
    error = await failure(Unavailable, answers)

    assert (error.partial, error.retryable) == ("so far", True)


async def test_cancelling_closes_the_response_and_is_not_an_error():
    """Issue 3: cancellation that closes the connection at once."""
    body = Bytes([event(chunk(text("so far"))), None])
    ask = call(Answers(httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=body)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def hear(_: object) -> None:
                tasks.cancel_scope.cancel()

            tasks.start_soon(ask, HELLO, hear)
    assert body.closed
