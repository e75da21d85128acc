"""The adapter against a server on a real socket: what Google's send, in whatever pieces a test says."""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

from eai_mcp.calls import Call, ModelRequest, StreamEvent, TextDelta, ToolSpec, unheard
from eai_mcp.errors import CallTimeout, RateLimited, Unavailable
from eai_mcp.messages import ToolResultBlock, ToolUseBlock, Usage, assistant, user
from eai_mcp.providers import gemini, http
from tests.providers.answering import HELLO, model
from tests.providers.gemini_chunks import STOP, chunk, event, text, thought, tool
from tests.providers.gemini_replies import split

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
WORDS = "日本 \u2028 😀 and so on"
REPLY = event(chunk(thought("hm"))) + event(chunk(text(WORDS, thoughtSignature="c2ln"))) + event(STOP)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both: each has a way of its own to cancel what waits on a socket."""
    return request.param


class Google:
    """Answers each request with the next of `answers`, and says when a connection has ended on it.

    An answer is pieces of bytes; a None among them waits until the client is gone.
    """

    def __init__(self, *answers: Iterable[bytes | None]) -> None:
        self.answers = [*answers]
        self.asked: list[bytes] = []
        self.gone = anyio.Event()

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                while True:
                    self.asked.append(await _request(stream))
                    for piece in self.answers.pop(0):
                        await (stream.receive() if piece is None else stream.send(piece))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self.gone.set()


async def _request(stream: anyio.abc.SocketStream) -> bytes:
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += await stream.receive()
    head, _, body = seen.partition(b"\r\n\r\n")
    length = next(
        int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += await stream.receive()
    return head + b"\r\n\r\n" + body


@asynccontextmanager
async def running(google: Google) -> AsyncIterator[Callable[[], Call]]:
    """Makes calls to a server that is there as long as the context."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
        http.new_client() as client,
    ):
        tasks.start_soon(listener.serve, google.serve)
        base = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/v1beta"
        yield lambda: gemini.call(model(provider="gemini"), lambda: client, base, lambda: "secret")
        tasks.cancel_scope.cancel()


def framed(data: bytes, size: int) -> Iterable[bytes]:
    """A chunked body, a chunk to each piece of the data."""
    yield HEAD
    for piece in split(data, size):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield END


@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
async def test_a_reply_arrives_whole_in_whatever_pieces_it_comes(size):
    """Facts, section 1: line ends are CRLF from Gemini."""
    google, heard = Google(framed(REPLY, size)), []

    async def hear(event: StreamEvent) -> None:
        heard.append(event)

    with anyio.fail_after(5):
        async with running(google) as call:
            response = await call()(HELLO, hear)

    assert (
        response.message.text == "".join(said.text for said in heard if isinstance(said, TextDelta)) == WORDS
    )
    assert (response.stop, response.usage) == ("end", Usage(input=11, output=7))
    head = google.asked[0].partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"post /v1beta/models/wire-1:streamgeneratecontent?alt=sse http/1.1\r\n")
    assert b"x-goog-api-key: secret" in head


async def test_a_turn_with_a_tool_takes_its_signature_back_on_the_same_connection():
    """Issue 3: reasoning that goes back unchanged in tool turns (`thoughtSignature`)."""
    asking = tool("look", {"a": 1}, thoughtSignature="c2ln")
    google = Google(framed(event(chunk(asking)) + event(STOP), 5), framed(REPLY, 5))
    spec = ToolSpec("look", "Looks.", {"type": "object"})

    with anyio.fail_after(5):
        async with running(google) as call:
            ask = call()
            first = await ask(ModelRequest(messages=HELLO.messages, tools=(spec,)), unheard)
            (use,) = first.message.content
            assert isinstance(use, ToolUseBlock)
            more = (*HELLO.messages, first.message, user((ToolResultBlock(use.id, ()),)))
            second = await ask(ModelRequest(messages=more, tools=(spec,)), unheard)

    assert second.message.text == WORDS
    assert json.loads(google.asked[1].partition(b"\r\n\r\n")[2])["contents"][1:] == [
        {"role": "model", "parts": [asking]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"output": ""}}}]},
    ]
    assert not google.gone.is_set()


async def test_cancelling_closes_the_connection_at_once_and_leaves_the_pool_usable():
    """Issue 3: cancellation that closes the connection at once and leaves the pool usable."""
    begun = [*framed(event(chunk(text("so"))), 4)][:-1]
    google = Google([*begun, None], framed(REPLY, 7))

    with anyio.fail_after(5):
        async with running(google) as call:
            ask = call()
            async with anyio.create_task_group() as tasks:

                async def hear(_: StreamEvent) -> None:
                    tasks.cancel_scope.cancel()

                tasks.start_soon(ask, HELLO, hear)
            await google.gone.wait()
            assert (await ask(HELLO, unheard)).message.text == WORDS


async def test_the_deadline_closes_the_connection_and_keeps_what_was_said():
    begun = [*framed(event(chunk(text("so"))), 4)][:-1]
    google = Google([*begun, None])

    with anyio.fail_after(5):
        async with running(google) as call:
            request = ModelRequest(messages=HELLO.messages, deadline=anyio.current_time() + 0.2)
            with pytest.raises(CallTimeout) as caught:
                await call()(request, unheard)
            await google.gone.wait()

    assert caught.value.partial == "so"


async def test_a_limit_tells_its_wait_in_the_body():
    """Facts, section 6: 429 carries `RetryInfo.retryDelay` in details and no header."""
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]
    body = json.dumps({"error": {"code": 429, "message": "Quota exceeded.", "details": details}}).encode()
    head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    google = Google([head % len(body), body])

    with anyio.fail_after(5):
        async with running(google) as call:
            with pytest.raises(RateLimited, match="Try again in 35 s") as caught:
                await call()(HELLO, unheard)

    assert (caught.value.retryable, caught.value.retry_after_s) == (True, 34.4)
    assert "secret" not in str(caught.value)


async def test_a_stream_that_is_cut_off_is_an_error_with_what_was_said():
    google = Google([*framed(event(chunk(text("so"))), 9)])

    with anyio.fail_after(5):
        async with running(google) as call:
            with pytest.raises(Unavailable, match="before the reply was finished") as caught:
                await call()(HELLO, unheard)

    assert caught.value.partial == "so"


async def test_a_list_in_one_piece_is_a_reply_too():
    body = json.dumps([chunk(text("hi")), STOP]).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    google = Google([head, *split(body, 11)])

    with anyio.fail_after(5):
        async with running(google) as call:
            assert (await call()(HELLO, unheard)).message == assistant("hi")
