"""Gzip, both ways: packing that always gives the same bytes, and unpacking that no file can blow up.

Memory does not depend on what the file says: it goes through zlib in small slices, and what comes out is
handed on before more is made.
"""

import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Final

from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Limits

PIECE: Final = 256 * 1024
"""Bytes in the largest piece that is handed on."""

MAGIC: Final = b"\x1f\x8b"
MEMBERS: Final = 100_000

# zlib hands back a copy of what it did not use, each time: small slices keep that from adding up.
_SLICE: Final = 16 * 1024
_BLOCK: Final = 64 * 1024
_LEVEL: Final = 6
# Deflate, no flags, no time, no hint about the level, no operating system.
_HEAD: Final = MAGIC + b"\x08\x00" + bytes(4) + b"\x00\xff"


class Packer:
    """Packs what is added. Equal content gives equal bytes, however it was cut into pieces.

    It holds where zlib is the same; another build of it may find other bytes that unpack to the same.
    """

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._waiting = bytearray()
        self._head = _HEAD
        self._sum = 0
        self._size = 0

    def add(self, data: bytes) -> bytes:
        """The packed bytes that are certain by now, often none."""
        self._waiting += data
        packed = []
        # zlib promises nothing about how cuts show in its output, so it sees the same ones always.
        while len(self._waiting) >= _BLOCK:
            packed.append(self._packed(bytes(self._waiting[:_BLOCK])))
            del self._waiting[:_BLOCK]
        return b"".join(packed)

    def close(self) -> bytes:
        """The rest. Nothing can be added any more."""
        last = self._packed(bytes(self._waiting)) + self._deflate.flush()
        return last + self._sum.to_bytes(4, "little") + (self._size & 0xFFFF_FFFF).to_bytes(4, "little")

    def _packed(self, block: bytes) -> bytes:
        head, self._head = self._head, b""
        self._sum = zlib.crc32(block, self._sum)
        self._size += len(block)
        return head + self._deflate.compress(block)


def unpacked(pieces: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    """What a file holds that may be gzip, told by its first two bytes, or not. No piece is empty.

    Several gzip files one after the other, and zeros behind them, are gzip too.

    Raises:
        LimitExceeded: The file, or what is packed in it, is too large.
        ImportInvalid: The gzip is damaged or cut off, or something else follows it.
    """
    source = _measured(pieces, limits.packed, "the file is")
    head = b""
    for piece in source:
        head += piece
        if len(head) >= len(MAGIC):
            break
    whole = chain((head,), source)
    content = _Members().read(whole) if head.startswith(MAGIC) else _cut(whole, PIECE)
    yield from _measured(content, limits.unpacked, "what is in the file is")


def _measured(pieces: Iterator[bytes], limit: int, what: str) -> Iterator[bytes]:
    actual = 0
    for piece in pieces:
        actual += len(piece)
        if actual > limit:
            raise LimitExceeded(
                f"{what} larger than {limit} bytes, the most that is read; split it, and import the parts",
                limit=limit,
                actual=actual,
            )
        yield piece


def _cut(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]


class _Members:
    """Unpacks the gzip files, called members, that one file consists of."""

    def __init__(self) -> None:
        self._open: zlib._Decompress | None = None
        self._count = 0
        self._place = 0

    def read(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """What is in all of them, in pieces of at most `PIECE` bytes."""
        for piece in _cut(pieces, _SLICE):
            yield from self._content(piece)
        if self._open is not None:
            raise ImportInvalid(
                f"the file is damaged: it ends after {self._place} bytes, in the middle of what is packed; "
                "get a whole copy of it"
            )

    def _content(self, rest: bytes) -> Iterator[bytes]:
        end = self._place + len(rest)
        while True:
            if self._open is None:
                rest = rest.lstrip(b"\0")
                self._place = end - len(rest)
                if not rest:
                    return
                self._open = self._next(rest)
            content = self._inflated(self._open, rest)
            if content:
                yield content
            if self._open.eof:
                rest, self._open = self._open.unused_data, None
            else:
                rest = self._open.unconsumed_tail
                # A piece that is full may have more behind it that zlib holds already.
                if not rest and len(content) < PIECE:
                    self._place = end
                    return
            self._place = end - len(rest)

    def _next(self, rest: bytes) -> "zlib._Decompress":
        self._count += 1
        if self._count > MEMBERS:
            raise LimitExceeded(
                f"the file consists of more than {MEMBERS} gzip files; pack its content as one",
                limit=MEMBERS,
                actual=self._count,
            )
        if rest[0] != MAGIC[0]:
            raise ImportInvalid(
                f"the file is damaged: at byte {self._place} the gzip is over and something else follows; "
                "cut that off, or get another copy"
            )
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    def _inflated(self, member: "zlib._Decompress", rest: bytes) -> bytes:
        try:
            return member.decompress(rest, PIECE)
        except zlib.error as error:
            reason = str(error).rpartition(": ")[2]
            raise ImportInvalid(
                f"the file is damaged: {reason} after byte {self._place}; get another copy of it"
            ) from error
