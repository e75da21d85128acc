from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx2
import pytest

from eai_mcp.calls import ModelRequest, Samplers, TextDelta, unheard
from eai_mcp.errors import (
    AuthFailed,
    CallError,
    CallTimeout,
    ConfigError,
    ContextOverflow,
    MissingKey,
    RateLimited,
    Rejected,
    Unavailable,
)
from eai_mcp.messages import assistant
from eai_mcp.providers import Parts, adapter
from tests.providers.answering import HELLO, Answers, Bytes, call, chunk, event, model, stream

STREAM = {"content-type": "text/event-stream"}
PAGE = b"<html><title>Portal</title><body>secret</body></html>"


def parts(answers: Answers, **environ: str) -> Parts:
    client = answers.client()
    return Parts(environ=environ, client=lambda: client, closing=AsyncExitStack(), cache=Path())


def ok(*more) -> httpx2.Response:
    return stream(chunk({"content": "hi"}), chunk({}, "stop"), "[DONE]", *more)


def refusal(param: str) -> httpx2.Response:
    error = {"message": f"Unsupported parameter: '{param}'", "param": param, "code": "unsupported_parameter"}
    return httpx2.Response(400, json={"error": error}, headers={"x-request-id": "r1"})


def lost(kind: type[httpx2.TransportError] = httpx2.RemoteProtocolError) -> httpx2.TransportError:
    return kind("Server disconnected without sending a response.")


async def failure(kind: type[Exception], answers: Answers, request: ModelRequest = HELLO, **fields):
    with anyio.fail_after(5), pytest.raises(kind) as caught:
        await call(answers, **fields)(request, unheard)
    assert type(caught.value) is kind
    assert "hunter2" not in str(caught.value)
    return caught.value


async def test_a_model_of_the_catalog_is_asked_where_its_file_says():
    answers = Answers(ok())
    entry = model(base_url="https://host/v2/", api_key_env="M_KEY", headers={"X-Title": "eai"})

    response = await adapter(entry, parts(answers, M_KEY="secret"))(HELLO, unheard)

    (request,) = answers.requests
    assert (request.method, str(request.url)) == ("POST", "https://host/v2/chat/completions")
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["x-title"] == "eai"
    assert request.headers["content-type"] == "application/json"
    assert request.extensions["timeout"] == {"connect": 10.0, "read": 300.0, "write": 60.0, "pool": 60.0}
    assert answers.bodies == [
        {
            "model": "wire-1",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert (response.message, response.served_by) == (assistant("hi"), "m")


async def test_openai_is_asked_where_no_url_is_given_and_without_a_key_where_none_is_named():
    answers = Answers(ok())
    await adapter(model(samplers=Samplers(max_tokens=5)), parts(answers))(HELLO, unheard)

    assert str(answers.requests[0].url) == "https://api.openai.com/v1/chat/completions"
    assert "authorization" not in answers.requests[0].headers
    assert answers.bodies[0]["max_completion_tokens"] == 5


async def test_a_missing_key_is_named_before_anything_is_sent():
    answers = Answers()

    with pytest.raises(MissingKey, match="model 'm' needs an API key: set the environment variable M_KEY"):
        await adapter(model(api_key_env="M_KEY"), parts(answers))(HELLO, unheard)
    assert answers.requests == []


def test_a_model_file_that_cannot_work_is_refused_when_it_is_first_used():
    for entry in (model(base_url="nowhere"), model(quirks={"x": 1})):
        with pytest.raises(ConfigError, match="model 'm'"):
            adapter(entry, parts(Answers()))


async def test_a_refused_default_is_left_out_and_the_call_goes_on():
    answers = Answers(refusal("temperature"), ok(), ok())
    ask = call(answers, samplers=Samplers(temperature=0.2, top_p=0.5))
    warning = "temperature was not sent: this endpoint refuses the temperature of the model's file"

    first = await ask(HELLO, unheard)
    second = await ask(HELLO, unheard)

    assert first.warnings == second.warnings == (warning,)
    assert ["temperature" in body for body in answers.bodies] == [True, False, False]
    assert [body["top_p"] for body in answers.bodies] == [0.5, 0.5, 0.5]


async def test_a_default_that_is_still_refused_is_reported():
    answers = Answers(refusal("temperature"), refusal("temperature"))

    error = await failure(Rejected, answers, samplers=Samplers(temperature=0.2))
    assert len(answers.requests) == 2
    assert error.details["param"] == "temperature"


async def test_a_refused_sampler_of_the_caller_is_the_callers_to_change():
    request = ModelRequest(messages=HELLO.messages, samplers=Samplers(temperature=0.2))
    answers = Answers(refusal("temperature"))

    error = await failure(Rejected, answers, request, samplers=Samplers(temperature=1.0))
    assert str(error) == (
        "model 'm' at api.example rejected the request (HTTP 400): Unsupported parameter: 'temperature'"
    )
    assert (error.details["request_id"], error.retryable) == ("r1", False)


async def test_statuses_become_errors_with_what_the_provider_said():
    said = {"error": {"message": "key hunter2hunter2 is wrong"}}
    error = await failure(AuthFailed, Answers(httpx2.Response(401, json=said)), api_key_env="M_KEY")
    assert str(error) == (
        "model 'm' at api.example does not accept the key (HTTP 401): key [hidden] is wrong. Check M_KEY"
    )

    long = {"error": {"type": "exceed_context_size_error", "message": "too long", "n_ctx": 8192}}
    await failure(ContextOverflow, Answers(httpx2.Response(400, json=long)))

    limited = httpx2.Response(429, json={"error": "slow"}, headers={"retry-after": "7"})
    assert (await failure(RateLimited, Answers(limited))).retry_after_s == 7.0


async def test_the_values_of_own_headers_stay_hidden():
    answers = Answers(httpx2.Response(400, json={"error": "bad header: other-secret"}))

    error = await failure(Rejected, answers, headers={"X-Own": "other-secret"})
    assert str(error).endswith("bad header: [hidden]")


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (400, {"json": {"error": "bad"}, "headers": {"x-request-id": "hunter2hunter2"}}),
        (400, {"text": "o" * 70 + " hunter2hunter2"}),
        (400, {"html": "<title>" + "o" * 70 + " HUNTER2HUNTER2</title>"}),
        (200, {"content": b"hi", "headers": {"content-type": "text/hunter2hunter2"}}),
        (200, {"html": "<title>" + "o" * 70 + " hunter2hunter2</title>"}),
    ],
)
async def test_a_key_that_a_server_sends_back_is_hidden_whole(status, fields):
    """Issue 3: keys never in logs, errors, facts or exports; cut in two they would not be known any more."""
    with anyio.fail_after(5), pytest.raises(CallError) as caught:
        await call(Answers(httpx2.Response(status, **fields)))(HELLO, unheard)

    assert "hunter2" not in f"{caught.value} {caught.value.details}".lower()


async def test_of_a_page_only_the_title_is_told():
    page = httpx2.Response(502, content=PAGE, headers={"content-type": "text/html"})
    assert str(await failure(Unavailable, Answers(page))) == (
        "model 'm' at api.example is not available (HTTP 502): a page titled 'Portal'"
    )
    page = httpx2.Response(200, content=PAGE, headers={"content-type": "text/html"})
    assert "answered with text/html, which is no reply (a page titled 'Portal')" in str(
        await failure(Unavailable, Answers(page))
    )


async def test_an_error_body_that_breaks_off_still_has_its_status():
    body = Bytes([b'{"error', httpx2.ReadError("gone")])

    error = await failure(RateLimited, Answers(httpx2.Response(429, stream=body)))
    assert str(error) == "model 'm' at api.example asks to wait (HTTP 429): 7 bytes"
    assert body.closed


async def test_an_error_body_without_end_is_read_in_part():
    body = Bytes(b"x" * 10_000 for _ in range(1_000_000))

    await failure(
        Unavailable, Answers(httpx2.Response(500, stream=body, headers={"content-type": "text/plain"}))
    )
    assert body.closed


async def test_a_moved_endpoint_is_not_followed():
    moved = httpx2.Response(308, headers={"location": "https://elsewhere/v1"})

    assert str(await failure(Rejected, Answers(moved))) == (
        "model 'm' at api.example has moved (HTTP 308). Set base_url to the new address"
    )


async def test_a_reply_that_does_not_stream_is_taken_whole():
    choice = {"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    answers = Answers(httpx2.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 3}}))
    heard: list[object] = []

    async def hear(event: object) -> None:
        heard.append(event)

    response = await call(answers)(HELLO, hear)

    assert (response.message, response.usage.input, heard) == (assistant("hi"), 3, [TextDelta("hi")])


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx2.Response(200, json={"error": "boom"}), "is not available: boom"),
        (httpx2.Response(200, json={"ok": True}), "application/json, which is no reply (11 bytes)"),
        (httpx2.Response(200, json={"choices": [{}]}), "ended the stream before the reply was finished"),
        (
            httpx2.Response(200, content=b"{", headers={"content-type": "application/json"}),
            "sent a piece of the reply that is not JSON",
        ),
        (httpx2.Response(200, text="hello"), "with text/plain, which is no reply"),
        (httpx2.Response(200, content=b"", headers=STREAM), "with text/event-stream, which is no reply"),
        (httpx2.Response(204), "answered with no stated type, which is no reply"),
    ],
)  # fmt: skip
async def test_a_success_that_is_no_reply_is_an_error(response, words):
    assert words in str(await failure(Unavailable, Answers(response)))


async def test_a_stream_that_breaks_off_keeps_the_text_so_far():
    answers = Answers(stream(chunk({"content": "so far"}), httpx2.ReadError("reset")))
    error = await failure(Unavailable, answers)
    assert (error.partial, error.retryable) == ("so far", True)

    answers = Answers(stream(chunk({"content": "so far"}), httpx2.ReadTimeout("")))
    error = await failure(CallTimeout, answers)
    assert (error.partial, str(error)) == ("so far", "model 'm' at api.example fell silent for too long")


async def test_a_finished_reply_survives_what_happens_to_the_connection():
    answers = Answers(stream(chunk({"content": "hi"}, "stop"), httpx2.RemoteProtocolError("incomplete")))

    assert (await call(answers)(HELLO, unheard)).message == assistant("hi")


async def test_an_event_beyond_the_limit_is_an_error_with_the_text_so_far():
    endless = (b"x" * 1_000_000 for _ in range(40))
    body = Bytes([event(chunk({"content": "so far"})), b"data: ", *endless])

    error = await failure(Unavailable, Answers(httpx2.Response(200, headers=STREAM, stream=body)))
    assert error.partial == "so far"
    assert "cannot be followed: an event of the stream is longer than 33554432 bytes" in str(error)


@pytest.mark.parametrize("kind", [httpx2.RemoteProtocolError, httpx2.ReadError])
async def test_a_kept_connection_that_was_closed_meanwhile_costs_one_more_try(kind):
    answers = Answers(lost(kind), ok())
    assert (await call(answers)(HELLO, unheard)).message == assistant("hi")
    assert answers.bodies[0] == answers.bodies[1]

    answers = Answers(lost(kind), lost(kind))
    await failure(Unavailable, answers)
    assert len(answers.requests) == 2


async def test_a_new_connection_that_is_closed_at_once_is_not_tried_again():
    requests = []

    async def dial(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        await request.extensions["trace"]("connection.connect_tcp.started", {})
        raise lost()

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(dial))
    ask = adapter(model(), Parts(environ={}, client=lambda: client, closing=AsyncExitStack(), cache=Path()))
    with pytest.raises(Unavailable):
        await ask(HELLO, unheard)
    assert len(requests) == 1


async def test_nobody_there_is_said_plainly():
    error = await failure(Unavailable, Answers(httpx2.ConnectError("All connection attempts failed")))

    reached = "could not be reached: nothing answers there; is it running, is base_url right?"
    assert str(error) == f"model 'm' at api.example {reached}"


@pytest.mark.parametrize("past", [True, False])
async def test_the_deadline_ends_the_call_with_the_text_so_far(past):
    answers = Answers(stream(chunk({"content": "so far"}), None))
    deadline = anyio.current_time() + (-1 if past else 0.05)

    error = await failure(CallTimeout, answers, ModelRequest(messages=HELLO.messages, deadline=deadline))
    assert (error.partial, error.retryable) == ("" if past else "so far", True)
    assert len(answers.requests) == (0 if past else 1)


@pytest.mark.parametrize("last", [[], ["[DONE]"]], ids=["finished", "done"])
async def test_a_finished_reply_does_not_wait_for_the_connection_to_end(last):
    answers = Answers(stream(chunk({"content": "hi"}), chunk({}, "stop"), *last, None))
    request = ModelRequest(messages=HELLO.messages, deadline=anyio.current_time() + 0.3)

    with anyio.fail_after(5):
        assert (await call(answers)(request, unheard)).message == assistant("hi")


async def test_cancelling_closes_the_response_and_is_not_an_error():
    body = Bytes([event(chunk({"content": "so far"})), None])
    ask = call(Answers(httpx2.Response(200, headers=STREAM, stream=body)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def hear(_: object) -> None:
                tasks.cancel_scope.cancel()

            tasks.start_soon(ask, HELLO, hear)
    assert body.closed


async def test_a_listener_that_fails_closes_the_response():
    body = Bytes([event(chunk({"content": "so far"})), None])

    async def fail(_: object) -> None:
        raise KeyError("listener")

    with anyio.fail_after(5), pytest.raises(KeyError):
        await call(Answers(httpx2.Response(200, headers=STREAM, stream=body)))(HELLO, fail)
    assert body.closed
