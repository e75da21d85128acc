"""Word of changed resources, for those who asked for it, in the way of each protocol generation.

A subscriber has a set of what changed, and is told of it at most every 100 ms. So what changes often is told
once, and a client that reads slowly, or not at all, delays nobody and holds no more than it subscribed to.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import anyio
import mcp_types as types
from anyio.abc import TaskGroup
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.exceptions import MCPError

from eai_mcp.app import unwrapped
from eai_mcp.observe import Fact
from eai_mcp.server import sessions, status

TOGETHER_S = 0.1
MOST_SUBSCRIBERS = 1000
MOST_URIS = 1000
LONGEST_URI = 4096
SETTLED = ("turn.completed", "turn.failed", "turn.cancelled", "turn.yielded")


class Subscriber:
    """What one client wants to hear of, and what it was not told yet."""

    def __init__(self, tell: Callable[[str], Awaitable[None]]) -> None:
        self._tell = tell
        self._wanted: dict[str, str] = {}
        self._changed: dict[str, None] = {}
        self._wake = anyio.Event()
        self.scope = anyio.CancelScope()

    def want(self, uri: str) -> None:
        """Hear of a resource, under the very name that is given here."""
        is_full = len(self._wanted) >= MOST_URIS and _same(uri) not in self._wanted
        if is_full or len(uri) > LONGEST_URI:
            limits = f"at most {MOST_URIS} resources of up to {LONGEST_URI} characters"
            raise MCPError(types.INVALID_PARAMS, f"{limits} can be subscribed to")
        self._wanted[_same(uri)] = uri

    def forget(self, uri: str) -> None:
        """Hear no more of it."""
        self._changed.pop(self._wanted.pop(_same(uri), ""), None)

    def changed(self, uri: str) -> None:
        """Take note of a change."""
        wanted = self._wanted.get(uri)
        if wanted is not None:
            self._changed[wanted] = None
            self._wake.set()

    async def run(self) -> None:
        """Tell what changed, until `scope` is cancelled."""
        with self.scope:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._changed:
                    uri = next(iter(self._changed))
                    del self._changed[uri]
                    await self._tell(uri)
                await anyio.sleep(TOGETHER_S)


class Notices:
    """Hears facts, and answers those who subscribe.

    All of it happens in the server's event loop: what changes a resource is told of there.
    """

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()
        self._connections: dict[Connection, Subscriber] = {}

    def observe(self, fact: Fact) -> None:
        """Pass on what a fact says to have changed."""
        if self._subscribers:
            for uri in _changed(fact):
                for subscriber in self._subscribers:
                    subscriber.changed(uri)

    async def on_subscribe(
        self, context: ServerRequestContext[Any, Any], params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """On the older protocol: as long as the connection lasts.

        Raises:
            MCPError: There are too many.
        """
        connection = _connection(context)
        subscriber = self._connections.get(connection)
        if subscriber is None:
            subscriber = Subscriber(context.session.send_resource_updated)
            subscriber.want(str(params.uri))
            self._join(subscriber)
            self._connections[connection] = subscriber
            connection.exit_stack.callback(self._leave, connection)
            tasks: TaskGroup = context.lifespan_context
            tasks.start_soon(subscriber.run)
        else:
            subscriber.want(str(params.uri))
        return types.EmptyResult()

    async def on_unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        """It is no mistake never to have subscribed."""
        subscriber = self._connections.get(_connection(context))
        if subscriber is not None:
            subscriber.forget(str(params.uri))
        return types.EmptyResult()

    async def on_listen(
        self, context: ServerRequestContext[Any, Any], params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """On the newer protocol: as long as the request, whose answer is a stream, is not ended.

        Raises:
            MCPError: There are too many.
        """
        number = context.request_id
        if number is None:
            raise MCPError(types.INVALID_REQUEST, "subscriptions/listen must be a request, with an id")
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: number}

        async def tell(uri: str) -> None:
            changed = types.ResourceUpdatedNotificationParams(uri=uri, _meta=meta)
            await context.session.send_notification(
                types.ResourceUpdatedNotification(params=changed), related_request_id=number
            )

        subscriber = Subscriber(tell)
        for uri in params.notifications.resource_subscriptions or ():
            subscriber.want(uri)
        self._join(subscriber)
        try:
            await context.session.send_notification(_acknowledged(params.notifications, meta), number)
            await subscriber.run()
        finally:
            self._subscribers.discard(subscriber)
        return types.SubscriptionsListenResult(_meta=meta)

    def _join(self, subscriber: Subscriber) -> None:
        if len(self._subscribers) >= MOST_SUBSCRIBERS:
            raise MCPError(types.INTERNAL_ERROR, f"{MOST_SUBSCRIBERS} clients subscribe already; try later")
        self._subscribers.add(subscriber)

    def _leave(self, connection: Connection) -> None:
        subscriber = self._connections.pop(connection)
        self._subscribers.discard(subscriber)
        subscriber.scope.cancel()


@asynccontextmanager
async def telling(server: Server[Any]) -> AsyncIterator[TaskGroup]:
    """Where subscribers are told: a server's lifespan, which ends behind its connections."""
    async with unwrapped(), anyio.create_task_group() as tasks:
        yield tasks
        tasks.cancel_scope.cancel()


def _connection(context: ServerRequestContext[Any, Any]) -> Connection:
    # The SDK keeps what outlives a request, and the cleaning up behind it, on the connection, but its context
    # for handlers gives no public way there yet.
    return context.session._connection


def _acknowledged(
    asked: types.SubscriptionFilter, meta: dict[str, Any]
) -> types.SubscriptionsAcknowledgedNotification:
    """What of it will be heard; nothing is told of changed lists."""
    heard = types.SubscriptionFilter(resource_subscriptions=asked.resource_subscriptions or None)
    return types.SubscriptionsAcknowledgedNotification(
        params=types.SubscriptionsAcknowledgedNotificationParams(notifications=heard, _meta=meta)
    )


def _changed(fact: Fact) -> Iterator[str]:
    if fact.name == "resource.pushed":
        yield str(fact.fields.get("uri", ""))
    if fact.name == "resource.pushed" or fact.name in SETTLED:
        yield sessions.uri(fact.session)
    if fact.name.startswith("circuit."):
        yield status.URI


def _same(uri: str) -> str:
    """A session's URI as we write it: a client may escape what need not be escaped."""
    found = sessions.URI.fullmatch(uri)
    return sessions.uri(unquote(found[1])) if found else uri
