"""What the head of a request decides by itself, before anybody asks who sent it.

Whether the process lives is told to everybody, by whatever name they call it, so it may cost nothing: no body
is waited for. A request that gives its length in two ways is one that some proxy may have read differently.
"""

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH = "/healthz"
LENGTHS = {b"content-length", b"transfer-encoding"}


class Heads:
    """An app for requests whose heads leave something open."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        answer = _answer(scope) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)


def _answer(scope: Scope) -> Response | None:
    if LENGTHS.issubset(name for name, _ in scope["headers"]):
        # RFC 9112, 6.1: it ought to be handled as an error, and the connection has to be closed.
        text = "Content-Length and Transfer-Encoding exclude each other"
        return PlainTextResponse(text, 400, headers={"Connection": "close"})
    if scope["path"] != HEALTH:
        return None
    if scope["method"] not in ("GET", "HEAD"):
        return PlainTextResponse("Method Not Allowed", 405, headers={"Allow": "GET, HEAD"})
    return JSONResponse({"status": "ok"})
