"""Resources that are pushed in a turn: how much of them a turn takes, and how its outcome keeps them."""

import base64
import json
import re
from collections.abc import Mapping

from pydantic import JsonValue

from eai_mcp.calls import ResourcePushed
from eai_mcp.errors import InvalidArgument, LimitExceeded
from eai_mcp.messages import JsonObject

MOST = 100
MOST_BYTES = 4 * 1024 * 1024
LONGEST_NAME = 2000
LONGEST_ADDRESS = 200
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f]+")


def size(resource: ResourcePushed) -> int:
    """The bytes of its payload, 0 where it has none."""
    payload = resource.payload or b""
    return len(payload.encode("utf-8", "replace") if isinstance(payload, str) else payload)


def check(resource: ResourcePushed, before: Mapping[str, ResourcePushed]) -> None:
    """See that a resource can be told to a caller beside those pushed before.

    Raises:
        InvalidArgument: Its uri, kind or metadata cannot be told.
        LimitExceeded: It is too much for one turn.
    """
    if len(resource.uri) > LONGEST_NAME or not _URI.fullmatch(resource.uri):
        raise InvalidArgument(
            f"a pushed resource needs a uri with a scheme, not {resource.uri[:80]!r}", field="uri"
        )
    if not 0 < len(resource.kind) <= LONGEST_NAME:
        raise InvalidArgument("a pushed resource needs a kind, as in 'file'", field="kind")
    try:
        metadata = json.dumps(dict(resource.metadata), allow_nan=False)
        (resource.uri + resource.kind + (resource.mime_type or "") + metadata).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument("the metadata of a pushed resource must be JSON", field="metadata") from error
    others = [other for uri, other in before.items() if uri != resource.uri]
    if len(others) >= MOST:
        raise LimitExceeded(f"a turn takes {MOST} pushed resources", limit=MOST, actual=len(others) + 1)
    total = len(metadata) + sum(map(size, (*others, resource)))
    if total > MOST_BYTES:
        raise LimitExceeded(
            f"the resources pushed in a turn may have {MOST_BYTES:,} bytes together; push a uri without the "
            "payload where there is more",
            limit=MOST_BYTES,
            actual=total,
        )


def address(resource: ResourcePushed) -> str:
    """Its uri as facts tell of it: without what may be a secret, or the content itself."""
    scheme, colon, rest = resource.uri.partition(":")
    if not rest.startswith("//"):
        return f"{scheme}:"
    return f"{scheme}{colon}{re.split('[?#]', rest)[0]}"[:LONGEST_ADDRESS]


def told(resource: ResourcePushed) -> JsonObject:
    """It as JSON; bytes as base64."""
    payload = resource.payload
    written: JsonObject = {"kind": resource.kind, "uri": resource.uri}
    if isinstance(payload, bytes):
        written["bytes"] = base64.b64encode(payload).decode()
    elif payload is not None:
        written["text"] = payload
    if resource.mime_type:
        written["mime_type"] = resource.mime_type
    if resource.metadata:
        written["metadata"] = dict(resource.metadata)
    return written


def read(written: JsonValue) -> tuple[ResourcePushed, ...]:
    """What `told` wrote, of a list of them."""
    return tuple(_read(one) for one in written if isinstance(one, dict)) if isinstance(written, list) else ()


def _read(one: JsonObject) -> ResourcePushed:
    text, data, metadata, mime_type = (one.get(key) for key in ("text", "bytes", "metadata", "mime_type"))
    return ResourcePushed(
        kind=str(one["kind"]),
        uri=str(one["uri"]),
        payload=base64.b64decode(data) if isinstance(data, str) else text if isinstance(text, str) else None,
        mime_type=mime_type if isinstance(mime_type, str) else None,
        metadata=metadata if isinstance(metadata, dict) else {},
    )
