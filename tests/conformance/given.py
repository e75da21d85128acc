"""What the suite's fixtures need of a request beyond what our own tools get, and what they answer with."""

import base64
import io
import struct
import wave
import zlib
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

from eai_mcp.server.arguments import Arguments
from eai_mcp.server.registry import Answer, Request, ToolSpec

SAMPLING = ("test_missing_capability",)
"""Tools that a client without sampling may not call."""


class Nothing(Arguments):
    """No arguments."""


@dataclass(frozen=True, slots=True)
class Given:
    """A request as it came; `answers` and `state` are what a client sends with a question's answer."""

    context: ServerRequestContext[Any, Any]
    answers: dict[str, Any]
    state: str | None

    def can(self, what: str) -> bool:
        """Whether the client declared a capability."""
        declared = self.context.session.client_capabilities
        return declared is not None and getattr(declared, what) is not None

    async def ask(self, request: Any, result: type[Any]) -> Any:
        """Ask the client something, over the stream that will answer its own request."""
        metadata = ServerMessageMetadata(related_request_id=self.context.request_id)
        return await self.context.session.send_request(request, result, metadata=metadata)


_GIVEN: ContextVar[Given] = ContextVar("given")


def given() -> Given:
    """The request that is being answered."""
    return _GIVEN.get()


async def noted(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Keep the request for the fixtures.

    Our tools take an answer with its state only; the suite's fixtures that have no state take it alone.
    """
    params = dict(ctx.params or {})
    answers = params.get("inputResponses")
    _GIVEN.set(Given(ctx, answers if isinstance(answers, dict) else {}, params.get("requestState")))
    if params.get("name") in SAMPLING and not given().can("sampling"):
        needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool needs sampling", needed)
    if answers and "requestState" not in params:
        ctx = replace(ctx, params={**params, "requestState": ""})
    return await call_next(ctx)


def tool(
    name: str,
    run: Callable[[Any, Request], Awaitable[Any]],
    arguments: type[Arguments] = Nothing,
    *,
    kind: type[ToolSpec[Any]] = ToolSpec,
) -> ToolSpec[Any]:
    """A fixture as one of our tools; its docstring describes it."""
    return kind(name=name, description=run.__doc__ or name, arguments=arguments, result=None, run=run)


def answer(*content: str | types.ContentBlock) -> Answer:
    """An answer of content alone."""
    return Answer({}, content)


def png() -> str:
    """A red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0\xff\0\0")
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", pixel), chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def wav() -> str:
    """A moment of silence."""
    written = io.BytesIO()
    with wave.open(written, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 8)
    return base64.b64encode(written.getvalue()).decode()
