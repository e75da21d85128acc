"""What can be read here, from several sources, in pages of a hundred.

`eai://KIND` is a list of all of a kind, and `eai://KIND/NAME` one of them.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote, unquote

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from eai_mcp.errors import EaiError
from eai_mcp.observe import internal
from eai_mcp.server import cursors
from eai_mcp.server.principal import space_of

PAGE = 100
LONGEST_URI = 64 * 1024
"""Characters that are looked at, or told back."""
MOST_SHOWN = 200
SCHEME = "eai://"
SESSIONS = "sessions"
_PARTS = re.compile(re.escape(SCHEME) + "([a-z]+)/([^/?#]+)")


def every(kind: str) -> str:
    """Where the list of all of a kind is."""
    return SCHEME + kind


def uri(kind: str, name: str) -> str:
    """Where one is."""
    return f"{SCHEME}{kind}/{quote(name, safe=':@+', errors='replace')}"


def parts(uri: str) -> tuple[str, str] | None:
    """The kind and the name of the one that is at a URI, None if that is not how we name one."""
    found = _PARTS.fullmatch(uri)
    return None if found is None else (found[1], unquote(found[2]))


class Source(Protocol):
    """Resources of one kind. Their names are unique within it, and `name` is unique among the sources."""

    templates: Sequence[types.ResourceTemplate]

    @property
    def name(self) -> str:
        """Where it stands among the others, and in a cursor."""
        ...

    def has_place(self, uri: str) -> bool:
        """Whether that is how one of them is named, be it there or not."""
        ...

    async def after(self, space: str, name: str, limit: int) -> Sequence[types.Resource]:
        """At most `limit` of them in the order of their names, from the first behind `name`."""
        ...

    async def read(self, space: str, uri: str) -> types.ReadResourceResult | None:
        """The one at a URI, None if it is none of ours.

        Raises:
            EaiError: It would be ours, but is not there, or is too long for an answer.
        """
        ...


class Resources:
    """Answers `resources/list`, `resources/templates/list` and `resources/read`, source by source."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {source.name: source for source in sorted(sources, key=lambda one: one.name)}

    async def on_list(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """A page; its cursor is the last source and the last name.

        Raises:
            MCPError: The cursor is none of ours, or a source cannot be read.
        """
        at, last = cursors.place(params, [*self._sources])
        listed: list[types.Resource] = []
        try:
            for name in [*self._sources][at:]:
                room = PAGE - len(listed)
                found = await self._sources[name].after(space_of(context), last, room + 1)
                listed += found[:room]
                if len(found) > room:
                    before = listed[-1].name if room else last
                    return types.ListResourcesResult(resources=listed, next_cursor=cursors.made(name, before))
                last = ""
        except EaiError as error:
            raise refused(error) from error
        except Exception as error:
            raise refused(internal(error)) from error
        return types.ListResourcesResult(resources=listed)

    async def on_templates(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """How each kind is addressed.

        Raises:
            MCPError: There is a cursor, and they never go on.
        """
        cursors.none(params)
        templates = [template for source in self._sources.values() for template in source.templates]
        return types.ListResourceTemplatesResult(resource_templates=templates)

    async def on_read(
        self, context: ServerRequestContext[Any, Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """One of them.

        Raises:
            MCPError: There is no such resource, or it is too long for an answer.
        """
        uri = str(params.uri)
        if len(uri) > LONGEST_URI:
            raise unknown(uri)
        try:
            for source in self._sources.values():
                found = await source.read(space_of(context), uri)
                if found is not None:
                    return found
        except EaiError as error:
            raise refused(error, uri=uri) from error
        except Exception as error:
            raise refused(internal(error), uri=uri) from error
        raise unknown(uri)

    def has_place(self, uri: str) -> bool:
        """Whether something of ours could be at a URI: it is how one of the sources names what it has."""
        return any(source.has_place(uri) for source in self._sources.values())


def refused(error: EaiError, **told: str) -> MCPError:
    """What a client is told who asked for something that is no tool; `known` are the names nearest to it."""
    known = error.details.get("known")
    near = {"known": [*known]} if isinstance(known, tuple) else {}
    return MCPError(types.INVALID_PARAMS, error.message, {"code": error.code, **near, **told})


def unknown(uri: str) -> MCPError:
    """What a client is told who names a resource that cannot be there."""
    shown = uri if len(uri) <= MOST_SHOWN else f"{uri[:MOST_SHOWN]}…"
    return MCPError(types.INVALID_PARAMS, f"no resource {shown}", {"uri": uri[:LONGEST_URI]})
