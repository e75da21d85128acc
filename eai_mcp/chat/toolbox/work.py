"""Files in the work directory of a turn's terminal: all that its tools read of the disk."""

from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TypeAlias

import anyio.to_thread

from eai_mcp.chat.toolbox.use import Use
from eai_mcp.errors import InvalidArgument, LimitExceeded, NotFound, PathDenied

INSIDE = "/work"
"""What a sandboxed shell calls its work directory."""
SHOWN = 200

Work: TypeAlias = Callable[[str, str], Path]
"""The work directory of a space's terminal by its `pty_session_id`, as we see it."""
Most: TypeAlias = Callable[[bytes], int]
"""How many bytes a file may have that begins so."""


async def read(work: Work | None, use: Use, path: str, most: Most) -> bytes:
    """A file of at most so many bytes; hardly more of a longer one is even read.

    Raises:
        PathDenied: It is no path of a file in the work directory, or leads over a link.
        NotFound: There is no such file.
        LimitExceeded: It is longer.
    """
    if work is None:
        raise InvalidArgument(
            "this server has no terminals, so there are no files to read", field="file_path"
        )
    root = work(use.claim.space, use.kit.pty_session_id)
    # Given up on an interrupt: a disk may hang, and there is nothing to undo.
    return await anyio.to_thread.run_sync(_read, root, path, most, abandon_on_cancel=True)


def _read(root: Path, path: str, most: Most) -> bytes:
    from eai_mcp.formats.files import Folder  # which costs time, and many servers never need it

    shown = path[:SHOWN]
    try:
        with Folder(root).reading(_beneath(path, root)) as pieces:
            data = bytearray()
            for piece in pieces:
                data += piece
                limit = most(bytes(data[:SHOWN]))
                if len(data) > limit:
                    raise LimitExceeded(
                        f"{shown!r} has more than {limit:,} bytes; make a smaller one of it first",
                        limit=limit,
                        actual=len(data),
                    )
            return bytes(data)
    except PathDenied as error:
        raise PathDenied(
            f"{shown!r} cannot be read: only regular files in the terminal's work directory can, by a path"
            " without '..' and links",
            path=shown,
        ) from error
    except NotFound as error:
        raise NotFound(f"there is no file {shown!r} in the terminal's work directory", path=shown) from error


def _beneath(path: str, root: Path) -> str:
    """The path with the name that the shell has for the directory taken off."""
    if path.startswith(f"{INSIDE}/") and not PurePath(path).is_relative_to(root):
        return path.removeprefix(f"{INSIDE}/")
    return path
