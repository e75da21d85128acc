"""MCP over HTTP: streamable HTTP at one path and, if asked for, the deprecated SSE beside it.

Nothing hangs on a connection. On the newer protocol each request stands alone; on the older one it does too
unless `stateful` is chosen, and then what needs a way back to the client is said not to exist: subscriptions,
notices of changed lists. SSE has such a way, so there everything is as on stdio.

A request comes in through  Interruptible → Heads → Guard → Admitted → Openings → Readable → the SDK's app  so
that those who are not let in cost next to nothing: of a stranger's request only the head is read.
"""

import copy
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from eai_mcp.errors import ConfigError
from eai_mcp.server import guard, openings, shutdown
from eai_mcp.server import sse as streams
from eai_mcp.server.address import authority, listening
from eai_mcp.server.admitted import Admitted, Gate
from eai_mcp.server.bodies import Readable
from eai_mcp.server.carrier import Interruptible, serve_app
from eai_mcp.server.heads import HEALTH, Heads
from eai_mcp.server.principal import READY, is_stranger
from eai_mcp.server.shutdown import Ending

MAX_BODY = 32 * 1024 * 1024
PATH = "/mcp"
TAKEN = (HEALTH, READY, "/sse", "/messages")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)
Ready: TypeAlias = Callable[[], Awaitable[tuple[bool, Mapping[str, Any]]]]
"""Whether the server can work, and what is told of it."""
NO_WAY_BACK = ("listChanged", "subscribe")
SUBSCRIBING = ("resources/subscribe", "resources/unsubscribe")
# Ours stands in front of every path, and knows more names.
UNGUARDED = TransportSecuritySettings(enable_dns_rebinding_protection=False)


async def serve_http(
    server: Server[Any],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    sse: bool = False,
    path: str = PATH,
    max_body: int = MAX_BODY,
    stateful: bool = False,
    ready: Ready | None = None,
    gate: Gate | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    announce: Callable[[str], None],
    log_level: str = "warning",
    closing_s: float = shutdown.LIMIT_S,
) -> None:
    """Serve until a signal ends it; then the process has to end, with the limits of `serve_stdio`.

    Port 0 is any free one. `announce` is told the URL of streamable HTTP once it answers; with `sse` the
    deprecated transport stands beside it at /sse. A body of more than `max_body` bytes is refused. /readyz
    tells what `ready` does. With a `gate`, only those whom it knows are served. `hosts` are other names of
    ours, `origins` those of pages whose scripts may ask. Needs the asyncio backend.

    Raises:
        ConfigError: The host needs a gate, the port cannot be had, or another of these cannot work.
    """
    with listening(host, port, is_guarded=gate is not None) as listener:
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
            gate=gate,
            hosts=hosts,
            origins=origins,
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
    path: str = PATH,
    max_body: int = MAX_BODY,
    stateful: bool = False,
    ready: Ready | None = None,
    gate: Gate | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> Interruptible:
    """Everything that is served at a socket's address; Host and Origin have to name it."""
    check_path(path)
    ours = guard.names(address, hosts=hosts, origins=origins)
    adapted = _adapted(server, stateful=stateful)
    app = adapted.streamable_http_app(
        streamable_http_path=path,
        stateless_http=not stateful,
        max_request_body_size=max_body,
        max_sessions=openings.WHOLE,
        session_idle_timeout=openings.IDLE_S,
        transport_security=UNGUARDED,
    )
    if ready is not None:
        app.router.routes.append(Route(READY, _readyz(ready), methods=["GET"]))
    if sse:
        app.router.routes.extend(streams.routes(server, UNGUARDED, max_body))
    inner: ASGIApp = Readable(app, max_body)
    if stateful:
        inner = openings.Openings(inner, adapted.session_manager, path)
    if gate is not None:
        inner = Admitted(inner, gate, path)
    return Interruptible(Heads(guard.Guard(inner, ours)), ending)


def check_path(path: str) -> None:
    """See that streamable HTTP can be served there.

    Raises:
        ConfigError: It is no path, or something else is there.
    """
    if path.endswith("/") and _PATH.fullmatch(path[:-1]):
        raise ConfigError(f"--path takes a path without a slash at its end: {path[:-1]!r}", field="path")
    steps = path.split("/")[1:]
    is_taken = f"/{steps[0]}" in (*TAKEN, "/.well-known") if steps else True
    if is_taken or not _PATH.fullmatch(path) or not {".", ".."}.isdisjoint(steps):
        taken = ", ".join(TAKEN)
        raise ConfigError(
            f"--path takes a path like /mcp, of letters, digits and . _ ~ - between slashes, which does not"
            f" begin as one of {taken}; not {path!r}",
            field="path",
        )


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


def _readyz(ready: Ready) -> Callable[[Request], Awaitable[Response]]:
    """Tells whether the server can work, and to those who are let in, how it stands."""

    async def answer(request: Request) -> Response:
        is_ready, told = await ready()
        shown = {"status": told["status"]} if is_stranger(request.scope) else told
        return JSONResponse(shown, 200 if is_ready else 503)

    return answer
