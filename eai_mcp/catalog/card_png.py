"""A card in a PNG picture: base64 of its JSON in a text chunk, `ccv3` for V3 and `chara` for those before.

A picture is a signature of 8 bytes, then chunks, big-endian: length of data u32 | type, 4 letters | data |
CRC32 of type and data. Source: W3C, "Portable Network Graphics (PNG) Specification", sections 5 and 11.3.3.
Only the chunk with the card is looked into; once it was found, the rest of the picture may be as it likes.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from eai_mcp.catalog.fields import Note

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
KEYWORDS: Final = (b"ccv3", b"chara")
"""The first of them that a picture has is read."""
MOST_CHUNKS: Final = 20_000
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
_LONGEST_KEYWORD: Final = 79
_AROUND: Final = 12


class _Broken(Exception):
    """The picture, or its card, cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A text chunk whose keyword is one of ours; `at` is where it begins."""

    at: int
    kind: bytes
    data: bytes
    is_sound: bool


def card_json(content: bytes, note: Note, *, largest: int) -> bytes | None:
    """The JSON of the card in a picture, at most `largest` bytes."""
    try:
        return _card(content, largest)
    except _Broken as error:
        note(None, str(error))
        return None


def _card(content: bytes, largest: int) -> bytes:
    if not content.startswith(SIGNATURE):
        raise _Broken("is not a PNG picture")
    found: dict[bytes, _Chunk] = {}
    try:
        for keyword, chunk in _ours(content):
            found.setdefault(keyword, chunk)
    except _Broken:
        if not found:
            raise
    for keyword in KEYWORDS:
        if keyword in found:
            return _decoded(found[keyword], keyword.decode(), largest)
    raise _Broken("is a picture without a card: it has no text chunk named ccv3 or chara")


def _ours(content: bytes) -> Iterator[tuple[bytes, _Chunk]]:
    """The chunks that may hold a card, by keyword."""
    at = len(SIGNATURE)
    for _ in range(MOST_CHUNKS):
        length = int.from_bytes(content[at : at + 4])
        end = at + _AROUND + length
        if end > len(content):
            raise _Broken(f"is cut off, or broken: the chunk at byte {at} goes on behind the end")
        kind = content[at + 4 : at + 8]
        if kind == b"IEND":
            return
        if kind in _TEXTS:
            keyword, _, _ = content[at + 8 : min(at + 9 + _LONGEST_KEYWORD, end - 4)].partition(b"\0")
            if keyword.lower() in KEYWORDS:
                data = content[at + 9 + len(keyword) : end - 4]
                is_sound = zlib.crc32(content[at + 4 : end - 4]) == int.from_bytes(content[end - 4 : end])
                yield keyword.lower(), _Chunk(at, kind, data, is_sound)
        at = end
    raise _Broken(f"has more than {MOST_CHUNKS:,} chunks")


def _decoded(chunk: _Chunk, keyword: str, largest: int) -> bytes:
    where = f"the chunk {keyword} at byte {chunk.at}"
    if not chunk.is_sound:
        raise _Broken(f"{where} is damaged: its CRC is wrong")
    text = _text(chunk, where, largest * 3 // 2)
    try:
        # Spaces and line ends stand in it at times, and the padding at its end is often left out.
        bare = b"".join(text.split()).rstrip(b"=")
        decoded = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except binascii.Error as error:
        raise _Broken(f"{where} is not base64") from error
    if len(decoded) > largest:
        raise _Broken(f"{where} holds more than {largest:,} bytes")
    return decoded


def _text(chunk: _Chunk, where: str, most: int) -> bytes:
    """What stands behind the keyword, unpacked where it is packed."""
    match chunk.kind:
        case b"tEXt":
            return chunk.data
        case b"zTXt":
            return _unpacked(chunk.data[1:], where, most)
        case _:  # iTXt: whether it is packed | method | language, 0 | translated keyword, 0 | text
            parts = chunk.data[2:].split(b"\0", 2)
            if len(parts) < 3:
                raise _Broken(f"{where} lacks its text")
            return _unpacked(parts[2], where, most) if chunk.data[:1] == b"\1" else parts[2]


def _unpacked(data: bytes, where: str, most: int) -> bytes:
    packed = zlib.decompressobj()
    try:
        text = packed.decompress(data, most)
    except zlib.error as error:
        raise _Broken(f"{where} cannot be unpacked") from error
    if packed.unconsumed_tail:
        raise _Broken(f"{where} is larger than {most:,} bytes once unpacked")
    if not packed.eof:
        raise _Broken(f"{where} is cut off")
    return text
