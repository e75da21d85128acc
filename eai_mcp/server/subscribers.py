"""One client that wants to hear of changes, and what it was not told yet.

It is told at most every 100 ms, of each thing once. So what changes often is told once, and a client that
reads slowly, or not at all, delays nobody and holds no more than it subscribed to.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias, assert_never

import anyio
import mcp_types as types
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    SUBSCRIPTION_ID_META_KEY,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import event_to_notification

from eai_mcp.server.changes import List, same

TOGETHER_S = 0.1
MOST_URIS = 1000
LONGEST_URI = 4096
Tell: TypeAlias = Callable[[ServerEvent], Awaitable[None]]
_LISTS: dict[List, ServerEvent] = {
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
    "tools": ToolsListChanged(),
}


class Subscriber:
    """Hears in one space of the resources in `wanted` and of changes of `lists`; `tell` reaches the client.

    `wanted` holds each URI as we write it, and as the client did, who is told of it so. `is_asked` says
    whether the client asked for anything itself.
    """

    def __init__(
        self,
        space: str,
        tell: Tell,
        *,
        lists: Collection[List] = (),
        is_asked: bool = False,
    ) -> None:
        self.space = space
        self.wanted: dict[str, str] = {}
        self.scope = anyio.CancelScope()
        self._tell = tell
        self._lists = frozenset(lists)
        self._is_asked = is_asked
        self._untold: dict[ServerEvent, None] = {}
        self._wake = anyio.Event()

    @property
    def is_asked(self) -> bool:
        """Whether it counts: a connection that only may be told of lists costs next to nothing."""
        return self._is_asked or bool(self.wanted)

    def want(self, uri: str) -> str:
        """Hear of a resource; its URI as we write it.

        Raises:
            MCPError: It is too long, or one too many.
        """
        known = same(uri)
        is_full = len(self.wanted) >= MOST_URIS and known not in self.wanted
        if is_full or len(uri) > LONGEST_URI:
            limits = f"at most {MOST_URIS} resources of up to {LONGEST_URI} characters"
            raise MCPError(types.INVALID_PARAMS, f"{limits} can be subscribed to")
        self.wanted[known] = uri
        return known

    def forget(self, uri: str) -> str:
        """Hear no more of it; its URI as we write it."""
        known = same(uri)
        self._untold.pop(ResourceUpdated(self.wanted.pop(known, "")), None)
        return known

    def updated(self, uri: str) -> None:
        """A resource, by its URI as we write it, reads otherwise."""
        if uri in self.wanted:
            self._note(ResourceUpdated(self.wanted[uri]))

    def listed(self, name: List) -> None:
        """A list has other members."""
        if name in self._lists:
            self._note(_LISTS[name])

    async def run(self) -> None:
        """Tell what changed, until `scope` is cancelled."""
        with self.scope:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                told, self._untold = self._untold, {}
                for event in told:
                    await self._tell(event)
                await anyio.sleep(TOGETHER_S)

    def _note(self, event: ServerEvent) -> None:
        self._untold[event] = None
        self._wake.set()


def over(session: ServerSession) -> Tell:
    """How a client of the older protocol is told: over its connection."""

    async def tell(event: ServerEvent) -> None:
        match event:
            case ResourceUpdated(uri=uri):
                await session.send_resource_updated(uri)
            case ResourcesListChanged():
                await session.send_resource_list_changed()
            case PromptsListChanged():
                await session.send_prompt_list_changed()
            case ToolsListChanged():
                await session.send_tool_list_changed()
            case _:
                assert_never(event)

    return tell


def within(session: ServerSession, number: types.RequestId) -> Tell:
    """How one of the newer protocol is told: in the stream that answers its request of that number."""

    async def tell(event: ServerEvent) -> None:
        await session.send_notification(event_to_notification(event, stamp(number)), number)

    return tell


def stamp(number: types.RequestId) -> dict[str, Any]:
    """The metadata of all that is said in the stream of a subscription."""
    return {SUBSCRIPTION_ID_META_KEY: number}
