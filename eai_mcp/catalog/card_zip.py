"""A card in a CHARX file: `card.json` in a ZIP archive, beside pictures and sounds, which are left alone.

Little-endian, from the end: the end record (`PK 5 6`) says where the directory is; an entry of the directory
(`PK 1 2`) where a file is; the file's header (`PK 3 4`) comes before its bytes. Source: PKWARE, APPNOTE.TXT,
section 4.3. Read here and not with `zipfile`, which makes an object of every entry before it can be asked
how many there are. Bytes before the archive, as of a picture, are passed over.
"""

import struct
import zlib
from typing import Final

from eai_mcp.catalog.fields import Note

CARD: Final = b"card.json"
MOST_FILES: Final = 10_000
_END: Final = struct.Struct("<4s8xLLH")
_ENTRY: Final = struct.Struct("<4s4xHH4xLLLHHH8xL")
_HEADER: Final = struct.Struct("<4s22xHH")
_LONGEST_COMMENT: Final = 65_535
_STORED, _DEFLATED = 0, 8


class _Broken(Exception):
    """The archive, or its card, cannot be read; the message says why."""


def card_json(content: bytes, note: Note, *, largest: int) -> bytes | None:
    """The JSON of the card in an archive, at most `largest` bytes."""
    try:
        return _card(content, largest)
    except _Broken as error:
        note(None, str(error))
    except struct.error:
        note(None, "is cut off, or is no ZIP archive")
    return None


def _card(content: bytes, largest: int) -> bytes:
    end = content.rfind(b"PK\5\6", max(0, len(content) - _END.size - _LONGEST_COMMENT))
    if end < 0:
        raise _Broken("is no ZIP archive, or is cut off")
    _, size, offset, _ = _END.unpack_from(content, end)
    at = end - size  # not `offset`: that does not count what stands before the archive
    before = at - offset
    if at < 0 or before < 0:
        raise _Broken("has a directory that is not where it should be, or is larger than 4 GB")
    for _ in range(MOST_FILES):
        if at >= end:
            raise _Broken("has no card.json")
        mark, flags, method, crc, packed, _, named, extra, comment, header = _ENTRY.unpack_from(content, at)
        if mark != b"PK\1\2":
            raise _Broken("has a broken directory")
        at += _ENTRY.size
        if content[at : at + named] == CARD:
            if flags & 1:
                raise _Broken("is encrypted")
            return _file(content, before + header, packed, method, crc, largest)
        at += named + extra + comment
    raise _Broken(f"has more than {MOST_FILES:,} files before card.json")


def _file(content: bytes, at: int, packed: int, method: int, crc: int, largest: int) -> bytes:
    mark, named, extra = _HEADER.unpack_from(content, at)
    begin = at + _HEADER.size + named + extra
    data = content[begin : begin + packed]
    if mark != b"PK\3\4" or len(data) < packed:
        raise _Broken("has a card.json that is not where it should be")
    if method == _DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, largest + 1)
        except zlib.error as error:
            raise _Broken("has a card.json that cannot be unpacked") from error
    elif method != _STORED:
        raise _Broken(f"has a card.json that is packed by method {method}, which is not read here")
    if len(data) > largest:
        raise _Broken(f"has a card.json of more than {largest:,} bytes")
    if zlib.crc32(data) != crc:
        raise _Broken("has a damaged card.json: its CRC is wrong")
    return data
