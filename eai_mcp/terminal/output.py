"""What a script printed: the newest of it, in memory while it is little, then in a file without a name."""

import os
import re
import tempfile
from io import FileIO
from pathlib import Path

from eai_mcp.errors import InvalidArgument
from eai_mcp.terminal import Page
from eai_mcp.terminal.clean import cleaned

IN_MEMORY = 128 * 1024
LONGEST_PAGE = 1024 * 1024
LONGEST_SEQUENCE = 4096
CONTINUING = bytes(range(0x80, 0xC0))
_OPEN = re.compile(  # at the end: a sequence that may go on
    rb"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x18\x1a\x1b\n]*\x1b?|[ -/]*)|(?<!\r)\r+"
    rb"|[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z"
)


class Output:
    """Bytes as they came, counted from 0. The oldest are dropped beyond `keep` of them, plus `IN_MEMORY`.

    The file is in a folder of its own below `folder`, by default where temporary files are.
    The file is written in the event loop: it is never read back before that is asked for, and what the
    system holds of it in memory is its own to drop.
    """

    def __init__(self, *, keep: int, folder: Path | None = None) -> None:
        self._folder = folder
        self.total = 0
        self.dropped = 0
        self._keep = keep
        self._recent = bytearray()
        self._file: FileIO | None = None

    def add(self, data: bytes) -> None:
        """Take more of it."""
        self._recent += data
        self.total += len(data)
        if len(self._recent) > IN_MEMORY:
            self._spill()

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, both between `dropped` and `total`."""
        filed = self.total - len(self._recent)
        old = self._filed(start, min(end, filed)) if start < filed else b""
        return old + bytes(self._recent[max(start - filed, 0) : max(end - filed, 0)])

    def page(self, *, offset: int | None, tail: int | None, most: int, over: bool) -> Page:
        """What a terminal shows from byte `offset` (0 by default), or of the last `tail` bytes.

        At most `most` bytes, up to the end of a line where one ends among them. Unless it is all `over`,
        a line that is not finished is shown too, but its start is where the next page begins.

        Raises:
            InvalidArgument: A number cannot be.
        """
        most = min(_counted("most", most, least=1), LONGEST_PAGE)
        start = self._start(offset, tail)
        data = self.read(start, min(start + most, self.total))
        lines = data.rfind(b"\n") + 1
        if start + len(data) < self.total:
            taken = shown = lines or _whole(data) or len(data)
        elif over:
            taken = shown = len(data)
        else:
            taken, shown = lines, _whole(data)
        return Page(
            text=cleaned(data[:shown]),
            offset=start,
            next_offset=start + taken,
            total=self.total,
            dropped=self.dropped,
        )

    def close(self) -> None:
        """Forget it; nothing can be read any more."""
        self.dropped = self.total
        self._recent.clear()
        self._unfiled()

    def _start(self, offset: int | None, tail: int | None) -> int:
        if offset is not None and tail is not None:
            raise InvalidArgument("offset and tail exclude each other: give one of them", field="tail")
        if tail is not None:
            start = max(self.total - _counted("tail", tail), self.dropped)
        else:
            start = max(min(_counted("offset", offset or 0), self.total), self.dropped)
            if start == offset or not self.dropped:
                return start
        return self._at_line(start)

    def _at_line(self, start: int) -> int:
        """The next line's start, if there is one near; else the next letter's."""
        if start == 0:
            return 0
        near = self.read(start - (start > self.dropped), min(start + LONGEST_SEQUENCE, self.total))
        newline = near.find(b"\n") + 1
        skipped = start - (start > self.dropped) + newline
        if newline and skipped < self.total:
            return skipped
        rest = self.read(start, min(start + 4, self.total))
        return start + len(rest) - len(rest.lstrip(CONTINUING))

    def _spill(self) -> None:
        """Move what is in memory to the file, over the oldest of it."""
        try:
            self._write(bytes(self._recent[-self._keep :]) if self._keep else b"")
        except OSError:
            self._keep = 0  # the disk is full, or no file can be opened: from now on the newest in memory
            self._unfiled()
        if self._keep:
            self._recent.clear()
            self.dropped = max(self.dropped, self.total - self._keep)
        else:
            del self._recent[:-IN_MEMORY]
            self.dropped = self.total - len(self._recent)

    def _write(self, data: bytes) -> None:
        at = self.total - len(data)
        while data:
            place = at % self._keep
            wrote = os.pwrite(self._spilled().fileno(), data[: self._keep - place], place)
            data, at = data[wrote:], at + wrote

    def _spilled(self) -> FileIO:
        if self._file is None:
            # The folder is nobody else's, and both are gone from the disk before anything is written.
            with tempfile.TemporaryDirectory(prefix="eai-mcp-", dir=self._folder) as folder:
                descriptor, path = tempfile.mkstemp(dir=folder)
                os.unlink(path)  # noqa: PTH108  # a path that was just made
            self._file = FileIO(descriptor, "r+")
        return self._file

    def _unfiled(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _filed(self, start: int, end: int) -> bytes:
        pieces = []
        while start < end and self._file:
            place = start % self._keep
            piece = os.pread(self._file.fileno(), min(end - start, self._keep - place), place)
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)


def _whole(data: bytes) -> int:
    """How many of the bytes hold no start of something that is not all there."""
    near = max(len(data) - LONGEST_SEQUENCE, 0)
    found = _OPEN.search(data, near)
    return found.start() if found else len(data)


def _counted(field: str, value: int, *, least: int = 0) -> int:
    if value < least:
        raise InvalidArgument(f"{field} must be at least {least}, not {value}", field=field)
    return value
