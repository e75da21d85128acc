"""Bodies of POST requests, looked at before the SDK is.

It takes a request whose id has the wrong type for a notification, whose sender then waits for ever, and it
answers a batch with its own insides. So what is no message is refused here, in the words of stdio.

The SDK keeps a body for as long as its request runs; so it counts as held for just as long.
"""

import mcp_types as types
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eai_mcp.server import frames, shares
from eai_mcp.server.principal import SPACE

MIB = 1024 * 1024
EACH, WHOLE = 64 * MIB, 256 * MIB
"""Bytes that one caller's bodies, and those of all, may come to; more where a body may be that large."""
ASKS = "eai_mcp.asks"
"""Whether the body holds a request: somebody waits for an answer to it."""


class Readable:
    """An app that gets only bodies that hold a message, and those above `limit` bytes, which it refuses."""

    def __init__(self, app: ASGIApp, limit: int, *, each: int = EACH, whole: int = WHOLE) -> None:
        self._app = app
        self._limit = limit
        self._share = shares.Share(each=max(each, 2 * limit), whole=max(whole, 4 * limit))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then hand it on in one piece."""
        if scope["type"] != "http" or scope["method"] != "POST" or _announced(scope) > self._limit:
            await self._app(scope, receive, send)
            return
        if _is_encoded(scope):
            told = {"Accept-Encoding": "identity"}
            await PlainTextResponse("Unsupported Content-Encoding", 415, headers=told)(scope, receive, send)
            return
        held = _Held(self._share, scope.get(SPACE, ""))
        try:
            body = await held.read(receive, self._limit)
            if isinstance(body, Response):
                await body(scope, receive, send)
            elif body is not None:
                await self._pass_on(body, scope, receive, send)
        finally:
            held.let_go()

    async def _pass_on(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        read = frames.read(body) if len(body) <= self._limit else None
        if isinstance(read, frames.Refusal) and read.answer is not None and _is_json(scope):
            told = read.answer.model_dump_json(by_alias=True)
            await Response(told, 400, media_type="application/json")(scope, receive, send)
            return
        scope = {**scope, ASKS: isinstance(read, types.JSONRPCRequest)}
        came: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        del body, read

        async def again() -> Message:
            return came.pop() if came else await receive()

        await self._app(scope, again, send)


class _Held:
    """The body of one request, which counts until it is let go."""

    def __init__(self, share: shares.Share, space: str) -> None:
        self._share = share
        self._space = space
        self._bytes = 0

    async def read(self, receive: Receive, limit: int) -> bytes | Response | None:
        """All of it, or as much as is over the limit; None if nobody is there any more to be told."""
        body, is_whole = bytearray(), False
        while not is_whole and len(body) <= limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece = message.get("body", b"")
            if not self._share.take(self._space, len(piece)):
                return shares.spent("bytes of requests")
            self._bytes += len(piece)
            body += piece
            is_whole = not message.get("more_body", False)
        return bytes(body)

    def let_go(self) -> None:
        """It counts no more."""
        self._share.give_back(self._space, self._bytes)


def _announced(scope: Scope) -> int:
    """The bytes that a request says to have, 0 if it does not say."""
    sizes = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(size) for size in sizes if size.isdigit()), default=0)


def _is_encoded(scope: Scope) -> bool:
    said = Headers(scope=scope).getlist("content-encoding")
    return any(each.strip().lower() not in ("", "identity") for each in said)


def _is_json(scope: Scope) -> bool:
    """Of any other kind of body the SDK says so itself."""
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return any(kind.strip().lower().startswith(b"application/json") for kind in kinds)
