from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from eai_mcp.calls import ModelRequest, Samplers, unheard
from eai_mcp.errors import (
    AuthFailed,
    CallError,
    CallTimeout,
    ConfigError,
    ContextOverflow,
    InvalidArgument,
    RateLimited,
    Rejected,
    Unavailable,
)
from eai_mcp.messages import assistant
from eai_mcp.providers import Parts, adapter
from tests.providers.answering import HELLO, Answers, Bytes, model, stream
from tests.providers.anthropic_events import STOP, call, finish, named, start, text


def ok(words: str = "hi") -> httpx2.Response:
    return stream(*map(named, [start(), *text(words), finish(), STOP]))


def refusal(status: int, kind: str, message: str, **headers: str) -> httpx2.Response:
    said = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return httpx2.Response(status, json=said, headers={"request-id": "req_1", **headers})


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


async def test_anthropic_is_asked_with_its_headers():
    answers = Answers(ok())
    entry = model(provider="anthropic", api_key_env="M_KEY", samplers=Samplers(anthropic_beta=("a", "b")))

    response = await adapter(entry, parts(answers, M_KEY="secret"))(HELLO, unheard)

    (request,) = answers.requests
    assert (request.method, str(request.url)) == ("POST", "https://api.anthropic.com/v1/messages")
    sent = {name: request.headers.get(name) for name in ("x-api-key", "anthropic-version", "anthropic-beta")}
    assert sent == {"x-api-key": "secret", "anthropic-version": "2023-06-01", "anthropic-beta": "a, b"}
    assert "authorization" not in request.headers
    assert answers.bodies[0]["max_tokens"] == 8192
    assert (response.message, response.served_by) == (assistant("hi"), "m")


@pytest.mark.parametrize(
    "base",
    ["https://h/x", "https://h/x/", "https://h/x/v1", "https://h/x/v1/", "https://h/x/v1/messages"],
)
async def test_the_base_may_end_before_the_version_or_behind_it(base):
    answers = Answers(ok())
    entry = model(provider="anthropic", base_url=base)

    await adapter(entry, parts(answers))(HELLO, unheard)
    assert str(answers.requests[0].url) == "https://h/x/v1/messages"


async def test_a_token_goes_as_a_bearer_where_the_quirk_says_so():
    """Facts, section 4: `Authorization: Bearer` for OAuth tokens."""
    answers = Answers(ok())
    await call(answers, quirks={"key_header": "Authorization"})(HELLO, unheard)

    assert answers.requests[0].headers["authorization"] == "Bearer hunter2hunter2"
    assert "x-api-key" not in answers.requests[0].headers


def test_a_model_file_that_cannot_work_is_refused_when_it_is_first_used():
    for entry in (
        model(provider="anthropic", base_url="nowhere"),
        model(provider="anthropic", quirks={"x": 1}),
    ):
        with pytest.raises(ConfigError, match="model 'm'"):
            adapter(entry, parts(Answers()))


async def test_a_beta_that_cannot_be_sent_costs_no_request():
    answers = Answers()
    request = ModelRequest(messages=HELLO.messages, samplers=Samplers(anthropic_beta=("a,b",)))

    await failure(InvalidArgument, answers, request)
    assert answers.requests == []


async def test_a_refused_default_is_left_out_and_the_call_goes_on():
    """Issue 3: a 400 that names a sampler which came from a default is retried once without it."""
    words = "`temperature` is deprecated for this model."
    answers = Answers(refusal(400, "invalid_request_error", words), ok(), ok())
    ask = call(answers, samplers=Samplers(temperature=0.2))

    for _ in range(2):
        response = await ask(HELLO, unheard)
        assert response.warnings == (
            "temperature was not sent: this endpoint refuses the temperature of the model's file",
        )
    assert ["temperature" in body for body in answers.bodies] == [True, False, False]


async def test_a_refused_sampler_of_the_caller_is_the_callers_to_change():
    words = "output_config.effort: Input should be 'low', 'medium' or 'high'"
    request = ModelRequest(messages=HELLO.messages, samplers=Samplers(reasoning_effort="max"))

    error = await failure(Rejected, Answers(refusal(400, "invalid_request_error", words)), request)
    assert str(error) == f"model 'm' at api.example rejected the request (HTTP 400): {words}"


@pytest.mark.parametrize(
    ("status", "said", "kind", "retryable"),
    [
        (400, "invalid_request_error", Rejected, False),
        (401, "authentication_error", AuthFailed, False),
        (402, "billing_error", RateLimited, False),
        (403, "permission_error", AuthFailed, False),
        (404, "not_found_error", Rejected, False),
        (409, "conflict_error", Unavailable, True),
        (413, "request_too_large", ContextOverflow, False),
        (429, "rate_limit_error", RateLimited, True),
        (500, "api_error", Unavailable, True),
        (504, "timeout_error", CallTimeout, True),
        (529, "overloaded_error", Unavailable, True),
    ],
)
async def test_errors_are_told_apart(status, said, kind, retryable):
    """Facts, section 4, "Errors"; issue 3: with request id, retryable or not, retry-after."""
    answers = Answers(refusal(status, said, "because hunter2hunter2", **{"retry-after": "7"}))
    error = await failure(kind, answers)

    assert (error.retryable, error.retry_after_s) == (retryable, 7.0 if retryable else None)
    assert (error.details["request_id"], error.details["status"]) == ("req_1", status)


@pytest.mark.parametrize("past", [True, False])
async def test_the_deadline_ends_the_call_with_the_text_so_far(past):
    answers = Answers(stream(named(start()), *map(named, text("so far")), None))
    deadline = anyio.current_time() + (-1 if past else 0.05)

    error = await failure(CallTimeout, answers, ModelRequest(messages=HELLO.messages, deadline=deadline))
    assert (error.partial, len(answers.requests)) == (("", 0) if past else ("so far", 1))


async def test_a_connection_that_breaks_off_keeps_the_text_so_far():
    answers = Answers(stream(named(start()), *map(named, text("so far")), httpx2.ReadError("reset")))
    error: CallError = await failure(Unavailable, answers)

    assert (error.partial, error.retryable) == ("so far", True)


async def test_a_finished_reply_does_not_wait_for_the_connection_to_end():
    request = ModelRequest(messages=HELLO.messages, deadline=anyio.current_time() + 3)
    answers = Answers(stream(*map(named, [start(), *text("hi"), finish(), STOP]), None))

    with anyio.fail_after(2):
        assert (await call(answers)(request, unheard)).message == assistant("hi")


async def test_cancelling_closes_the_response_and_is_not_an_error():
    """Issue 3: cancellation that closes the connection at once."""
    body = Bytes([*map(named, [start(), *text("so far")]), None])
    ask = call(Answers(httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=body)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def hear(_: object) -> None:
                tasks.cancel_scope.cancel()

            tasks.start_soon(ask, HELLO, hear)
    assert body.closed
