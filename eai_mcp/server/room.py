"""How much one answer may hold, by what carries it.

No message has more than 8 MiB, since clients on stdio refuse one of more than 10. Over HTTP the Python SDK's
client, unless it is told otherwise, ends the connection at an event of more than 1 MiB.
"""

from dataclasses import dataclass
from typing import Any

from mcp.server.context import ServerRequestContext

KIB = 1024
PAGE = 320 * KIB
"""Bytes of a page of a history, which travels twice, too: more at once, no model would read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes, as JSON writes them.

    A `reply` and a `detail` of an error travel twice in a message, once within a string, where they may take
    twice as much. `embedded` is all that comes with an answer as a resource, and `told` what is said of
    resources, thrice.
    """

    reply: int
    detail: int
    embedded: int
    told: int


WIDE = Room(reply=3 * KIB * KIB, detail=KIB * KIB, embedded=KIB * KIB, told=128 * KIB)
NARROW = Room(reply=320 * KIB, detail=320 * KIB, embedded=128 * KIB, told=24 * KIB)


def room_of(context: ServerRequestContext[Any, Any]) -> Room:
    """What an answer to this message may hold."""
    return WIDE if context.request is None else NARROW
