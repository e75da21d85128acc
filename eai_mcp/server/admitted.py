"""Who is let in over HTTP, in whose name, and how the others are turned away.

A stranger's request is answered by its head alone. Those who came in stay under watch: what is open ends once
the token that opened it is taken back, and a stream once it has expired.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

import anyio
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from eai_mcp.app import unwrapped
from eai_mcp.server.principal import Principal, Refusal, as_stranger, is_stranger
from eai_mcp.server.replies import Reply
from eai_mcp.server.tokens import Tokens

UNSAID = Refusal(status=401, error="unauthorized", message="say Authorization: Bearer TOKEN")
UNKNOWN = Refusal(status=401, error="invalid_token", message="this token is not, or no longer, known here")


class Verifier(Protocol):
    """Knows tokens that somebody else gave out."""

    async def principal(self, token: str) -> Principal | Refusal:
        """Whose token it is."""
        ...

    def metadata(self, scope: Scope, path: str) -> Mapping[str, Any] | None:
        """What is told to those who look for who gives out tokens for `path`; None if it is not asked for."""
        ...

    def challenge(self, scope: Scope, path: str) -> Mapping[str, str]:
        """What a refused client is told of where to look."""
        ...


class Gate:
    """Whoever has a token of the file, or one that the verifier takes, may come in."""

    def __init__(self, *, tokens: Tokens | None = None, verifier: Verifier | None = None) -> None:
        self.tokens = tokens
        self.verifier = verifier

    async def principal(self, headers: Headers) -> Principal | Refusal:
        """Who makes a request, by what its head says."""
        said = headers.getlist("authorization")
        scheme, _, token = said[0].partition(" ") if len(said) == 1 else ("", "", "")
        token = token.strip()
        if scheme.casefold() != "bearer" or not token:
            return UNSAID
        found = self.tokens.principal(token) if self.tokens else None
        if found is not None:
            return found
        return await self.verifier.principal(token) if self.verifier else UNKNOWN

    def knows(self, principal: Principal) -> bool:
        """Whether the token that somebody came in by is still good."""
        return self.tokens is None or self.tokens.knows(principal)


class Admitted:
    """An app for those whom the gate lets in, each in a space of their own. `path` is what tokens are for."""

    def __init__(self, app: ASGIApp, gate: Gate, path: str) -> None:
        self._app = app
        self._gate = gate
        self._path = path
        self._open: dict[anyio.CancelScope, Principal] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or say why not."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] != "http" or is_stranger(scope):
            await self._app(scope, receive, send)
        elif (told := self._metadata(scope)) is not None:
            await told(scope, receive, send)
        else:
            self._look()
            found = await self._gate.principal(Headers(scope=scope))
            if not isinstance(found, Refusal):
                await self._serve(found, scope, receive, send)
            elif (asked := as_stranger(scope)) is not None:
                await self._app(asked, receive, send)
            else:
                await self._refused(found, scope)(scope, receive, send)

    async def _serve(self, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        reply = Reply(send)
        with anyio.CancelScope() as request:
            if principal.until is not None and _lasts(scope):
                request.deadline = anyio.current_time() + principal.until - time.time()
            self._open[request] = principal
            try:
                await self._app(principal.admitted(scope), receive, reply)
            finally:
                del self._open[request]
        if request.cancelled_caught:
            await reply.part(scope, receive, self._refused(UNKNOWN, scope))

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with unwrapped(), anyio.create_task_group() as tasks:
            if self._gate.tokens is not None:
                tasks.start_soon(self._watch, self._gate.tokens)
            await self._app(scope, receive, send)
            tasks.cancel_scope.cancel()

    async def _watch(self, tokens: Tokens) -> None:
        while True:
            await anyio.sleep(tokens.next_look_s())
            self._look()

    def _look(self) -> None:
        """End what is open in the name of somebody whose token was taken back."""
        if self._gate.tokens is not None and self._gate.tokens.look():
            for request, principal in self._open.items():
                if not self._gate.knows(principal):
                    request.cancel()

    def _metadata(self, scope: Scope) -> Response | None:
        verifier = self._gate.verifier
        told = verifier.metadata(scope, self._path) if verifier else None
        return None if told is None else JSONResponse(told, headers={"Access-Control-Allow-Origin": "*"})

    def _refused(self, refusal: Refusal, scope: Scope) -> Response:
        headers: dict[str, str] = {}
        if refusal.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_s)))
        if refusal.status in (401, 403):
            headers["WWW-Authenticate"] = self._challenge(refusal, scope)
        told = {"error": refusal.error, "message": refusal.message}
        return JSONResponse(told, refusal.status, headers=headers)

    def _challenge(self, refusal: Refusal, scope: Scope) -> str:
        """What RFC 6750 and RFC 9728 have a client told; to one that said nothing, no error."""
        said = {} if refusal is UNSAID else {"error": refusal.error, "error_description": refusal.message}
        verifier = self._gate.verifier
        if verifier is not None:
            said |= verifier.challenge(scope, self._path)
        return " ".join(["Bearer", ", ".join(f'{name}="{value}"' for name, value in said.items())]).strip()


def _lasts(scope: Scope) -> bool:
    """Whether a request is answered by a stream without an end, and not by what it is waiting for."""
    asked = Headers(scope=scope).get("mcp-method")
    return scope["method"] == "GET" or asked == "subscriptions/listen"
