"""Whole histories in the tables: read in pages, listed, written at once, copied, removed.

Each function is one step inside a transaction.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from eai_mcp import messages
from eai_mcp.errors import AlreadyExists, InvalidArgument, NotFound
from eai_mcp.messages import Line
from eai_mcp.store import REVISIONS_KEPT, Entry, Put, SessionRow, rows, turns
from eai_mcp.store.recent import Recent


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


def whole(connection: sqlite3.Connection, session: sqlite3.Row, recent: Recent) -> list[Entry]:
    """The history, of which only what is not remembered is read."""

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

    return recent.whole(session["mark"], session["revision"], session["message_count"], behind, at)


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
    connection: sqlite3.Connection, space: str, puts: Sequence[Put], now: float, *, only: bool
) -> tuple[int, ...]:
    """Write whole histories and return their revisions."""
    if only:
        _keep_only(connection, space, {each.name for each in puts}, now)
    made = [_made(connection, space, each, now) for each in puts]
    return tuple(
        _filled(connection, space, each, now, is_new=is_new) for each, is_new in zip(puts, made, strict=True)
    )


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


def deleted(connection: sqlite3.Connection, space: str, name: str, now: float) -> bool:
    """Remove a session with all that belongs to it."""
    session = rows.found(connection, space, name)
    if session is None:
        return False
    if session["owner"] is not None:
        raise rows.busy(session, now)
    _forget(connection, session["id"], session["revision"] + 1)
    connection.execute("DELETE FROM turn WHERE session = ?", (session["id"],))
    connection.execute("DELETE FROM session WHERE id = ?", (session["id"],))
    return True


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
    found = connection.execute("SELECT name FROM session WHERE space = ?", (space,)).fetchall()
    for row in found:
        if row["name"] not in kept:
            deleted(connection, space, row["name"], now)


def _made(connection: sqlite3.Connection, space: str, each: Put, now: float) -> bool:
    """See that a session to be written may be, and is there; whether it was made now."""
    is_new = turns.ensured(connection, space, each.name, now)
    if is_new and each.writing == "replace":
        raise NotFound(f"no session named {each.name!r}; list_sessions shows all", name=each.name)
    if not is_new and each.writing == "new":
        raise _there(each.name)
    session = rows.known(connection, space, each.name)
    if session["owner"] is not None:
        raise rows.busy(session, now)
    return is_new


def _filled(connection: sqlite3.Connection, space: str, each: Put, now: float, *, is_new: bool) -> int:
    session = rows.known(connection, space, each.name)
    turns.drop_question(connection, session)
    revision: int = session["revision"] + int(not is_new)
    inserted = connection.executemany(
        "INSERT INTO message (session, revision, seq, turn_id, round, kind, at, body)"
        " VALUES (?, ?, ?, ?, 0, 'input', ?, ?)",
        (
            (session["id"], revision, seq, line.turn_id, line.at, line.body)
            for seq, line in enumerate(each.lines, 1)
        ),
    )
    connection.execute(
        "UPDATE session SET version = version + ?, revision = ?, message_count = ?, updated_at = ?,"
        " choices = ?, usage = ? WHERE id = ?",
        (
            int(not is_new),
            revision,
            max(0, inserted.rowcount),  # -1 for none
            now if each.updated_at is None else each.updated_at,
            session["choices"] if each.choices is None else rows.given(each.choices),
            session["usage"] if each.usage is None else rows.given(each.usage),
            session["id"],
        ),
    )
    _forget(connection, session["id"], revision - REVISIONS_KEPT)
    return revision


def _forget(connection: sqlite3.Connection, session: int, before: int) -> None:
    """Remove the messages of the revisions before one."""
    # Each of the two has an index of its own; for both at once SQLite would read the whole table.
    for which in ("seq IS NULL", "seq IS NOT NULL"):
        connection.execute(
            f"DELETE FROM message WHERE session = ? AND revision < ? AND {which}", (session, before)
        )


def _there(name: str) -> AlreadyExists:
    return AlreadyExists(f"there is already a session named {name!r}; choose another name", name=name)
