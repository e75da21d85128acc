"""Lines of a history kept aside, on disk once they are many: so that a long one needs no memory."""

import errno
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from eai_mcp.errors import EaiError, StorageFull, StorageUnavailable
from eai_mcp.messages import Line

IN_MEMORY = 4 * 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        written = f"{json.dumps([line.turn_id, line.at])}\t{line.body}\n".encode("ascii")
        try:
            self._file.write(written)
        except OSError as error:
            raise self._refused(error) from error
        self._size += len(written)

    def since(self, begin: int) -> "Run":
        """The lines from one place up to here."""
        return Run(self, begin, self._size)

    def read(self, begin: int, end: int) -> Iterator[Line]:
        """The lines between two places; nobody may add or read others before the last of them."""
        try:
            self._file.seek(begin)
            while begin < end:
                written = self._file.readline()
                begin += len(written)
                turn, _, body = written.decode("ascii").partition("\t")
                turn_id, at = json.loads(turn)
                yield Line(turn_id, at, body.removesuffix("\n"))
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> EaiError:
        folder = str(self._folder or tempfile.gettempdir())
        kind = StorageFull if error.errno in _FULL else StorageUnavailable
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
