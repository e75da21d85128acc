"""Sessions that nobody sees: histories on their way in, and what is on its way out.

They are in spaces that no caller can say. A history for a session that is there is staged in that session, at
the revision behind the present one, which nobody reads; one for a new session in a hidden one. A record says
what is staged where, and for whom: so nobody else stages there, and what a dead process left is found.

Each function is one step inside a transaction, and none deletes so much that others wait long for the right
to write.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from eai_mcp.errors import Conflict
from eai_mcp.messages import Line
from eai_mcp.store import rows, turns

RECORDS, MADE, TRASH = "\0staging", "\0new", "\0trash"
SLICE_S = 0.05
BATCH = 100


@dataclass(slots=True)
class Room:
    """What a step may still delete: so many rows, and none once its time is over (messages may be large)."""

    rows: int
    until: float = field(default_factory=lambda: time.monotonic() + SLICE_S)
    is_begun: bool = False

    def batch(self) -> int:
        """Rows to be deleted next, 0 for no more; the first batch is always granted."""
        if self.is_begun and (self.rows <= 0 or time.monotonic() > self.until):
            return 0
        self.is_begun = True
        return max(1, min(BATCH, self.rows))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a history is staged: the session, hidden if it is new, and the revision that it will have."""

    session: int
    revision: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Record:
    id: int
    name: str
    there: tuple[tuple[int, int], ...]
    made: tuple[int, ...]


def is_in_the_way(
    connection: sqlite3.Connection, sessions: Iterable[sqlite3.Row], is_at_work: Callable[[str], bool]
) -> bool:
    """Whether something staged in one of the sessions was left there, and must be swept away first.

    Raises:
        Conflict: Somebody is at work on it.
    """
    names = {session["id"]: session["name"] for session in sessions}
    is_left = False
    for record in _records(connection):
        for session, _ in record.there:
            if session not in names:
                continue
            if is_at_work(record.name):
                raise Conflict(
                    f"another history is being put in place of session {names[session]!r}; try again",
                    retryable=True,
                    chat_session=names[session],
                )
            is_left = True
    return is_left


def recorded(
    connection: sqlite3.Connection, record: str, sessions: Sequence[sqlite3.Row | None], now: float
) -> tuple[Target, ...]:
    """Note that histories are staged for these sessions, None for one to be made."""
    targets = tuple(
        _made(connection, f"{record}/{place}", now)
        if session is None
        else Target(session["id"], session["revision"] + 1, is_new=False)
        for place, session in enumerate(sessions)
    )
    told = {
        "there": [[each.session, each.revision] for each in targets if not each.is_new],
        "made": [each.session for each in targets if each.is_new],
    }
    connection.execute(
        "INSERT INTO session (space, name, updated_at, choices) VALUES (?, ?, ?, ?)",
        (RECORDS, record, now, rows.dump(told)),
    )
    return targets


def is_in_place(connection: sqlite3.Connection, record: str, space: str, target: Target) -> bool:
    """Whether a history may still be staged: its record is there, and its session as it was."""
    noted = connection.execute("SELECT 1 FROM session WHERE space = ? AND name = ?", (RECORDS, record))
    if noted.fetchone() is None:
        return False
    found = connection.execute(
        "SELECT space, revision FROM session WHERE id = ?", (target.session,)
    ).fetchone()
    wanted = (MADE, target.revision) if target.is_new else (space, target.revision - 1)
    return found is not None and tuple(found) == wanted


def inserted(
    connection: sqlite3.Connection, targets: Sequence[Target], lines: Iterable[tuple[int, int, Line]]
) -> None:
    """Write lines, each behind the place of its target and its own place there."""
    connection.executemany(
        "INSERT INTO message (session, revision, seq, turn_id, round, kind, at, body)"
        " VALUES (?, ?, ?, ?, 0, 'input', ?, ?)",
        (
            (targets[place].session, targets[place].revision, seq, line.turn_id, line.at, line.body)
            for place, seq, line in lines
        ),
    )


def shown(connection: sqlite3.Connection, target: Target, space: str, name: str) -> None:
    """Let a hidden session be seen."""
    connection.execute(
        "UPDATE session SET space = ?, name = ? WHERE id = ? AND space = ?",
        (space, name, target.session, MADE),
    )


def ended(connection: sqlite3.Connection, record: str) -> None:
    """Forget that something was staged: it is in place."""
    connection.execute("DELETE FROM session WHERE space = ? AND name = ?", (RECORDS, record))


def disowned(connection: sqlite3.Connection, record: str) -> None:
    """Leave what was staged to anybody who sweeps."""
    connection.execute(
        "UPDATE session SET name = ? WHERE space = ? AND name = ?",
        (f"/{record.partition('/')[2]}", RECORDS, record),
    )


def removed(connection: sqlite3.Connection, session: int) -> None:
    """Take a session out of sight, with all that belongs to it."""
    connection.execute("UPDATE session SET space = ?, name = id WHERE id = ?", (TRASH, session))


def swept(connection: sqlite3.Connection, is_at_work: Callable[[str], bool], most: int) -> bool:
    """Delete some of what was left or removed, about `most` rows; whether nothing of it remains."""
    room = Room(most)
    for record in _records(connection):
        if is_at_work(record.name):
            continue
        for made in record.made:
            connection.execute(
                "UPDATE session SET space = ?, name = id WHERE id = ? AND space = ?", (TRASH, made, MADE)
            )
        if not all(_unstaged(connection, room, *each) for each in record.there):
            return False
        connection.execute("DELETE FROM session WHERE id = ?", (record.id,))
    return emptied(connection, room)


def emptied(connection: sqlite3.Connection, room: Room) -> bool:
    """Delete removed sessions, as far as there is room; whether none remains."""
    while session := connection.execute(
        "SELECT id FROM session WHERE space = ? LIMIT 1", (TRASH,)
    ).fetchone():
        key = (session["id"],)
        for table, which in (("message", "seq IS NULL"), ("message", "seq IS NOT NULL"), ("turn", "TRUE")):
            if not deleted(connection, room, table, f"session = ? AND {which}", key):
                return False
        if not deleted(connection, room, "session", "id = ?", key):
            return False
    return True


def deleted(
    connection: sqlite3.Connection, room: Room, table: str, which: str, values: Sequence[int]
) -> bool:
    """Delete those rows of a table, as far as there is room; whether none remains."""
    while batch := room.batch():
        gone = connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE {which} LIMIT ?)",
            (*values, batch),
        ).rowcount
        room.rows -= gone
        if gone < batch:
            return True
    return False


def _records(connection: sqlite3.Connection) -> Iterator[_Record]:
    found = connection.execute(
        "SELECT id, name, choices FROM session WHERE space = ? ORDER BY name", (RECORDS,)
    ).fetchall()
    for row in found:
        told = json.loads(row["choices"])
        there = tuple((session, revision) for session, revision in told["there"])
        yield _Record(row["id"], row["name"], there, tuple(told["made"]))


def _made(connection: sqlite3.Connection, name: str, now: float) -> Target:
    turns.ensured(connection, MADE, name, now)
    made = rows.known(connection, MADE, name)
    return Target(made["id"], made["revision"], is_new=True)


def _unstaged(connection: sqlite3.Connection, room: Room, session: int, revision: int) -> bool:
    # An eai-mcp that knows nothing of records may have put a history there: it is the present one now.
    present = connection.execute("SELECT revision FROM session WHERE id = ?", (session,)).fetchone()
    if present is not None and present["revision"] >= revision:
        return True
    which = "session = ? AND revision = ? AND seq IS NOT NULL"
    return deleted(connection, room, "message", which, (session, revision))
