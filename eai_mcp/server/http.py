"""MCP over HTTP, on loopback: streamable HTTP at one path and, if asked for, the deprecated SSE beside it.

Nothing hangs on a connection. On the newer protocol each request stands alone; on the older one it does too
unless `stateful` is chosen, and then what needs a way back to the client is said not to exist: subscriptions,
notices of changed lists. SSE has such a way, so there everything is as on stdio.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from eai_mcp.server import shutdown
from eai_mcp.server.address import authority, listening
from eai_mcp.server.bodies import Readable
from eai_mcp.server.carrier import Interruptible, serve_app
from eai_mcp.server.probe import Probing
from eai_mcp.server.shutdown import Ending
from eai_mcp.server.token import Guarded, Token

MAX_BODY = 32 * 1024 * 1024
NAMES = ("127.0.0.1", "localhost", "[::1]")
Ready: TypeAlias = Callable[[], Awaitable[tuple[bool, Mapping[str, Any]]]]
"""Whether the server can work, and what is told of it."""
NO_WAY_BACK = ("listChanged", "subscribe")
SUBSCRIBING = ("resources/subscribe", "resources/unsubscribe")


async def serve_http(
    server: Server[Any],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    sse: bool = False,
    path: str = "/mcp",
    max_body: int = MAX_BODY,
    stateful: bool = False,
    ready: Ready | None = None,
    token: Token | None = None,
    announce: Callable[[str], None],
    log_level: str = "warning",
    closing_s: float = shutdown.LIMIT_S,
) -> None:
    """Serve until a signal ends it; then the process has to end, with the limits of `serve_stdio`.

    Port 0 is any free one. `announce` is told the URL of streamable HTTP once it answers; with `sse` the
    deprecated transport stands beside it at /sse. A body of more than `max_body` bytes is refused. /readyz
    tells what `ready` does. With a `token`, only those who say it are served. Needs the asyncio backend.

    Raises:
        ConfigError: The host is not loopback, or the port cannot be had.
    """
    with listening(host, port) as listener:
        ending = Ending(limit_s=closing_s)
        app = build_app(
            server,
            listener.getsockname(),
            ending,
            sse=sse,
            path=path,
            max_body=max_body,
            stateful=stateful,
            ready=ready,
            token=token,
        )
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(ending.watch_signals)
                url = f"http://{authority(listener.getsockname())}{path}"
                await serve_app(app, listener, ending, lambda: announce(url), log_level=log_level)
                tasks.cancel_scope.cancel()
        finally:
            ending.leave()


def build_app(
    server: Server[Any],
    address: tuple[Any, ...],
    ending: Ending,
    *,
    sse: bool = False,
    path: str = "/mcp",
    max_body: int = MAX_BODY,
    stateful: bool = False,
    ready: Ready | None = None,
    token: Token | None = None,
) -> Interruptible:
    """Everything that is served at a socket's address; Host and Origin have to name it."""
    guard = _guard(address)
    app = _adapted(server, stateful=stateful).streamable_http_app(
        streamable_http_path=path,
        stateless_http=not stateful,
        max_request_body_size=max_body,
        transport_security=guard,
    )
    app.router.routes.append(Route("/healthz", _healthz))
    if ready is not None:
        app.router.routes.append(Route("/readyz", _Readyz(ready, guard), methods=["GET"]))
    if sse:
        transport = SseServerTransport("/messages/", guard, max_body)
        app.router.routes.append(Route("/sse", _SseStream(server, transport, guard), methods=["GET"]))
        app.router.routes.append(Mount("/messages/", transport.handle_post_message))
    readable = Readable(app, max_body)
    return Interruptible(readable if token is None else Guarded(readable, token), ending)


class _SseStream:
    """The GET of the deprecated transport: a connection like stdio, as long as the stream is open."""

    def __init__(
        self, server: Server[Any], transport: SseServerTransport, guard: TransportSecuritySettings
    ) -> None:
        self._server = server
        self._transport = transport
        self._guard = TransportSecurityMiddleware(guard)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._guard.validate_request(Request(scope, receive))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        async with self._transport.connect_sse(scope, receive, send) as (incoming, outgoing):
            options = self._server.create_initialization_options()
            await self._server.run(Probing(incoming, outgoing, self._server), outgoing, options)


def _adapted(server: Server[Any], *, stateful: bool) -> Server[Any]:
    """The same server for streamable HTTP; the one that was handed in stays as it is, for SSE needs it so."""
    adapted = copy.copy(server)
    adapted.middleware = [*server.middleware] if stateful else [*server.middleware, _no_way_back]
    return adapted


async def _no_way_back(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Say, and hold to it, that a request that stands alone has no connection to tell something on later."""
    if ctx.method in SUBSCRIBING:
        raise MCPError(code=METHOD_NOT_FOUND, message="Method not found", data=ctx.method)
    result = await call_next(ctx)
    if ctx.method != "initialize" or not isinstance(result, dict):
        return result
    capabilities: dict[str, dict[str, Any]] = result["capabilities"]
    capabilities = {
        name: {**offer, **{flag: False for flag in NO_WAY_BACK if flag in offer}}
        for name, offer in capabilities.items()
    }
    return {**result, "capabilities": capabilities}


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


class _Readyz:
    """Tells whether the server can work. It names models, so it looks at Host and Origin too."""

    def __init__(self, ready: Ready, guard: TransportSecuritySettings) -> None:
        self._ready = ready
        self._guard = TransportSecurityMiddleware(guard)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._guard.validate_request(Request(scope, receive))
        if answer is None:
            is_ready, told = await self._ready()
            answer = JSONResponse(told, 200 if is_ready else 503)
        await answer(scope, receive, send)


def _guard(address: tuple[Any, ...]) -> TransportSecuritySettings:
    port = address[1]
    hosts = [f"{name}:{port}" for name in NAMES]
    hosts.append(authority(address))
    if port == 80:
        hosts += NAMES
    return TransportSecuritySettings(
        allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts]
    )
