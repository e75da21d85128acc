"""Resources that were pushed in a turn, as a client gets them: in the result itself if small, else by a link.

Their content stays readable at `eai://sessions/{name}/pushed/{turn_id}/{n}`, n counted from 1, while the turn
is running and afterwards.
"""

import base64
import json
import re
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import quote, unquote

import mcp_types as types

from eai_mcp.calls import ResourcePushed
from eai_mcp.chat import pushed
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import LimitExceeded, NotFound
from eai_mcp.server import resources
from eai_mcp.server.results import ResourceResult
from eai_mcp.server.room import Room

LONGEST_EMBEDDED = 64 * 1024
LONGEST_READ = 7 * 1024 * 1024
SCHEME = resources.every(resources.SESSIONS) + "/"
TEMPLATE = SCHEME + "{name}/pushed/{turn_id}/{number}"
URI = re.compile(re.escape(SCHEME) + r"([^/?#]+)/pushed/([^/?#]+)/([1-9]\d{0,8})")

Contents: TypeAlias = types.TextResourceContents | types.BlobResourceContents


def told(result: TurnResult, room: Room) -> list[ResourceResult]:
    """What is said of each, of as many from the first as the limit takes."""
    left, shown = room.told, []
    for number, resource in enumerate(result.resources, 1):
        one = _told(resource, where(result, number))
        left -= len(json.dumps(one))
        if left < 0:
            break
        shown.append(one)
    return shown


def blocks(
    result: TurnResult, shown: Sequence[ResourceResult], room: Room
) -> list[types.EmbeddedResource | types.ResourceLink]:
    """The resources among `shown` as parts of a result."""
    left = room.embedded
    made: list[types.EmbeddedResource | types.ResourceLink] = []
    for resource, one in zip(result.resources, shown, strict=False):
        contents = _contents(resource.uri, resource) if pushed.size(resource) <= LONGEST_EMBEDDED else None
        size = _written(contents) if contents else 0
        if contents is None or size > left:
            made.append(_link(resource, one))
        else:
            left -= size
            made.append(types.EmbeddedResource(resource=contents))
    return made


def where(result: TurnResult, number: int) -> str:
    """Where the content of a turn's resource can be read, if it came with any; counted from 1."""
    session = resources.uri(resources.SESSIONS, result.session)
    return f"{session}/pushed/{quote(result.turn_id, safe='')}/{number}"


class Pushed:
    """Reads them; none is listed, since each is named in the result of its turn."""

    name = "pushed"
    templates: Sequence[types.ResourceTemplate] = (
        types.ResourceTemplate(
            uri_template=TEMPLATE,
            name="pushed",
            title="Pushed resource",
            description="What was pushed in a turn of a chat session",
        ),
    )

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def has_place(self, uri: str) -> bool:
        """Whether that is how one is named."""
        return URI.fullmatch(uri) is not None

    async def after(self, space: str, name: str, limit: int) -> Sequence[types.Resource]:
        """None."""
        return []

    async def read(self, space: str, uri: str) -> types.ReadResourceResult | None:
        """The content of a resource.

        Raises:
            NotFound: There is no such session, turn or resource, or its content is elsewhere.
            LimitExceeded: It is too large for one answer.
        """
        found = URI.fullmatch(uri)
        if found is None:
            return None
        session, turn_id, number = unquote(found[1]), unquote(found[2]), int(found[3])
        turn = await self._registry.find(space, session, turn_id)
        resources = (await self._registry.reply(turn, 0)).resources
        if number > len(resources):
            raise NotFound(
                f"turn {turn_id} in session {session!r} has {len(resources)} pushed resources", name=uri
            )
        contents = _contents(uri, resources[number - 1])
        if contents is None:
            raise NotFound(f"the content of this resource is at {resources[number - 1].uri}", name=uri)
        if _written(contents) > LONGEST_READ:
            raise LimitExceeded("the resource is too large for one answer", limit=LONGEST_READ)
        return types.ReadResourceResult(contents=[contents])


def _told(resource: ResourcePushed, read_at: str) -> ResourceResult:
    one: ResourceResult = {"kind": resource.kind, "uri": resource.uri}
    if resource.mime_type:
        one["mime_type"] = resource.mime_type
    if resource.payload is not None:
        one["size_bytes"] = pushed.size(resource)
        one["read_at"] = read_at
    if resource.metadata:
        one["metadata"] = dict(resource.metadata)
    return one


def _link(resource: ResourcePushed, one: ResourceResult) -> types.ResourceLink:
    return types.ResourceLink(
        uri=one.get("read_at", resource.uri),
        name=resource.uri.rstrip("/").rpartition("/")[2] or resource.kind,
        description=resource.kind,
        mime_type=resource.mime_type,
        size=one.get("size_bytes"),
    )


def _contents(uri: str, resource: ResourcePushed) -> Contents | None:
    """Its content under a URI; None where it has none here."""
    payload, mime_type = resource.payload, resource.mime_type
    if payload is None:
        return None
    if isinstance(payload, str):
        return types.TextResourceContents(uri=uri, mime_type=mime_type, text=payload)
    blob = base64.b64encode(payload).decode()
    return types.BlobResourceContents(uri=uri, mime_type=mime_type, blob=blob)


def _written(contents: Contents) -> int:
    text = contents.text if isinstance(contents, types.TextResourceContents) else contents.blob
    return len(json.dumps(text))
