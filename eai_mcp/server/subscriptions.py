"""Word of changed resources and lists, for those who asked for it, in the way of each protocol generation.

On the older one every connection that can be told hears of changed lists, and of the resources that it
subscribes to; on the newer one a request says what to tell in the stream that answers it. Each hears only of
its own space.
"""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from anyio.abc import TaskGroup
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from eai_mcp.app import unwrapped
from eai_mcp.observe import Fact, internal
from eai_mcp.server import changes, resources, subscribers
from eai_mcp.server.changes import Changed, List
from eai_mcp.server.principal import space_of
from eai_mcp.server.subscribers import Subscriber
from eai_mcp.server.watching import Key, Watch

LOOK_EVERY_S = 1.0
MOST_SUBSCRIBERS = 1000
MOST_IN_SPACE = 250
"""Clients of one principal that subscribe, so that nobody uses up what is there for all."""
MOST_URIS_IN_SPACE = 10_000
LISTS: tuple[List, ...] = ("prompts", "resources")


class Notices:
    """Hears facts, looks for what no fact tells, and answers those who subscribe.

    All of it happens in the server's event loop: what changes a resource is told of there. Word goes out of
    changes of `lists`; the others are taken never to change. What has our scheme must have a place with us;
    all else may be subscribed to, for a turn may push a resource under any URI.
    """

    def __init__(
        self,
        watch: Watch | None = None,
        *,
        lists: Collection[List] = LISTS,
        has_place: Callable[[str], bool] = lambda uri: True,
    ) -> None:
        self.lists = frozenset(lists)
        self._has_place = has_place
        self._watch = watch
        self._subscribers: set[Subscriber] = set()
        self._wanting: dict[str, set[Subscriber]] = {}
        self._connections: dict[Connection, Subscriber] = {}
        self._somebody = anyio.Event()
        self._looking = anyio.Lock()

    def hears(self, name: str) -> bool:
        """Whether anybody has to be told of facts of that name."""
        if name in changes.LISTED or name == changes.REPLACED:
            return bool(self._subscribers)
        return name in changes.READ and bool(self._wanting)

    def __call__(self, fact: Fact) -> None:
        """Pass on what a fact says to have changed."""
        changed = changes.by_fact(fact)
        if self._watch is not None and changed.space is not None:
            self._watch.forget(changed.space, fact.session)
        self.tell(changed)

    def tell(self, changed: Changed) -> None:
        """Pass on what changed to those whom it concerns."""
        uris = [*changed.uris, *(uri for uri in self._wanting if changed.any_session and _session(uri))]
        for uri in uris:
            for subscriber in self._wanting.get(uri, ()):
                if changed.space in (None, subscriber.space):
                    subscriber.updated(uri)
        for name in changed.lists:
            for subscriber in self._subscribers:
                if changed.space in (None, subscriber.space):
                    subscriber.listed(name)

    async def on_initialized(
        self, context: ServerRequestContext[Any, Any], params: types.NotificationParams
    ) -> None:
        """On the older protocol, word of changed lists is owed to every client from here on."""
        if self.lists and _connection(context).has_standalone_channel:
            self._connected(context)

    async def on_subscribe(
        self, context: ServerRequestContext[Any, Any], params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """On the older protocol: as long as the connection lasts.

        Raises:
            MCPError: There are too many, or nothing can be at that URI.
        """
        if not self._is_told(str(params.uri)):
            raise resources.unknown(str(params.uri))
        subscriber = self._connected(context)
        if subscriber.space != space_of(context):
            raise MCPError(types.INVALID_REQUEST, "this connection is somebody else's")
        if not subscriber.is_asked:
            self._check_room(subscriber.space)
        await self._want(subscriber, str(params.uri))
        return types.EmptyResult()

    async def on_unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        """It is no mistake never to have subscribed."""
        subscriber = self._connections.get(_connection(context))
        if subscriber is not None and subscriber.space == space_of(context):
            self._unwant(subscriber, subscriber.forget(str(params.uri)))
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
        heard = self._heard(params.notifications)
        space = space_of(context)
        self._check_room(space)
        told = subscribers.within(context.session, number)
        subscriber = Subscriber(space, told, lists=_lists(heard), is_asked=True)
        self._join(subscriber)
        try:
            for uri in heard.resource_subscriptions or ():
                await self._want(subscriber, uri)
            await context.session.send_notification(_acknowledged(heard, number), number)
            await subscriber.run()
        finally:
            self._leave(subscriber)
        return types.SubscriptionsListenResult(_meta=subscribers.stamp(number))

    @asynccontextmanager
    async def lifespan(self, server: Server[Any]) -> AsyncIterator[TaskGroup]:
        """Where subscribers are told: a server's lifespan, which ends behind its connections."""
        async with unwrapped(), anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            yield tasks
            tasks.cancel_scope.cancel()

    async def _look(self) -> None:
        """Look for what no fact tells, while somebody is there to be told."""
        if self._watch is None:
            return
        async with self._looking:  # over SSE each connection has a lifespan: one of them looks for all
            while True:
                await self._somebody.wait()
                try:
                    for changed in await self._watch.look(self._sessions()):
                        self.tell(changed)
                except Exception as error:  # noqa: BLE001  # it must end neither the look-out nor the server
                    internal(error)
                await anyio.sleep(LOOK_EVERY_S)

    def _sessions(self) -> list[Key]:
        """The sessions that somebody subscribed to."""
        wanted = ((parts[1], of) for uri, of in self._wanting.items() if (parts := _session(uri)))
        return [*{(subscriber.space, name): None for name, of in wanted for subscriber in of}]

    def _connected(self, context: ServerRequestContext[Any, Any]) -> Subscriber:
        """What stands for a connection of the older protocol, until it ends."""
        connection = _connection(context)
        subscriber = self._connections.get(connection)
        if subscriber is None:
            told = subscribers.over(context.session)
            subscriber = Subscriber(space_of(context), told, lists=self.lists)
            self._connections[connection] = subscriber
            self._join(subscriber)
            connection.exit_stack.callback(self._disconnected, connection)
            tasks: TaskGroup = context.lifespan_context
            tasks.start_soon(subscriber.run)
        return subscriber

    def _disconnected(self, connection: Connection) -> None:
        subscriber = self._connections.pop(connection)
        self._leave(subscriber)
        subscriber.scope.cancel()

    def _join(self, subscriber: Subscriber) -> None:
        if self._watch is not None:
            self._watch.begin()
        self._subscribers.add(subscriber)
        self._somebody.set()

    def _leave(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        for uri in subscriber.wanted:
            self._unwant(subscriber, uri)
        if not self._subscribers:
            self._somebody = anyio.Event()

    async def _want(self, subscriber: Subscriber, uri: str) -> None:
        neighbours = (one for one in self._subscribers if one.space == subscriber.space)
        if sum(len(one.wanted) for one in neighbours) >= MOST_URIS_IN_SPACE:
            raise _too_many(f"{MOST_URIS_IN_SPACE} resources are subscribed to already")
        known = subscriber.want(uri)
        self._wanting.setdefault(known, set()).add(subscriber)
        if self._watch is not None and (parts := _session(known)):
            await self._watch.note((subscriber.space, parts[1]))

    def _unwant(self, subscriber: Subscriber, known: str) -> None:
        if of := self._wanting.get(known):
            of.discard(subscriber)
            if not of:
                del self._wanting[known]

    def _check_room(self, space: str) -> None:
        asked = [one.space for one in self._subscribers if one.is_asked]
        if len(asked) >= MOST_SUBSCRIBERS:
            raise _too_many(f"{MOST_SUBSCRIBERS} clients subscribe already")
        if asked.count(space) >= MOST_IN_SPACE:
            raise _too_many(f"{MOST_IN_SPACE} clients of yours subscribe already")

    def _heard(self, asked: types.SubscriptionFilter) -> types.SubscriptionFilter:
        """What of it will be told."""
        return types.SubscriptionFilter(
            prompts_list_changed=("prompts" in self.lists and asked.prompts_list_changed) or None,
            resources_list_changed=("resources" in self.lists and asked.resources_list_changed) or None,
            tools_list_changed=("tools" in self.lists and asked.tools_list_changed) or None,
            resource_subscriptions=[*filter(self._is_told, dict.fromkeys(asked.resource_subscriptions or ()))]
            or None,
        )

    def _is_told(self, uri: str) -> bool:
        """Whether there could ever be word of it."""
        return not uri.startswith(resources.SCHEME) or self._has_place(uri)


def _connection(context: ServerRequestContext[Any, Any]) -> Connection:
    # The SDK keeps what outlives a request, and the cleaning up behind it, on the connection, but its context
    # for handlers gives no public way there yet.
    return context.session._connection


def _lists(heard: types.SubscriptionFilter) -> list[List]:
    found: dict[List, bool | None] = {
        "prompts": heard.prompts_list_changed,
        "resources": heard.resources_list_changed,
        "tools": heard.tools_list_changed,
    }
    return [name for name, is_heard in found.items() if is_heard]


def _acknowledged(
    heard: types.SubscriptionFilter, number: types.RequestId
) -> types.SubscriptionsAcknowledgedNotification:
    return types.SubscriptionsAcknowledgedNotification(
        params=types.SubscriptionsAcknowledgedNotificationParams(
            notifications=heard, _meta=subscribers.stamp(number)
        )
    )


def _session(uri: str) -> tuple[str, str] | None:
    """The parts of a session's URI, None if it is none."""
    parts = resources.parts(uri)
    return parts if parts and parts[0] == resources.SESSIONS else None


def _too_many(what: str) -> MCPError:
    return MCPError(types.INTERNAL_ERROR, f"{what}; try later")
