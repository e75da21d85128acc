"""The deprecated SSE transport: a GET whose stream brings the answers to what is posted beside it.

A client that posts and does not read would have its answers wait here without an end. So what is on its way
counts, from the POST over the handler to the stream, and above a number of these no more is taken.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any
from uuid import UUID

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared._stream_protocols import WriteStream
from mcp.shared.message import SessionMessage
from starlette.datastructures import QueryParams
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Message, Receive, Scope, Send

from eai_mcp.server import shares
from eai_mcp.server.bodies import ASKS
from eai_mcp.server.principal import SPACE
from eai_mcp.server.probe import Probing
from eai_mcp.server.streams import Writer

MESSAGES = "/messages/"
STREAMS_EACH, STREAMS = 250, 2000
REQUESTS = 256
"""On their way in one stream; with what nobody waits for, like cancelling one of them, twice that."""
_NAMED = re.compile(rb"session_id=([0-9a-f]{32})")
_TRAFFIC = "eai_mcp.traffic"


def routes(server: Server[Any], unguarded: TransportSecuritySettings, max_body: int) -> list[BaseRoute]:
    """Both of its places."""
    adapted = copy.copy(server)
    adapted.middleware = [_counted, *server.middleware]
    transport = SseServerTransport(MESSAGES, unguarded, max_body)
    streams = _Streams(adapted, transport)
    return [Route("/sse", streams, methods=["GET"]), Mount(MESSAGES, _Posts(transport, streams))]


class _Traffic:
    """What is on its way in one stream."""

    def __init__(self) -> None:
        self.count = 0
        self.is_unnamed = True

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more, for as long as the block lasts."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class _Streams:
    """The GET: a connection like stdio, as long as the stream is open."""

    def __init__(self, server: Server[Any], transport: SseServerTransport) -> None:
        self._server = server
        self._transport = transport
        self._share = shares.Share(each=STREAMS_EACH, whole=STREAMS)
        self._open: dict[UUID, _Traffic] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        space = scope.get(SPACE, "")
        if not self._share.take(space):
            await shares.spent("streams")(scope, receive, send)
            return
        traffic = _Traffic()
        named = self._named(traffic, send)
        try:
            async with self._transport.connect_sse(scope, receive, named) as (incoming, outgoing):
                options = self._server.create_initialization_options()
                told = _Told(outgoing, traffic)
                await self._server.run(Probing(incoming, told, self._server), told, options)
        finally:
            self._share.give_back(space)
            self._open = {name: other for name, other in self._open.items() if other is not traffic}

    def traffic(self, scope: Scope) -> _Traffic | None:
        """What is on its way in the stream that a POST is for; None if there is no such stream."""
        said = QueryParams(scope["query_string"]).get("session_id", "")
        try:
            return self._open.get(UUID(hex=said))
        except ValueError:
            return None

    def _named(self, traffic: _Traffic, send: Send) -> Send:
        """Learns the stream's name from its first event: nothing else says it."""

        async def sent(message: Message) -> None:
            if found := _NAMED.search(message.get("body", b"")) if traffic.is_unnamed else None:
                traffic.is_unnamed = False
                self._open[UUID(hex=found[1].decode())] = traffic
            await send(message)

        return sent


class _Posts:
    """What is posted for a stream, unless too much is on its way there."""

    def __init__(self, transport: SseServerTransport, streams: _Streams) -> None:
        self._transport = transport
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        traffic = self._streams.traffic(scope)
        if traffic is None:
            await self._transport.handle_post_message(scope, receive, send)
        elif traffic.count >= (REQUESTS if scope.get(ASKS) else 2 * REQUESTS):
            await shares.spent("requests without a reader of their answers")(scope, receive, send)
        else:
            # A stream may end while something is posted for it, which was told by then that it was taken.
            with traffic.one(), suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await self._transport.handle_post_message({**scope, _TRAFFIC: traffic}, receive, send)


class _Told(Writer):
    """Counts what waits to be read."""

    def __init__(self, outgoing: WriteStream[SessionMessage], traffic: _Traffic) -> None:
        self._outgoing = outgoing
        self._traffic = traffic

    async def send(self, item: SessionMessage, /) -> None:
        with self._traffic.one():
            await self._outgoing.send(item)

    async def aclose(self) -> None:
        """Close the stream that is wrapped."""
        await self._outgoing.aclose()


async def _counted(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Counts what is at work."""
    traffic: _Traffic | None = getattr(ctx.request, "scope", {}).get(_TRAFFIC)
    with nullcontext() if traffic is None else traffic.one():
        return await call_next(ctx)
