"""The bytes of Erlang's External Term Format: exact reads of a stream, and passing over what is not wanted.

Source: "External Term Format" of the Erlang Run-Time System's user's guide.
"""

import zlib
from collections.abc import Iterator
from enum import IntEnum

from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Limits

MAGIC = 131
PIECE = 64 * 1024


class Tag(IntEnum):
    """The byte before each term, by its name in the source."""

    NEW_FLOAT = 70
    BIT_BINARY = 77
    COMPRESSED = 80
    ATOM_CACHE_REF = 82
    NEW_PID = 88
    NEW_PORT = 89
    NEWER_REFERENCE = 90
    SMALL_INTEGER = 97
    INTEGER = 98
    FLOAT = 99
    ATOM = 100
    REFERENCE = 101
    PORT = 102
    PID = 103
    SMALL_TUPLE = 104
    LARGE_TUPLE = 105
    NIL = 106
    STRING = 107
    LIST = 108
    BINARY = 109
    SMALL_BIG = 110
    LARGE_BIG = 111
    NEW_FUN = 112
    EXPORT = 113
    NEW_REFERENCE = 114
    SMALL_ATOM = 115
    MAP = 116
    FUN = 117
    ATOM_UTF8 = 118
    SMALL_ATOM_UTF8 = 119
    V4_PORT = 120
    LOCAL = 121


class Bytes:
    """Exact reads of a stream of pieces. No length may lead beyond the place `until`.

    A stream that ends too early is ImportInvalid, one of more than `most` bytes is LimitExceeded.
    """

    def __init__(self, pieces: Iterator[bytes], most: int) -> None:
        self.offset = 0
        """The place of the next byte."""
        self.until = most
        self._most = most
        self._pieces = pieces
        self._piece = b""
        self._begin = 0

    def peek(self) -> int:
        """The next byte, which stays the next."""
        if self.offset == self._begin + len(self._piece):
            self._fetch()
        return self._piece[self.offset - self._begin]

    def byte(self) -> int:
        """The next byte."""
        byte = self.peek()
        self.offset += 1
        return byte

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        at = self.offset - self._begin
        if at + size <= len(self._piece):
            self.offset += size
            return self._piece[at : at + size]
        joined = bytearray()
        for piece in self.stream(size):
            joined += piece
        return bytes(joined)

    def stream(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, in the pieces in which they come."""
        end = self.offset + size
        while self.offset < end:
            self.peek()
            at = self.offset - self._begin
            piece = self._piece[at : at + end - self.offset]
            self.offset += len(piece)
            yield piece

    def skip(self, size: int) -> None:
        """Pass over the next `size` bytes."""
        for _ in self.stream(size):
            pass

    def size(self, width: int) -> int:
        """How many bytes follow, or values of at least one byte each: a number of `width` bytes."""
        size = int.from_bytes(self.take(width))
        if self.offset + size > self.until:
            raise self.too_long(size)
        return size

    def too_long(self, size: int) -> LimitExceeded:
        """The error for a length that leads beyond `until`."""
        left = max(0, self.until - self.offset)
        return LimitExceeded(
            f"the Erlang term wants {size} bytes or more at byte {self.offset}, where {left} are allowed",
            limit=left,
            actual=size,
        )

    def rest(self) -> Iterator[bytes]:
        """All that is left, in pieces."""
        yield self._piece[self.offset - self._begin :]
        yield from self._pieces

    def close(self) -> None:
        """Nothing may follow.

        It asks for the end of the pieces: whoever unpacks them checks there that they are whole.
        """
        if any(self.rest()):
            raise ImportInvalid(f"something follows the Erlang term, which ends at byte {self.offset}")

    def _fetch(self) -> None:
        self._begin = self.offset
        self._piece = next(filter(None, self._pieces), b"")
        if not self._piece:
            raise ImportInvalid(f"the Erlang term is cut off at byte {self.offset}")
        if self.offset + len(self._piece) > self._most:
            raise LimitExceeded(f"the Erlang term is longer than {self._most} bytes", limit=self._most)


def opened(pieces: Iterator[bytes], limits: Limits) -> Bytes:
    """The bytes behind the magic one, unpacked if they are compressed."""
    source = Bytes(pieces, limits.unpacked)
    first = source.byte()
    if first != MAGIC:
        raise ImportInvalid(f"this is no Erlang term: it begins with the byte {first}, not with {MAGIC}")
    if source.peek() != Tag.COMPRESSED:
        return source
    source.byte()
    size = source.size(4)
    return Bytes(_inflated(source.rest(), size), limits.unpacked)


def _inflated(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """What zlib packed into `pieces`: exactly `size` bytes, as the term declares."""
    inflater = zlib.decompressobj()
    left = size
    for piece in pieces:
        for out in _grown(inflater, piece):
            left -= len(out)
            if left < 0:
                raise ImportInvalid(
                    f"the compressed Erlang term holds more than the {size} bytes it declares"
                )
            yield out
    if not inflater.eof or left:
        raise ImportInvalid(f"the compressed Erlang term is cut off, {left} bytes before its end")


def _grown(inflater: "zlib._Decompress", piece: bytes) -> Iterator[bytes]:
    while True:
        if inflater.eof and piece:
            raise ImportInvalid("something follows the compressed Erlang term")
        try:
            out = inflater.decompress(piece, PIECE)
        except zlib.error as error:
            raise ImportInvalid(f"the compressed Erlang term is damaged: {error}") from error
        yield out
        piece = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        # A full buffer may have left something inside the inflater, even where it has read all of the piece.
        if not piece and len(out) < PIECE:
            return


def skip(source: Bytes) -> None:
    """Pass over one term, whatever it is, without building it."""
    left = 1
    while left:
        left += _parts_skipped(source) - 1


def _parts_skipped(source: Bytes) -> int:
    """Pass over the next term's own bytes; how many terms it has as its parts."""
    at = source.offset
    tag = source.byte()
    if tag in PARTS or tag in _LIVE_PARTS:
        width, each, more = PARTS.get(tag) or _LIVE_PARTS[tag]
        return source.size(width) * each + more
    if tag in _SIZED:
        width, extra = _SIZED[tag]
        source.skip(source.size(width) + extra)
    elif tag in _FIXED:
        source.skip(_FIXED[tag])
    elif tag in _OF_NODE:
        width, extra = _OF_NODE[tag]
        words = source.size(width)
        _skip_atom(source)
        source.skip(4 * words + extra)
    elif tag == Tag.NEW_FUN:
        source.skip(max(0, source.size(4) - 4))  # its size counts the four bytes that say it
    else:
        raise ImportInvalid(f"the Erlang term at byte {at} cannot be passed over: {named(tag)}")
    return 0


def _skip_atom(source: Bytes) -> None:
    at = source.offset
    tag = source.byte()
    if tag not in _ATOMS:
        raise ImportInvalid(f"the Erlang term needs an atom at byte {at}, and has {named(tag)}")
    source.skip(source.size(_ATOMS[tag]))


def named(tag: int) -> str:
    """A tag as messages tell it."""
    try:
        return f"tag {tag} ({Tag(tag).name})"
    except ValueError:
        return f"tag {tag}, which does not exist"


PARTS: dict[int, tuple[int, int, int]] = {
    Tag.SMALL_TUPLE: (1, 1, 0),
    Tag.LARGE_TUPLE: (4, 1, 0),
    Tag.LIST: (4, 1, 1),  # its tail is one more
    Tag.MAP: (4, 2, 0),
}
"""Of terms with parts: the bytes of their count, how many parts each of it is, and how many are added."""

_LIVE_PARTS: dict[int, tuple[int, int, int]] = {Tag.EXPORT: (0, 0, 3), Tag.FUN: (4, 1, 4)}

_ATOMS: dict[int, int] = {Tag.ATOM: 2, Tag.SMALL_ATOM: 1, Tag.ATOM_UTF8: 2, Tag.SMALL_ATOM_UTF8: 1}

_SIZED: dict[int, tuple[int, int]] = {
    Tag.STRING: (2, 0),
    Tag.BINARY: (4, 0),
    Tag.BIT_BINARY: (4, 1),
    Tag.SMALL_BIG: (1, 1),
    Tag.LARGE_BIG: (4, 1),
    **{tag: (width, 0) for tag, width in _ATOMS.items()},
}
"""Of terms with a length: the bytes that say it, and how many bytes there are beyond it."""

_FIXED: dict[int, int] = {
    Tag.SMALL_INTEGER: 1,
    Tag.INTEGER: 4,
    Tag.NEW_FLOAT: 8,
    Tag.FLOAT: 31,
    Tag.NIL: 0,
}

_OF_NODE: dict[int, tuple[int, int]] = {
    Tag.PID: (0, 9),
    Tag.NEW_PID: (0, 12),
    Tag.PORT: (0, 5),
    Tag.NEW_PORT: (0, 8),
    Tag.V4_PORT: (0, 12),
    Tag.REFERENCE: (0, 5),
    Tag.NEW_REFERENCE: (2, 1),
    Tag.NEWER_REFERENCE: (2, 4),
}
"""Of what lives on a node: the bytes of a count of words, and how many bytes there are besides the words."""
