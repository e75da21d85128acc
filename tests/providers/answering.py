"""An HTTP client whose answers a test writes down: responses, streams of bytes, or exceptions."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import anyio
import httpx2

from eai_mcp.calls import ModelRequest, ModelResponse, StreamEvent
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import user
from eai_mcp.providers import openai_chat
from eai_mcp.providers.http_call import HttpCall

HELLO = ModelRequest(messages=(user("hello"),))


class Bytes(httpx2.AsyncByteStream):
    """A body in pieces. One that is an exception is raised, one that is None never comes."""

    def __init__(self, pieces: Iterable[bytes | Exception | None]) -> None:
        self.pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if piece is None:
                await anyio.sleep_forever()
            elif isinstance(piece, Exception):
                raise piece
            else:
                yield piece

    async def aclose(self) -> None:
        self.closed = True


class Answers:
    """Gives one answer to each request, and keeps what was asked."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a reply."""
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def event(value: Any, name: str = "") -> bytes:
    """A server-sent event."""
    data = value if isinstance(value, str) else json.dumps(value)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def stream(*values: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
    """A response of events; bytes, exceptions and None go out as they are."""
    raw = (bytes, Exception, type(None))
    pieces = [value if isinstance(value, raw) else event(value) for value in values]
    named = {"content-type": "text/event-stream", **(headers or {})}
    return httpx2.Response(200, headers=named, stream=Bytes(pieces))


def model(**fields: Any) -> Model:
    """A model of the catalog."""
    return Model(**{"name": "m", "provider": "openai_chat", "model": "wire-1", **fields})


def call(answers: Answers, **fields: Any) -> HttpCall:
    """The adapter in front of `answers`, for a model with these fields."""
    client = answers.client()
    entry = model(**fields)
    base_url = entry.base_url or "https://api.example/v1"
    return openai_chat.call(entry, lambda: client, base_url, lambda: "hunter2hunter2")


async def told(
    *values: Any, request: ModelRequest = HELLO, **fields: Any
) -> tuple[ModelResponse, list[StreamEvent]]:
    """The response to a stream of these, and what was heard."""
    heard: list[StreamEvent] = []

    async def hear(event: StreamEvent) -> None:
        heard.append(event)

    with anyio.fail_after(5):
        response = await call(Answers(stream(*values)), **fields)(request, hear)
    return response, heard
