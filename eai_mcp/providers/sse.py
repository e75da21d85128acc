"""Server-sent events out of bytes, without any I/O.

Lines end at CR, LF or CRLF and nowhere else: models write U+2028 and its kin raw inside JSON. Bytes are
split before they are decoded, so a character cut in two by the network is whole again. Ids and retry times
are passed over, since a reply is never resumed. Source: WHATWG HTML, "Server-sent events", 9.2.6.
"""

from dataclasses import dataclass

from eai_mcp.errors import LimitExceeded

LONGEST_EVENT = 32 * 1024 * 1024
"""Bytes. A last event may repeat a whole reply, with its images."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """What was sent; `event` is empty for one without a name."""

    event: str
    data: str


class Decoder:
    """Turns bytes, cut anywhere, into events.

    Raises:
        LimitExceeded: An event, or a line, is longer than `longest` bytes.
    """

    def __init__(self, *, longest: int = LONGEST_EVENT) -> None:
        self._longest = longest
        self._line = bytearray()
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        if not chunk:
            return []
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        events: list[Event] = []
        for line in chunk.splitlines(keepends=True):  # of bytes: at CR, LF and CRLF only
            content = line.rstrip(b"\r\n")
            size = self._size + len(self._line) + len(content)
            if size > self._longest:
                raise self._too_long(size)
            if len(content) == len(line):
                self._line += content
            else:
                events += self._end_of_line(content)
        return events

    def close(self) -> list[Event]:
        """The event that the end of the stream completes, where the empty line after it is missing."""
        return self._end_of_line(b"") + self._end_of_event()

    def _too_long(self, size: int) -> LimitExceeded:
        return LimitExceeded(
            f"an event of the stream is longer than {self._longest} bytes", limit=self._longest, actual=size
        )

    def _end_of_line(self, line: bytes) -> list[Event]:
        if self._line:
            line = bytes(self._line) + line
            self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._end_of_event()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == b"event":
            self._name = value
        return []

    def _end_of_event(self) -> list[Event]:
        name, data = self._name, self._data
        self._name, self._data, self._size = b"", [], 0
        if not data:
            return []
        return [Event(name.decode("utf-8", "replace"), b"\n".join(data).decode("utf-8", "replace"))]
