"""What a session may be called."""

import re

from eai_mcp.errors import InvalidArgument

LONGEST = 128
_MAY_BE_EMPTY = ("prefix", "cursor")
_ALLOWED = re.compile(r"[A-Za-z0-9._:@+-]+", re.ASCII)


def checked(name: str, field: str = "chat_session") -> str:
    """The name, if a session may have it: 1 to 128 of the letters A-Z a-z, digits and `. _ : @ + -`.

    The alphabet is one that every store sorts alike and every client may put into a URI or a file name.

    Raises:
        InvalidArgument: It may not.
    """
    if not name or len(name) > LONGEST:
        raise InvalidArgument(f"{field} must have 1 to {LONGEST} characters, not {len(name)}", field=field)
    if not _ALLOWED.fullmatch(name) or name in (".", ".."):
        raise InvalidArgument(
            f"{field} {name!r} has a character that is not allowed; use letters, digits and . _ : @ + -",
            field=field,
        )
    return name


def is_one(name: str) -> bool:
    """Whether a session may have that name."""
    return len(name) <= LONGEST and bool(_ALLOWED.fullmatch(name)) and name not in (".", "..")


def check_text(field: str, text: str | None) -> None:
    """See that a store can look for `text`, which may be any short text.

    Raises:
        InvalidArgument: It is empty (a prefix and a cursor may be), too long, or not valid Unicode.
    """
    if text is None:
        return
    if len(text) > LONGEST or (not text and field not in _MAY_BE_EMPTY):
        raise InvalidArgument(f"{field} must have 1 to {LONGEST} characters, not {len(text)}", field=field)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{field} is not valid Unicode: it has a lone surrogate", field=field
        ) from error
