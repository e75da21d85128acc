"""The adapter against a real process on a real socket."""

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx2
import pytest

from eai_mcp.calls import Call, ModelRequest, Samplers, StreamEvent, TextDelta, unheard
from eai_mcp.errors import AuthFailed, CallTimeout, RateLimited, Rejected, Unavailable
from eai_mcp.messages import Usage, assistant, user
from eai_mcp.providers import http, openai_chat
from tests.providers.answering import HELLO, model

SCRIPT = Path(__file__).parents[1] / "endpoint.py"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both: each has a way of its own to cancel what waits on a socket."""
    return request.param


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), "--port", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(5) == 0


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with http.new_client() as client:
        yield client


def call(base: str, client: httpx2.AsyncClient, wire_model: str, **fields: Any) -> Call:
    return openai_chat.call(model(model=wire_model, **fields), lambda: client, base, lambda: "secret")


async def stats(base: str, client: httpx2.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(base.removesuffix("/v1") + "/stats")).json()
    return found


async def until_aborted(count: int, base: str, client: httpx2.AsyncClient) -> None:
    with anyio.fail_after(5):
        while (await stats(base, client))["aborted"] < count:
            await anyio.lowlevel.checkpoint()


async def test_history_goes_out_and_a_reply_comes_back(base, client):
    request = ModelRequest(messages=(user("a"), assistant("b"), user("hello")), system="be kind")

    with anyio.fail_after(5):
        response = await call(base, client, "echo")(request, unheard)

    assert (response.message, response.stop) == (assistant("messages=4 last=hello"), "end")
    assert response.usage == Usage(input=11, output=7)
    sent = (await stats(base, client))["last_headers"]
    assert (sent["authorization"], sent["user-agent"]) == ("Bearer secret", "eai-mcp")


async def test_connections_are_used_again(base, client):
    ask = call(base, client, "echo")
    with anyio.fail_after(5):
        for _ in range(5):
            await ask(HELLO, unheard)

    assert len(client._transport._pool.connections) == 1


async def test_a_reply_of_three_million_characters_arrives_whole(base, client):
    with anyio.fail_after(15):
        response = await call(base, client, "big")(HELLO, unheard)

    assert response.message == assistant("0123456789" * 300_000)


@pytest.mark.parametrize("wire_model", ["slow", "stall"])
async def test_cancelling_ends_the_request_at_once_and_leaves_the_pool_usable(base, client, wire_model):
    before = (await stats(base, client))["aborted"]
    heard = anyio.Event()

    async def hear(_: StreamEvent) -> None:
        heard.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(call(base, client, wire_model), HELLO, hear)
            if wire_model == "slow":
                await heard.wait()
            while (await stats(base, client))["in_flight"] < 5:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    await until_aborted(before + 5, base, client)

    assert (await call(base, client, "echo")(HELLO, unheard)).message == assistant("messages=1 last=hello")
    assert all(connection.is_idle() for connection in client._transport._pool.connections)


async def test_the_deadline_ends_a_slow_reply_with_what_was_said(base, client):
    heard: list[str] = []

    async def hear(event: StreamEvent) -> None:
        assert isinstance(event, TextDelta)
        heard.append(event.text)

    request = ModelRequest(messages=HELLO.messages, deadline=anyio.current_time() + 0.4)
    with anyio.fail_after(5), pytest.raises(CallTimeout) as caught:
        await call(base, client, "slow")(request, hear)

    assert caught.value.partial == "".join(heard)
    assert caught.value.partial.startswith("w0 w1 ")


@pytest.mark.parametrize(
    ("wire_model", "kind", "words"),
    [
        ("html", Unavailable, "(a page titled 'Portal login')"),
        ("html-502", Unavailable, "(HTTP 502): a page titled 'Portal login'"),
        ("status-401", AuthFailed, "Incorrect API key provided"),
        ("status-429", RateLimited, "Try again in 7 s"),
        ("status-500", Unavailable, "(HTTP 500): The server had an error"),
        ("cut", Unavailable, "ended the stream before the reply was finished"),
        ("nonesuch", Rejected, "knows no such model or path"),
    ],
)
async def test_failures_of_the_endpoint_are_told_apart(base, client, wire_model, kind, words):
    with anyio.fail_after(5), pytest.raises(kind) as caught:
        await call(base, client, wire_model)(HELLO, unheard)

    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.details["request_id"] == "req-1"
    assert caught.value.partial == ("w0 w1 " if wire_model == "cut" else "")


async def test_a_refused_default_costs_a_warning_not_the_call(base, client):
    ask = call(base, client, "refuse-temperature", samplers=Samplers(temperature=0.7))
    with anyio.fail_after(5):
        response = await ask(HELLO, unheard)

    assert response.message == assistant("messages=1 last=hello")
    assert response.warnings == (
        "temperature was not sent: this endpoint refuses the temperature of the model's file",
    )


async def test_nobody_listening_is_said_plainly(client):
    with anyio.fail_after(5), pytest.raises(Unavailable, match="could not be reached"):
        await call("http://127.0.0.1:9/v1", client, "echo")(HELLO, unheard)


async def test_a_server_that_closes_a_kept_connection_is_asked_again(client):
    """Some close after a reply without saying so; the next request must not fail for it."""
    reply = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(reply)
    connections = []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        connections.append(stream)
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                seen = b""
                while not seen.endswith(b'"include_usage":true}}'):
                    seen += await stream.receive()
                await stream.send(head + reply)
                await stream.receive()  # the next request, to which nothing comes

    with anyio.fail_after(5):
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, serve)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            ask = call(f"http://127.0.0.1:{port}/v1", client, "any")
            for _ in range(3):
                assert (await ask(HELLO, unheard)).message == assistant("hi")
            tasks.cancel_scope.cancel()
    assert len(connections) == 3
