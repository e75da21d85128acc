"""What kind of file some bytes are, and how large a picture is, by its own header."""

import re
from typing import Literal

PDF = "application/pdf"
MOST_SEGMENTS = 10_000
"""Parts before the size in a JPEG: more is no camera's work."""
_KINDS = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
    ("image/webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    (PDF, re.compile(rb"%PDF-")),
)
# Markers of a JPEG: those without a part behind them, and those of the part that tells the size.
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def kind(data: bytes) -> str | None:
    """The media type that the first bytes show, None for any that we do not know."""
    return next((name for name, magic in _KINDS if magic.match(data)), None)


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, None where the header does not say."""
    match kind(data):
        case "image/png" if data[12:16] == b"IHDR":
            found = _number(data, 16, 4, "big"), _number(data, 20, 4, "big")
        case "image/gif":
            found = _number(data, 6, 2), _number(data, 8, 2)
        case "image/jpeg":
            found = _of_jpeg(data)
        case "image/webp":
            found = _of_webp(data)
        case _:
            return None
    return found if all(found) else None


def _number(data: bytes, at: int, length: int, order: Literal["big", "little"] = "little") -> int:
    """A number in the bytes, 0 where they end before it does."""
    read = data[at : at + length]
    return int.from_bytes(read, order) if len(read) == length else 0


def _of_jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(MOST_SEGMENTS):
        if data[at : at + 1] != b"\xff":
            break
        marker = _number(data, at + 1, 1)
        if marker in _FRAMES:
            return _number(data, at + 7, 2, "big"), _number(data, at + 5, 2, "big")
        if marker == 0xFF:  # it may be filled up with any number of these
            at += 1
        else:
            at += 2 if marker in _ALONE else 2 + _number(data, at + 2, 2, "big")
    return 0, 0


def _of_webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            return _number(data, 26, 2) & 0x3FFF, _number(data, 28, 2) & 0x3FFF
        case b"VP8L" if data[20:21] == b"\x2f" and len(data) >= 25:
            both = _number(data, 21, 4)
            return (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1
        case b"VP8X" if len(data) >= 30:
            return _number(data, 24, 3) + 1, _number(data, 27, 3) + 1
        case _:
            return 0, 0
