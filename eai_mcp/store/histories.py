"""Whole histories in the tables: read in pages, listed, written at once, copied, removed.

Each function is one step inside a transaction.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from eai_mcp import messages
from eai_mcp.errors import AlreadyExists, Conflict, InvalidArgument, NotFound
from eai_mcp.messages import Line
from eai_mcp.store import REVISIONS_KEPT, Entry, Put, SessionRow, hidden, rows, turns
from eai_mcp.store.hidden import Room, Target
from eai_mcp.store.recent import Recent


@dataclass(frozen=True, slots=True)
class Written:
    """The revisions that were put, and whether all that is no longer kept was deleted with it."""

    revisions: tuple[int, ...]
    is_tidy: bool


def loaded(
    connection: sqlite3.Connection,
    session: sqlite3.Row,
    *,
    after: int,
    limit: int | None,
    most_bytes: int | None,
    revision: int | None,
) -> list[sqlite3.Row]:
    """The rows of the history behind `after`."""
    wanted = _checked(session, revision)
    found = connection.execute(
        "SELECT seq, turn_id, at, body FROM message WHERE session = ? AND revision = ? AND seq > ?"
        " ORDER BY seq LIMIT ?",
        (session["id"], wanted, after, -1 if limit is None else limit),
    )
    if most_bytes is None:
        return found.fetchall()
    page: list[sqlite3.Row] = []
    size = 0
    for row in found:
        page.append(row)
        size += len(row["body"])
        if size > most_bytes:
            break
    return page


def whole(
    connection: sqlite3.Connection, session: sqlite3.Row, recent: Recent, *, is_ours: bool
) -> list[Entry]:
    """The history, of which only what is not remembered is read; if it `is_ours`, nobody puts a copy back."""

    def behind(seq: int) -> tuple[list[Entry], int]:
        found = connection.execute(
            "SELECT seq, turn_id, at, body FROM message WHERE session = ? AND revision = ? AND seq > ?"
            " ORDER BY seq",
            (session["id"], session["revision"], seq),
        ).fetchall()
        return [rows.entry(row) for row in found], sum(len(row["body"]) for row in found)

    def at(seq: int) -> tuple[str, float] | None:
        row = connection.execute(
            "SELECT turn_id, at FROM message WHERE session = ? AND revision = ? AND seq = ?",
            (session["id"], session["revision"], seq),
        ).fetchone()
        return row and (row["turn_id"], row["at"])

    count = session["message_count"]
    return recent.whole(session["mark"], session["revision"], count, behind, None if is_ours else at)


def listed(
    connection: sqlite3.Connection, space: str, *, prefix: str, after: str, limit: int
) -> list[sqlite3.Row]:
    """Rows of sessions in the order of their names."""
    return connection.execute(
        "SELECT * FROM session WHERE space = ? AND name > ? AND name >= ? AND name < ? ORDER BY name LIMIT ?",
        (space, after, prefix, f"{prefix}\U0010ffff", limit),
    ).fetchall()


def scanned(
    connection: sqlite3.Connection, space: str, name: str | None, revision: int | None
) -> Iterator[tuple[SessionRow, Iterator[Line]]]:
    """The sessions, each beside its history."""
    if name is None:
        found = connection.execute("SELECT * FROM session WHERE space = ? ORDER BY name", (space,))
        for session in found:
            yield rows.session(session), _lines(connection, session, session["revision"])
    else:
        session = rows.known(connection, space, name)
        yield rows.session(session), _lines(connection, session, _checked(session, revision))


def claimed(connection: sqlite3.Connection, space: str, name: str | None) -> list[sqlite3.Row]:
    """The rows of sessions in which a turn runs, of one or of all."""
    return connection.execute(
        "SELECT * FROM session WHERE space = ? AND owner IS NOT NULL AND name = coalesce(?, name)",
        (space, name),
    ).fetchall()


def put(
    connection: sqlite3.Connection, space: str, puts: Sequence[Put], now: float, *, only: bool, most: int
) -> Written:
    """Write whole histories. Of what is no longer kept, about `most` rows are deleted at once."""
    if only:
        _keep_only(connection, space, {each.name for each in puts}, now)
    made = [_made(connection, space, each, now) for each in puts]
    revisions = tuple(
        _filled(connection, space, each, now, is_new=is_new) for each, is_new in zip(puts, made, strict=True)
    )
    room = Room(most)
    is_tidy = all(_tidied(connection, space, each.name, room) for each in puts)
    return Written(revisions, hidden.emptied(connection, room) and is_tidy)


def targets(
    connection: sqlite3.Connection, space: str, puts: Sequence[Put], now: float, *, only: bool
) -> list[sqlite3.Row | None]:
    """The sessions that histories will be written to, None for one to be made; see that they may be.

    Raises:
        AlreadyExists, NotFound, SessionBusy: As `put` would.
    """
    if only:
        _others(connection, space, {each.name for each in puts}, now)
    return [_allowed(connection, space, each, now) for each in puts]


def is_in_the_way(
    connection: sqlite3.Connection, space: str, names: Sequence[str], is_at_work: Callable[[str], bool]
) -> bool:
    """The same as in `hidden`, for sessions by their names."""
    return hidden.is_in_the_way(connection, rows.some(connection, space, *names), is_at_work)


def check_place(
    connection: sqlite3.Connection, space: str, each: Put, record: str, target: Target, now: float
) -> sqlite3.Row | None:
    """The session that a staged history is for, None for one to be made, if nothing came in between.

    Raises:
        AlreadyExists, NotFound, SessionBusy: As `put` would.
        Conflict: Its session is another one now, or has another history.
    """
    session = _allowed(connection, space, each, now)
    is_as_it_was = (
        session is None if target.is_new else session is not None and session["id"] == target.session
    )
    if not is_as_it_was or not hidden.is_in_place(connection, record, space, target):
        raise Conflict(
            f"session {each.name!r} has changed while its history was being written; try again",
            retryable=True,
            chat_session=each.name,
        )
    return session


def placed(
    connection: sqlite3.Connection,
    space: str,
    puts: Sequence[Put],
    targets: Sequence[Target],
    counts: Sequence[int],
    now: float,
    *,
    record: str,
    only: bool,
) -> tuple[int, ...]:
    """Let whole histories be seen that were staged, each of so many messages; returns their revisions."""
    if only:
        _keep_only(connection, space, {each.name for each in puts}, now)
    for each, target, count in zip(puts, targets, counts, strict=True):
        session = check_place(connection, space, each, record, target, now)
        if session is None:
            hidden.shown(connection, target, space, each.name)
            session = rows.known(connection, space, each.name)
        _turned(connection, session, each, now, target=target, count=count)
    hidden.ended(connection, record)
    return tuple(target.revision for target in targets)


def tidied(connection: sqlite3.Connection, space: str, name: str, most: int) -> bool:
    """Delete about `most` rows of a session's histories that are no longer kept; whether none remains."""
    return _tidied(connection, space, name, Room(most))


def forked(
    connection: sqlite3.Connection, space: str, name: str, new: str, *, upto: int | None, now: float
) -> sqlite3.Row:
    """Copy a session and return the row of the copy."""
    source = rows.known(connection, space, name)
    if upto is not None:
        _check_end(connection, source, upto)
    if not turns.ensured(connection, space, new, now):
        raise _there(new)
    copy = rows.known(connection, space, new)
    copied = connection.execute(
        "INSERT INTO message (session, revision, seq, turn_id, round, kind, at, body)"
        " SELECT ?, 1, seq, turn_id, round, kind, at, body FROM message"
        " WHERE session = ? AND revision = ? AND seq <= ? ORDER BY seq",
        (copy["id"], source["id"], source["revision"], source["message_count"] if upto is None else upto),
    )
    connection.execute(
        "UPDATE session SET choices = ?, message_count = ? WHERE id = ?",
        (source["choices"], copied.rowcount, copy["id"]),
    )
    return rows.known(connection, space, new)


def deleted(
    connection: sqlite3.Connection, space: str, name: str, now: float, *, most: int
) -> tuple[bool, bool]:
    """Remove a session with all that belongs to it: whether there was one, and whether all is deleted.

    Of it, and of what was removed before, about `most` rows are deleted at once.
    """
    session = rows.found(connection, space, name)
    if session is None:
        return False, True
    if session["owner"] is not None:
        raise rows.busy(session, now)
    hidden.removed(connection, session["id"])
    return True, hidden.emptied(connection, Room(most))


def _check_end(connection: sqlite3.Connection, source: sqlite3.Row, upto: int) -> None:
    """See whether a history may end at position `upto`.

    Raises:
        InvalidArgument: Nothing stands there, or a tool use whose result comes next.
    """
    if not 0 <= upto <= source["message_count"]:
        raise InvalidArgument(f"session {source['name']!r} has no message {upto}", field="after")
    last = connection.execute(
        "SELECT body FROM message WHERE session = ? AND revision = ? AND seq = ?",
        (source["id"], source["revision"], upto),
    ).fetchone()
    if last and messages.closing([rows.message(last["body"])]):
        raise InvalidArgument(
            f"message {upto} of session {source['name']!r} asks for tools, whose results are in the next one;"
            f" take {upto - 1} or {upto + 1}",
            field="after",
        )


def _checked(session: sqlite3.Row, revision: int | None) -> int:
    """A revision that is kept, the present one for None.

    Raises:
        NotFound: It is not kept.
    """
    present: int = session["revision"]
    wanted = present if revision is None else revision
    if not max(1, present - REVISIONS_KEPT) <= wanted <= present:
        raise NotFound(
            f"session {session['name']!r} has no revision {wanted}; it is at {present}, "
            f"and the last {REVISIONS_KEPT} former ones are kept",
            chat_session=session["name"],
        )
    return wanted


def _lines(connection: sqlite3.Connection, session: sqlite3.Row, revision: int) -> Iterator[Line]:
    found = connection.execute(
        "SELECT turn_id, at, body FROM message WHERE session = ? AND revision = ? AND seq > 0 ORDER BY seq",
        (session["id"], revision),
    )
    for row in found:
        yield Line(row["turn_id"], row["at"], row["body"])


def _keep_only(connection: sqlite3.Connection, space: str, kept: set[str], now: float) -> None:
    for session in _others(connection, space, kept, now):
        hidden.removed(connection, session)


def _others(connection: sqlite3.Connection, space: str, kept: set[str], now: float) -> list[int]:
    """The sessions that are to be removed, none of which may be busy."""
    found = connection.execute(
        "SELECT id, name, owner, turn_id, since FROM session WHERE space = ? ORDER BY name", (space,)
    ).fetchall()
    others = [row for row in found if row["name"] not in kept]
    for row in others:
        if row["owner"] is not None:
            raise rows.busy(row, now)
    return [row["id"] for row in others]


def _allowed(connection: sqlite3.Connection, space: str, each: Put, now: float) -> sqlite3.Row | None:
    """The session to be written, None if it is to be made; see that it may be."""
    session = rows.found(connection, space, each.name)
    if session is None:
        if each.writing == "replace":
            raise NotFound(f"no session named {each.name!r}", name=each.name)
        return None
    if each.writing == "new":
        raise _there(each.name)
    if session["owner"] is not None:
        raise rows.busy(session, now)
    return session


def _made(connection: sqlite3.Connection, space: str, each: Put, now: float) -> bool:
    """See that a session to be written may be, and is there; whether it was made now."""
    is_new = _allowed(connection, space, each, now) is None
    return is_new and turns.ensured(connection, space, each.name, now)


def _filled(connection: sqlite3.Connection, space: str, each: Put, now: float, *, is_new: bool) -> int:
    session = rows.known(connection, space, each.name)
    target = Target(session["id"], session["revision"] + int(not is_new), is_new)
    count = 0

    def counted() -> Iterator[tuple[int, int, Line]]:
        nonlocal count
        for count, line in enumerate(each.lines, 1):
            yield 0, count, line

    hidden.inserted(connection, [target], counted())
    _turned(connection, session, each, now, target=target, count=count)
    return target.revision


def _turned(
    connection: sqlite3.Connection, session: sqlite3.Row, each: Put, now: float, *, target: Target, count: int
) -> None:
    """Make a history that was written the session's own."""
    turns.drop_question(connection, session)
    connection.execute(
        "UPDATE session SET version = version + ?, revision = ?, message_count = ?, updated_at = ?,"
        " choices = ?, usage = ? WHERE id = ?",
        (
            int(not target.is_new),
            target.revision,
            count,
            now if each.updated_at is None else each.updated_at,
            session["choices"] if each.choices is None else rows.given(each.choices),
            session["usage"] if each.usage is None else rows.given(each.usage),
            session["id"],
        ),
    )


def _tidied(connection: sqlite3.Connection, space: str, name: str, room: Room) -> bool:
    session = rows.found(connection, space, name)
    if session is None or session["revision"] <= REVISIONS_KEPT + 1:
        return True
    key = (session["id"], session["revision"] - REVISIONS_KEPT)
    # Each of the two has an index of its own; for both at once SQLite would read the whole table.
    return all(
        hidden.deleted(connection, room, "message", f"session = ? AND revision < ? AND {which}", key)
        for which in ("seq IS NULL", "seq IS NOT NULL")
    )


def _there(name: str) -> AlreadyExists:
    return AlreadyExists(f"there is already a session named {name!r}; choose another name", name=name)
