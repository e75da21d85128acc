"""Where the pieces of a file go: into a folder for exports, or into the answer of whoever asked."""

import codecs
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from eai_mcp.errors import LimitExceeded

if TYPE_CHECKING:
    from eai_mcp.formats.files import Folder

Pieces: TypeAlias = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that was written, and the sha256 of its bytes."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a text, and where the next part begins (None at the end).

    `size_bytes` and `sha256` are those of the whole text in UTF-8: parts of one text have the same.
    """

    text: str
    next_offset: int | None
    size_bytes: int
    sha256: str


def saving(folder: "Folder", path: str) -> Callable[[Pieces], Saved]:
    """Writes to a file in a folder, which appears whole or not at all.

    Raises:
        PathDenied, StorageFull, StorageUnavailable: It cannot be written.
    """

    def take(pieces: Pieces) -> Saved:
        with folder.draft(path) as draft:
            for piece in pieces:
                draft.write(piece)
        return Saved(draft.path, draft.size_bytes, draft.sha256)

    return take


def short(most: int) -> Callable[[Pieces], str]:
    """Keeps a whole text of at most `most` characters.

    Raises:
        LimitExceeded: It is longer; what is behind that is not even made.
    """

    def take(pieces: Pieces) -> str:
        decoder = codecs.getincrementaldecoder("utf-8")()
        kept: list[str] = []
        size = 0
        for piece in pieces:
            kept.append(decoder.decode(piece))
            size += len(kept[-1])
            if size > most:
                raise LimitExceeded(
                    f"the text has more than {most:,} characters, the limit", limit=most, actual=size
                )
        return "".join(kept)

    return take


def excerpt(offset: int, most: int) -> Callable[[Pieces], Excerpt]:
    """Keeps `most` characters behind the first `offset`, and nothing else."""

    def take(pieces: Pieces) -> Excerpt:
        decoder = codecs.getincrementaldecoder("utf-8")()
        digest = hashlib.sha256()
        kept: list[str] = []
        at = size = 0
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            text = decoder.decode(piece)
            kept.append(text[max(0, offset - at) : max(0, offset + most - at)])
            at += len(text)
        end = offset + most if at > offset + most else None
        return Excerpt("".join(kept), end, size, digest.hexdigest())

    return take
