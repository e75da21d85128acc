"""The adapter for Bedrock against a listener on a real socket, which checks who asks and cuts its bytes."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import httpx2
import pytest

from eai_mcp.calls import Call, ModelRequest, StreamEvent, TextDelta, ToolUseStarted, unheard
from eai_mcp.errors import AuthFailed, CallTimeout, RateLimited, Unavailable
from eai_mcp.messages import ToolUseBlock, Usage, assistant
from eai_mcp.providers import Parts, adapter, http
from tests.providers.answering import HELLO
from tests.providers.bedrock_bytes import calls, cut, end, exception, model, reply, start, text, usage
from tests.providers.bedrock_signature import KEYS, is_signed

REGION = "eu-west-1"
TOKEN = {"AWS_BEARER_TOKEN_BEDROCK": "hunter2hunter2"}
PATH = "/model/maker.wire-1%3A0/converse-stream"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both: each has a way of its own to cancel what waits on a socket."""
    return request.param


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with http.new_client() as client:
        yield client


@dataclass
class Service:
    """Answers each request that proves who asks with `pieces`, one write each; with `hangs` it never ends."""

    pieces: Sequence[bytes]
    hangs: bool = False
    base: str = ""
    connections: int = 0
    hung_up: anyio.Event = field(default_factory=anyio.Event)

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await self._answer(stream)
        self.hung_up.set()

    async def _answer(self, stream: anyio.abc.SocketStream) -> None:
        path, headers, body = await _request(stream)
        if not _is_allowed(path, headers, body):
            said = b'{"message":"The request signature we calculated does not match."}'
            await stream.send(_head(403, len(said), "x-amzn-errortype: InvalidSignatureException") + said)
            return
        await stream.send(_head(200, None, "content-type: application/vnd.amazon.eventstream"))
        for piece in self.pieces:
            await stream.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        if self.hangs:
            await stream.receive()
        await stream.send(b"0\r\n\r\n")


async def _request(stream: anyio.abc.SocketStream) -> tuple[str, dict[str, str], bytes]:
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += await stream.receive()
    head, _, body = seen.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += await stream.receive()
    return first.split(" ")[1], headers, body


def _is_allowed(path: str, headers: dict[str, str], body: bytes) -> bool:
    has_token = headers["authorization"] == f"Bearer {TOKEN['AWS_BEARER_TOKEN_BEDROCK']}"
    return path == PATH and (has_token or is_signed(path, headers, body, region=REGION))


def _head(status: int, length: int | None, *more: str) -> bytes:
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = (f"HTTP/1.1 {status} -", framing, "x-amzn-requestid: r1", *more, "", "")
    return "\r\n".join(lines).encode()


@asynccontextmanager
async def serving(pieces: Sequence[bytes], *, hangs: bool = False) -> AsyncIterator[Service]:
    service = Service(pieces, hangs)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, service.serve)
        service.base = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        with anyio.fail_after(10):
            yield service
        tasks.cancel_scope.cancel()


def call(service: Service, client: httpx2.AsyncClient, environ: dict[str, str]) -> Call:
    shared = Parts(
        environ={"AWS_REGION": REGION, **environ},
        client=lambda: client,
        closing=AsyncExitStack(),
        cache=Path(),
    )
    return adapter(model(base_url=service.base), shared)


@pytest.mark.parametrize("who", [TOKEN, KEYS, {**KEYS, "AWS_SESSION_TOKEN": "IQoJb3JpZ2lu"}])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_reply_comes_through_in_any_pieces_for_those_who_prove_who_they_are(client, who, size):
    """Issue 3: bearer without any extra, SigV4 through botocore, a decoder that survives any split."""
    if who is not TOKEN:
        pytest.importorskip("botocore")
    whole = start() + text("Hé\u2028llo") + calls(1, "t1", "add", '{"x":', "1}") + end("tool_use") + usage()
    heard: list[StreamEvent] = []

    async def hear(event: StreamEvent) -> None:
        heard.append(event)

    async with serving(cut(whole, size)) as service:
        response = await call(service, client, who)(HELLO, hear)

    assert heard == [TextDelta("Hé\u2028llo"), ToolUseStarted("add")]
    assert response.message.content[1:] == (ToolUseBlock("t1", "add", {"x": 1}),)
    assert (response.stop, response.usage) == ("tools", Usage(input=11, output=7))


async def test_who_cannot_prove_it_is_told_so(client):
    pytest.importorskip("botocore")
    async with serving([reply()]) as service:
        with pytest.raises(AuthFailed) as caught:
            await call(service, client, {**KEYS, "AWS_SECRET_ACCESS_KEY": "not-the-one"})(HELLO, unheard)

    assert "The request signature we calculated does not match. Check the AWS credentials" in str(
        caught.value
    )
    assert (caught.value.details["request_id"], caught.value.details["status"]) == ("r1", 403)
    assert "not-the-one" not in str(caught.value)


async def test_connections_are_used_again(client):
    async with serving([reply()]) as service:
        ask = call(service, client, TOKEN)
        for _ in range(5):
            assert (await ask(HELLO, unheard)).message == assistant("hi")
        assert service.connections == 1


async def test_cancelling_closes_the_connection_at_once_and_leaves_the_pool_usable(client):
    """Issue 3: cancellation that closes the connection at once and leaves the pool usable."""
    async with serving([start() + text("so far")], hangs=True) as service:
        async with anyio.create_task_group() as tasks:

            async def hear(_: StreamEvent) -> None:
                tasks.cancel_scope.cancel()

            tasks.start_soon(call(service, client, TOKEN), HELLO, hear)
        await service.hung_up.wait()
        assert client._transport._pool.connections == []

        service.pieces, service.hangs = [reply()], False
        assert (await call(service, client, TOKEN)(HELLO, unheard)).message == assistant("hi")


# The HTTP library leaves its innermost generator to the garbage collector, of which trio warns.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize(
    ("pieces", "kind", "words"),
    [
        ([start() + text("so far")], Unavailable, "ended the stream before the reply was finished"),
        ([start() + text("so far"), b"\x00" * 20], Unavailable, "cannot be followed"),
        ([start() + text("so far") + exception("throttlingException", {})], RateLimited, "asks to wait"),
    ],
)
async def test_what_goes_wrong_in_the_stream_keeps_the_text_so_far(client, pieces, kind, words):
    async with serving(pieces) as service:
        with pytest.raises(kind) as caught:
            await call(service, client, TOKEN)(HELLO, unheard)

    assert words in str(caught.value)
    assert (caught.value.partial, caught.value.details["request_id"]) == ("so far", "r1")


async def test_the_deadline_ends_a_reply_that_does_not_come(client):
    async with serving([start() + text("so far")], hangs=True) as service:
        request = ModelRequest(messages=HELLO.messages, deadline=anyio.current_time() + 0.3)
        with pytest.raises(CallTimeout) as caught:
            await call(service, client, TOKEN)(request, unheard)
        assert caught.value.partial == "so far"
        await service.hung_up.wait()
