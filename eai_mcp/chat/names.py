"""What a session may be called."""

import re

from eai_mcp.errors import InvalidArgument

LONGEST = 128
_ALLOWED = re.compile(r"[A-Za-z0-9._:@+-]+", re.ASCII)


def checked(name: str) -> str:
    """The name, if a session may have it: 1 to 128 of the letters A-Z a-z, digits and `. _ : @ + -`.

    The alphabet is one that every store sorts alike and every client may put into a URI or a file name.

    Raises:
        InvalidArgument: It may not.
    """
    if not name or len(name) > LONGEST:
        raise InvalidArgument(
            f"chat_session must have 1 to {LONGEST} characters, not {len(name)}", field="chat_session"
        )
    if not _ALLOWED.fullmatch(name) or name in (".", ".."):
        raise InvalidArgument(
            f"chat_session {name!r} has a character that is not allowed; use letters, digits and . _ : @ + -",
            field="chat_session",
        )
    return name
