"""Who calls, as far as it decides whose sessions they see.

Over HTTP with authentication each principal has a space of its own; whoever let the request in notes it in
the request's scope. Everywhere else there is one space, ''.
"""

from typing import Any

from mcp.server.context import ServerRequestContext

SPACE = "eai_mcp.space"
"""Where a request's scope has it."""


def space_of(context: ServerRequestContext[Any, Any]) -> str:
    """The space of whoever sent this message: the request that carried it, not the connection, says so."""
    found: str = getattr(context.request, "scope", {}).get(SPACE, "")
    return found
