"""Where a list goes on: a cursor is the name of a source, a slash, and the name of the last thing shown."""

from collections.abc import Sequence

import mcp_types as types
from mcp.shared.exceptions import MCPError

from eai_mcp.errors import InvalidArgument


def made(source: str, last: str) -> str:
    """The cursor for what comes behind `last`."""
    return f"{source}/{last}"


def place(params: types.PaginatedRequestParams | None, sources: Sequence[str]) -> tuple[int, str]:
    """Which of the sources to begin with, and behind which of its names.

    Raises:
        MCPError: The cursor is none of ours.
    """
    cursor = params and params.cursor
    if not cursor:
        return 0, ""
    source, separator, last = cursor.partition("/")
    if not separator or source not in sources:
        raise MCPError(
            types.INVALID_PARAMS,
            "the cursor is not one that this server gave; leave it out to begin anew",
            {"code": InvalidArgument.code, "field": "cursor"},
        )
    return sources.index(source), last


def none(params: types.PaginatedRequestParams | None) -> None:
    """See that a list which has one page only is not asked to go on.

    Raises:
        MCPError: It is.
    """
    place(params, ())
