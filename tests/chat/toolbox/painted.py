"""Pictures of no content, as small as their headers allow."""

import struct
import zlib


def png(width, height, padding=0):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + bytes(padding)


def gif(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def jpeg(width, height, before=b""):
    frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\0"
    return b"\xff\xd8" + (before or b"\xff\xe0\0\2") + b"\xff\xc2" + frame + b"\xff\xd9"


def webp_lossy(width, height):
    return _webp(b"VP8 ", b"\x10\0\0" + b"\x9d\x01\x2a" + struct.pack("<HH", width, height))


def webp_lossless(width, height):
    return _webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14))


def webp_wide(width, height):
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _webp(b"VP8X", b"\x10\0\0\0" + sides)


def _webp(kind, body):
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
