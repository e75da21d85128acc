"""Finds the marks of the shell in what comes out of a terminal, however the reads split them.

A mark counts only with the nonce that is expected; with any other it is output like the rest. No program but
the shell is told the nonce, so no output can forge an end. A script itself could, about itself: it is the
shell that runs it.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from eai_mcp.terminal.bash import BEGIN, MARK, MUTE

LONGEST = 200
DIGITS = 38


def nonce() -> str:
    """What nobody guesses, in digits as `bash` wants them."""
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"


@dataclass(frozen=True, slots=True)
class Stray:
    """Output that belongs to no script."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """Output since the mark `begin`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """The shell has left its state, and runs the script."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """The shell is back at its prompt."""

    code: int


@dataclass(frozen=True, slots=True)
class Muted:
    """The shell is back at its prompt, and cannot tell how the script ended."""


Piece: TypeAlias = Stray | Written | Begun | Prompted | Muted


class Marks:
    """Tells the output of a script from what came before and after it.

    The mark of an end for which `counts` is false is output.
    """

    def __init__(self, counts: Callable[[], bool] = lambda: True) -> None:
        self._counts = counts
        self._prefix = b""
        self._inside = False
        self._held = b""

    def expect(self, nonce: str) -> None:
        """Look for the marks with this nonce from now on, up to the first prompt with it."""
        self._prefix = MARK + nonce.encode() + b";"
        self._inside = False

    def feed(self, data: bytes) -> list[Piece]:
        """What the bytes say, in order; the start of what may become a mark waits for the rest of it."""
        data, self._held = self._held + data, b""
        pieces: list[Piece] = []
        at = 0
        while self._prefix and (found := data.find(self._prefix, at)) >= 0:
            end = data.find(b"\x07", found, found + LONGEST)
            if end < 0 and len(data) < found + LONGEST:
                break
            piece = self._read(data[found + len(self._prefix) : end]) if end >= 0 else None
            taken = found if piece else found + len(self._prefix)
            self._plain(pieces, data[at:taken])
            at = end + 1 if piece else taken
            self._turn(pieces, piece)
        keep = self._partial(data, at)
        self._plain(pieces, data[at:keep])
        self._held = data[keep:]
        return pieces

    def rest(self) -> list[Piece]:
        """What still waits, when nothing will follow."""
        pieces: list[Piece] = []
        self._plain(pieces, self._held)
        self._held = b""
        return pieces

    def _read(self, word: bytes) -> Piece | None:
        if word == BEGIN:
            return Begun()
        if not self._counts():
            return None
        if word == MUTE:
            return Muted()
        return Prompted(int(word)) if re.fullmatch(rb"\d{1,3}", word) else None

    def _turn(self, pieces: list[Piece], piece: Piece | None) -> None:
        if piece is not None:
            pieces.append(piece)
            self._inside = isinstance(piece, Begun)
        if isinstance(piece, Prompted | Muted):
            self._prefix = b""

    def _plain(self, pieces: list[Piece], data: bytes) -> None:
        if data:
            pieces.append(Written(data) if self._inside else Stray(data))

    def _partial(self, data: bytes, at: int) -> int:
        """Where the start of a mark begins at the end of the bytes, else their end."""
        if not self._prefix:
            return len(data)
        whole = data.find(self._prefix, at)
        if whole >= 0:
            return whole
        last = data.rfind(b"\x1b", max(at, len(data) - len(self._prefix)))
        return last if last >= 0 and self._prefix.startswith(data[last:]) else len(data)
