"""Bodies of POST requests, looked at before the SDK is.

It takes a request whose id has the wrong type for a notification, whose sender then waits for ever, and it
answers a batch with its own insides. So what is no message is refused here, in the words of stdio.
"""

from collections import deque

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eai_mcp.server import frames


class Readable:
    """An app that gets only bodies that hold a message, and those above `limit` bytes, which it refuses."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then hand it on as it came."""
        if scope["type"] != "http" or scope["method"] != "POST" or _announced(scope) > self._limit:
            await self._app(scope, receive, send)
            return
        came: deque[Message] = deque()
        body, is_whole = bytearray(), False
        while not is_whole and len(body) <= self._limit:
            message = await receive()
            came.append(message)
            if message["type"] == "http.disconnect":
                return  # nobody is there to be told anything
            body += message.get("body", b"")
            is_whole = not message.get("more_body", False)
        refusal = frames.read(bytes(body)) if is_whole else None
        if isinstance(refusal, frames.Refusal) and refusal.answer is not None and _is_json(scope):
            told = refusal.answer.model_dump_json(by_alias=True)
            await Response(told, 400, media_type="application/json")(scope, receive, send)
            return

        async def again() -> Message:
            return came.popleft() if came else await receive()

        await self._app(scope, again, send)


def _announced(scope: Scope) -> int:
    """The bytes that a request says to have, 0 if it does not say."""
    sizes = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(size) for size in sizes if size.isdigit()), default=0)


def _is_json(scope: Scope) -> bool:
    """Of any other kind of body the SDK says so itself."""
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return any(kind.strip().lower().startswith(b"application/json") for kind in kinds)
