"""uvicorn as what carries an app, started and ended by us.

By itself it would take the signals over, turn them into its own exit code, and wait for every open stream.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from eai_mcp.server.address import BACKLOG
from eai_mcp.server.connections import AT_ONCE, Sparing, Watched
from eai_mcp.server.replies import Reply
from eai_mcp.server.shutdown import Ending

KEEP_ALIVE_S = 75
GRACE_S = 0.3
LOGS = ("uvicorn.error", "asyncio")


async def serve_app(
    app: "Interruptible",
    listener: socket.socket,
    ending: Ending,
    ready: Callable[[], None],
    *,
    log_level: str = "warning",
    protocol: type[Watched] = Watched,
) -> None:
    """Serve until the end is asked for, or this is cancelled; then every open request is ended too."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level=log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # On h11: where httptools is installed it would be taken, which leaves white space behind a value.
        http=protocol,
        ws="none",
        lifespan="on",
        backlog=AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,  # type: ignore[arg-type]  # goes to a wait that takes fractions
    )
    carrier = _Carrier(config, ready)
    with _sparing():
        await _serve(carrier, listener, ending, app)


async def _serve(carrier: "_Carrier", listener: socket.socket, ending: Ending, app: "Interruptible") -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop, ending, app, carrier)
        # Cancelled in the middle, uvicorn would leave tasks and sockets behind; it is told to stop instead.
        with anyio.CancelScope(shield=True):
            await carrier.serve(sockets=[listener])
        tasks.cancel_scope.cancel()


class Interruptible:
    """An app whose open requests all end when the end is asked for, in a way that HTTP clients understand."""

    def __init__(self, app: ASGIApp, ending: Ending) -> None:
        self._app = app
        self._ending = ending
        self._open: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; after the end was asked for it gets as far as its first wait."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply = Reply(send)
        with anyio.CancelScope() as request:
            if self._ending.asked.is_set():
                request.cancel()
            self._open.add(request)
            try:
                await self._app(scope, receive, reply)
            finally:
                self._open.discard(request)
        if request.cancelled_caught:
            await reply.part(scope, receive, Response("The server is ending.", 503))

    def interrupt(self) -> None:
        """End all that is open."""
        for request in self._open:
            request.cancel()


class _Carrier(uvicorn.Server):
    """uvicorn, without its hand on the signals, and telling when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # asyncio made it as short as the number that it takes at once
        self._ready()


@contextmanager
def _sparing() -> Iterator[None]:
    logs, sparing = [logging.getLogger(name) for name in LOGS], Sparing()
    for log in logs:
        log.addFilter(sparing)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(sparing)


async def _stop(ending: Ending, app: Interruptible, carrier: _Carrier) -> None:
    try:
        await ending.asked.wait()
    finally:
        carrier.should_exit = True
        app.interrupt()
