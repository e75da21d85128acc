"""How many connections of the older protocol may be open, where they outlive requests (`--stateful`)."""

from collections import Counter
from typing import Any

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eai_mcp.server import shares
from eai_mcp.server.principal import SPACE

EACH, WHOLE = 250, 500
"""For each caller, and for all: as many as are ended well within the limit on ending the process."""
IDLE_S = 600.0
NAME = "mcp-session-id"


class Openings:
    """An app where nobody opens more connections at `path` than `each`."""

    def __init__(
        self, app: ASGIApp, manager: StreamableHTTPSessionManager, path: str, *, each: int = EACH
    ) -> None:
        self._app = app
        # The SDK says nowhere that one of them ended by being idle; they are gone from here then.
        self._living: dict[str, Any] = manager._server_instances
        self._path = path
        self._each = each
        self._opened: dict[str, set[str]] = {}
        self._opening: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it would open one too many."""
        if not self._opens(scope):
            await self._app(scope, receive, send)
            return
        space = scope.get(SPACE, "")
        if len(self._alive(space)) + self._opening[space] >= self._each:
            await shares.spent("open connections")(scope, receive, send)
            return

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = Headers(raw=list(message.get("headers", ()))).getlist(NAME)
                self._alive(space).update(name for name in names if name in self._living)
            await send(message)

        self._opening[space] += 1
        try:
            await self._app(scope, receive, noted)
        finally:
            self._opening[space] -= 1
            self._forget()

    def _opens(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            return False
        headers = Headers(scope=scope)
        version = headers.get("mcp-protocol-version")
        return NAME not in headers and (version is None or version in HANDSHAKE_PROTOCOL_VERSIONS)

    def _alive(self, space: str) -> set[str]:
        """Those of a space, without what has ended since."""
        found = self._opened.setdefault(space, set())
        found.intersection_update(self._living)
        return found

    def _forget(self) -> None:
        """Keep nothing of spaces that hold nothing."""
        for space in [space for space in self._opened if not self._alive(space)]:
            del self._opened[space]
        self._opening += Counter()
