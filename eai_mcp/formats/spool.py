"""Lines of a history kept aside, on disk once they are many: so that a long one needs no memory."""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from eai_mcp.errors import EaiError, StorageFull, StorageUnavailable
from eai_mcp.formats import FULL
from eai_mcp.messages import Line

IN_MEMORY = 4 * 1024 * 1024
PIECE = 256 * 1024


class Spool:
    """Takes lines one by one; each run of them can then be read as often as one likes.

    What is on disk is in a file without a name in `folder` (None: where the system has such files), which
    goes when we do.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        named = None if folder is None else str(folder)
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=named)  # noqa: SIM115  # see __exit__
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def end(self) -> int:
        """Where the next line will be."""
        return self._size

    def add(self, line: Line) -> None:
        """Keep a line.

        Raises:
            StorageFull, StorageUnavailable: It cannot be kept.
        """
        head = json.dumps([line.turn_id, line.at, len(line.body)])
        try:
            self._size += self._file.write(f"{head}\n{line.body[:PIECE]}".encode("ascii"))
            # In pieces, for a copy of a long one may be one too many.
            for at in range(PIECE, len(line.body), PIECE):
                self._size += self._file.write(line.body[at : at + PIECE].encode("ascii"))
        except OSError as error:
            raise self._refused(error) from error

    def since(self, begin: int) -> "Run":
        """The lines from one place up to here."""
        return Run(self, begin, self._size)

    def read(self, begin: int, end: int) -> Iterator[Line]:
        """The lines between two places; nobody may add or read others before the last of them."""
        try:
            self._file.seek(begin)
            while begin < end:
                head = self._file.readline()
                turn_id, at, length = json.loads(head)
                begin += len(head) + length
                yield Line(turn_id, at, self._file.read(length).decode("ascii"))
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> EaiError:
        # Not asked of `tempfile`, which raises where it finds none.
        folder = str(self._folder or os.environ.get("TMPDIR", "the system's own"))
        kind = StorageFull if error.errno in FULL else StorageUnavailable
        return kind(
            f"the folder for temporary files, {folder}, cannot be used: {error.strerror}; make room, or name "
            "another one with TMPDIR",
            path=folder,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Some lines in a spool."""

    spool: Spool
    begin: int
    end: int

    def __iter__(self) -> Iterator[Line]:
        return self.spool.read(self.begin, self.end)
