"""AWS event-stream messages out of bytes, without any I/O."""

import struct
import zlib
from collections.abc import Iterator

from eai_mcp import wire
from eai_mcp.errors import LimitExceeded
from eai_mcp.providers.sse import LONGEST_EVENT, Event

EXCEPTION = "exception:"
"""How the name of an event begins that is an error; the error's own name follows."""

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_OVERHEAD = _PRELUDE.size + _CRC.size

# Bytes of a header's value, by its type; the two that are missing begin with their length.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BINARY, _TEXT = 6, 7


class FrameDecoder:
    """Turns bytes, cut anywhere, into events.

    Layout, big-endian: total length u32 | headers length u32 | CRC32 of those 8 bytes | headers |
    payload | CRC32 of all before it. Source: Smithy, "Amazon Event Stream Specification".

    Raises:
        LimitExceeded: A message is longer than `longest` bytes.
        ValueError: The bytes are damaged.
    """

    def __init__(self, *, longest: int = LONGEST_EVENT) -> None:
        self._longest = longest
        self._bytes = bytearray()
        self._total = 0
        self._headers = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        self._bytes += chunk
        events: list[Event] = []
        while self._is_complete():
            frame = bytes(self._bytes[: self._total])
            del self._bytes[: self._total]
            self._total = 0
            events += self._event(frame)
        return events

    def close(self) -> list[Event]:
        """Nothing: a message that was cut off is none. Whether the reply is whole, the reply knows."""
        return []

    def _is_complete(self) -> bool:
        if not self._total and len(self._bytes) >= _PRELUDE.size:
            self._begin()
        return 0 < self._total <= len(self._bytes)

    def _begin(self) -> None:
        """Read the lengths, which nobody should wait for before they are known to be right."""
        total, headers, checksum = _PRELUDE.unpack_from(self._bytes)
        if zlib.crc32(self._bytes[:8]) != checksum:
            raise ValueError("the beginning of a message is damaged")
        if total > self._longest:
            raise LimitExceeded(
                f"a message of the stream is longer than {self._longest} bytes",
                limit=self._longest,
                actual=total,
            )
        if total < _OVERHEAD + headers:
            raise ValueError("a message is shorter than its headers")
        self._total, self._headers = total, headers

    def _event(self, frame: bytes) -> list[Event]:
        if zlib.crc32(frame[: -_CRC.size]) != _CRC.unpack_from(frame, len(frame) - _CRC.size)[0]:
            raise ValueError("a message is damaged")
        payload = _PRELUDE.size + self._headers
        headers = dict(_headers(frame[_PRELUDE.size : payload]))
        data = frame[payload : -_CRC.size].decode("utf-8", "replace")
        match headers.get(":message-type"):
            case "event":
                return [Event(headers.get(":event-type", ""), data)]
            case "exception":
                return [Event(EXCEPTION + headers.get(":exception-type", ""), data)]
            case "error":  # has no payload
                said = wire.written({"message": headers.get(":error-message", "")})
                return [Event(EXCEPTION + headers.get(":error-code", ""), said)]
            case _:
                return []


def _headers(block: bytes) -> Iterator[tuple[str, str]]:
    """Names and values of the headers; of one that is no text only the name."""
    rest = block
    while rest:
        name, rest = _split(rest[1:], rest[0])
        kind, rest = _split(rest, 1)
        if kind[0] in (_BINARY, _TEXT):
            length, rest = _split(rest, _LENGTH.size)
            size = _LENGTH.unpack(length)[0]
        elif kind[0] in _SIZES:
            size = _SIZES[kind[0]]
        else:
            raise ValueError("a message has a header of an unknown type")
        value, rest = _split(rest, size)
        yield name.decode("utf-8", "replace"), value.decode("utf-8", "replace") if kind[0] == _TEXT else ""


def _split(block: bytes, size: int) -> tuple[bytes, bytes]:
    if len(block) < size:
        raise ValueError("a message's headers are cut off")
    return block[:size], block[size:]
