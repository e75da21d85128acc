"""All sessions out of the bytes of a snapshot: ours, or one of a whole Eai system."""

import hashlib
from collections.abc import Iterator

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Head, elements, erlang_files, own, packed
from eai_mcp.formats.intake import Imported, Intake, Means, Sessions
from eai_mcp.formats.reading import check_version, head_of, peeked, shown
from eai_mcp.messages import JsonObject


def sessions(pieces: Iterator[bytes], means: Means) -> list[Imported]:
    """Read all sessions of a snapshot; each has its name in its head.

    Raises:
        ImportInvalid: It is none, or damaged.
        LimitExceeded: It is too large.
        StorageFull, StorageUnavailable: It cannot be kept aside.
    """
    first, data = peeked(means.tally.watched(packed.unpacked(pieces, means.limits)))
    if first.startswith(erlang_files.MAGIC):
        return erlang_files.sessions(data, means)
    snapshot = _Snapshot(means)
    members: JsonObject = {}
    for part in elements.parts(data, means.limits):
        match part.kind:
            case "member":
                members[part.key] = part.value
            case "end":
                snapshot.begin(members)
            case "value":
                if not isinstance(part.value, dict):
                    raise ImportInvalid("the snapshot is damaged: a line of it is no object")
                snapshot.take(part.value, size=part.size)
            case "element":
                raise ImportInvalid(NO_SNAPSHOT)
    return snapshot.done()


NO_SNAPSHOT = (
    "the file is no snapshot of all sessions; `replace_history` (`eai-mcp import`) reads the history of one"
)


class _Snapshot:
    """Lines of our own snapshot."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._sessions = Sessions(means.limits)
        self._hash = hashlib.sha256()
        self._intake: Intake | None = None
        self._head = Head()
        self._expected = self._came = self._all = 0
        self._is_begun = self._is_done = False

    def begin(self, line: JsonObject) -> None:
        """Take the first line."""
        self._is_begun = True
        if line.get("format") != own.SNAPSHOT:
            raise ImportInvalid(NO_SNAPSHOT)
        check_version(line)
        self._hash.update(own.canonical(line) + b"\n")

    def take(self, line: JsonObject, *, size: int) -> None:
        """Take another line."""
        if self._is_done:
            raise ImportInvalid("the snapshot goes on behind its end; it was changed since it was written")
        if "session_count" in line:
            self._end(line)
            return
        self._hash.update(own.canonical(line) + b"\n")
        if "role" not in line:
            self._close()
            self._head = head_of(line)
            self._intake = Intake("jsonl", self._means)
            self._expected, self._came = wire.count(line.get("message_count")), 0
        elif self._intake is None:
            raise ImportInvalid("the snapshot is damaged: a message comes before the first session")
        else:
            self._came += 1
            self._all += 1
            self._intake.element(line, size=size)

    def done(self) -> list[Imported]:
        """The sessions, once there are no more lines."""
        if not self._is_begun:
            raise ImportInvalid("the file is empty; it should be a snapshot")
        if not self._is_done:
            raise ImportInvalid("the snapshot is incomplete: its last line is missing")
        return self._sessions.all

    def _close(self) -> None:
        if self._intake is None:
            return
        if self._came != self._expected:
            raise ImportInvalid(
                f"the snapshot is damaged: session {self._head.session[:128]!r} should have {self._expected}"
                f" messages, and has {self._came}"
            )
        self._sessions.add(self._intake.done(self._head))
        self._intake = None

    def _end(self, line: JsonObject) -> None:
        self._close()
        told = (line.get("session_count"), line.get("message_count"))
        if told != (len(self._sessions.all), self._all):
            raise ImportInvalid(
                f"the snapshot is damaged: it should have {shown(told[0])} sessions with {shown(told[1])}"
                f" messages, and has {len(self._sessions.all)} with {self._all}"
            )
        if line.get("sha256") != self._hash.hexdigest():
            raise ImportInvalid("the snapshot was changed since it was written: its sha256 does not fit")
        self._is_done = True
