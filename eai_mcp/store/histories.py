"""Whole histories in the tables: read in pages, listed, written at once, copied, removed.

Each function is one step inside a transaction.
"""

import sqlite3
from collections.abc import Sequence

from eai_mcp import messages
from eai_mcp.errors import AlreadyExists, InvalidArgument, NotFound
from eai_mcp.store import REVISIONS_KEPT, Entry, Put, rows, turns
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
    wanted = session["revision"] if revision is None else revision
    if not max(1, session["revision"] - REVISIONS_KEPT) <= wanted <= session["revision"]:
        raise NotFound(
            f"session {session['name']!r} has no revision {wanted}; it is at {session['revision']}, "
            f"and the last {REVISIONS_KEPT} former ones are kept",
            chat_session=session["name"],
        )
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


def put(connection: sqlite3.Connection, space: str, puts: Sequence[Put], now: float) -> tuple[int, ...]:
    """Write whole histories and return their revisions."""
    return tuple(_put(connection, space, each, now) for each in puts)


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


def _put(connection: sqlite3.Connection, space: str, each: Put, now: float) -> int:
    is_new = turns.ensured(connection, space, each.name, now)
    if is_new and each.writing == "replace":
        raise NotFound(f"no session named {each.name!r}; list_sessions shows all", name=each.name)
    if not is_new and each.writing == "new":
        raise _there(each.name)
    session = rows.known(connection, space, each.name)
    if session["owner"] is not None:
        raise rows.busy(session, now)
    turns.drop_question(connection, session)
    revision: int = session["revision"] + int(not is_new)
    connection.executemany(
        "INSERT INTO message (session, revision, seq, turn_id, round, kind, at, body)"
        " VALUES (?, ?, ?, ?, 0, 'input', ?, ?)",
        (_placed(session["id"], revision, seq, entry) for seq, entry in enumerate(each.entries, 1)),
    )
    connection.execute(
        "UPDATE session SET version = version + ?, revision = ?, message_count = ?, updated_at = ?,"
        " choices = ?, usage = ? WHERE id = ?",
        (
            int(not is_new),
            revision,
            len(each.entries),
            now,
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


def _placed(session: int, revision: int, seq: int, entry: Entry) -> tuple[int, int, int, str, float, str]:
    return session, revision, seq, entry.turn_id, entry.at, messages.dump(entry.message)


def _there(name: str) -> AlreadyExists:
    return AlreadyExists(f"there is already a session named {name!r}; choose another name", name=name)
