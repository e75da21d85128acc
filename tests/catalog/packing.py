"""Pictures and archives with cards in them, made byte by byte, and what a reader says to them."""

import base64
import io
import struct
import zipfile
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = (b"IEND", b"")


def read(reader, content):
    """The card, and all that was noted, as `field: reason`."""
    noted = []
    card = reader("x", content, lambda field, reason: noted.append(f"{field}: {reason}" if field else reason))
    return card, noted


def chunk(kind, data):
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(*texts, before=(), behind=(END,)):
    """A picture of one black dot; `texts` are chunks, as kind and data, behind its head."""
    head = (b"IHDR", struct.pack(">LLBBBBB", 1, 1, 8, 0, 0, 0, 0))
    dot = (b"IDAT", zlib.compress(b"\0\0"))
    return SIGNATURE + b"".join(chunk(*one) for one in (*before, head, *texts, dot, *behind))


def text(keyword, card):
    return b"tEXt", keyword + b"\0" + base64.b64encode(card)


def packed(card, *, name="card.json", method=zipfile.ZIP_DEFLATED, others=()):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for other in others:
            archive.writestr(other, b"\0" * 100)
        archive.writestr(name, card)
    return content.getvalue()
