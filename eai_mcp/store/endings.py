"""How turns end in the tables: settled, or cut off when their owner is gone.

Each function is a part of one transaction.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable

from eai_mcp import messages
from eai_mcp.errors import StorageUnavailable
from eai_mcp.messages import Line, Message, assistant
from eai_mcp.store import Claim, Outcome, Settlement, rows
from eai_mcp.store.recent import Place

INSERT_MESSAGE = (
    "INSERT INTO message (session, revision, seq, turn_id, round, kind, at, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
WAITING = "session = ? AND turn_id = ? AND seq IS NULL AND kind <> 'dropped'"
LET_GO = "owner = NULL, lease_until = NULL, since = NULL, interrupted = 0, attended_at = NULL, said = ''"

log = logging.getLogger("eai_mcp")


def end(
    connection: sqlite3.Connection, session: sqlite3.Row, settlement: Settlement, now: float
) -> Place | None:
    """End the turn that runs in a session; where it stands in the history then, if it does."""
    if settlement.history is not None and settlement.kept:
        session = _behind(connection, session, settlement.history)
    claim = Claim(session["space"], session["name"], session["turn_id"], session["round"], session["fence"])
    is_placed = settlement.kept and settlement.question is None
    first = _placed(connection, session, claim) if is_placed else None
    insert(connection, session, claim, rows.STEP, now, settlement.messages, first=first)
    outcome = settlement.outcome
    ended = {
        "id": session["id"],
        "turn": claim.turn_id,
        "round": claim.round,
        "now": now,
        "last": None,
        "status": outcome.status,
        "report": rows.dump(outcome.report),
        "revision": session["revision"],
        "count": session["message_count"],
        "question": session["question"],
        "choices": session["choices"],
        "usage": rows.given(rows.usage(session) + settlement.usage),
    }
    if settlement.choices is not None:
        ended["choices"] = rows.given(settlement.choices)
    if settlement.question is not None:
        ended["question"] = rows.dump(messages.told(settlement.question))
    elif first is not None:
        count = first + len(settlement.messages) - 1
        ended |= {"count": count, "last": count, "question": None}
    if not settlement.kept:
        connection.execute(
            "UPDATE message SET kind = 'dropped'"
            " WHERE session = :id AND turn_id = :turn AND round = :round AND seq IS NULL",
            ended,
        )
    connection.execute(
        "UPDATE turn SET status = :status, report = :report, revision = :revision, last_seq = :last"
        " WHERE session = :id AND turn_id = :turn AND round = :round",
        ended,
    )
    connection.execute(
        f"UPDATE session SET {LET_GO}, version = version + 1, updated_at = :now, last_turn = :turn,"
        " message_count = :count, question = :question, choices = :choices, usage = :usage WHERE id = :id",
        ended,
    )
    if ended["last"] is None:
        return None
    return Place(session["mark"], session["revision"], session["message_count"], ended["last"])


def cut_off(
    connection: sqlite3.Connection, is_gone: Callable[[sqlite3.Row], bool], ids: Iterable[int], now: float
) -> None:
    """Settle the turns of those sessions whose owner is gone, with what was saved of them."""
    for number in ids:
        session = connection.execute("SELECT * FROM session WHERE id = ?", (number,)).fetchone()
        if session is None or session["owner"] is None or not is_gone(session):
            continue
        turn = (number, session["turn_id"], session["round"])
        (report,) = connection.execute(
            "SELECT report FROM turn WHERE session = ? AND turn_id = ? AND round = ?", turn
        ).fetchone()
        saved = _readable(connection, turn)
        said = messages.closing([message for _, message in saved])
        if saved and session["said"]:
            said += (assistant(rows.untext(session["said"]), partial=True),)
        outcome = Outcome(turn_id=session["turn_id"], status="interrupted", report=rows.parse(report))
        kept = bool(said) or any(kind == rows.STEP for kind, _ in saved)
        end(connection, session, Settlement(outcome=outcome, messages=said, kept=kept), now)


def _readable(connection: sqlite3.Connection, turn: tuple[int, str, int]) -> list[tuple[str, Message]]:
    """What was saved of a round, its input first, each with its kind.

    From what cannot be read on, all is dropped; so what is left can be shown to a model.
    """
    waiting = connection.execute(
        f"SELECT rowid, kind, body FROM message WHERE {WAITING} AND round = ? ORDER BY rowid", turn
    ).fetchall()
    saved: list[tuple[str, Message]] = []
    try:
        for row in waiting:
            saved.append((row["kind"], rows.message(row["body"])))  # noqa: PERF401 - those before a bad one are wanted
    except StorageUnavailable as error:
        lost = waiting[len(saved) :]
        log.warning("turn %s was cut off, and %d of its messages are dropped: %s", turn[1], len(lost), error)
        connection.executemany(
            "UPDATE message SET kind = 'dropped' WHERE rowid = ?", [(row["rowid"],) for row in lost]
        )
    return saved


def insert(
    connection: sqlite3.Connection,
    session: sqlite3.Row,
    claim: Claim,
    kind: str,
    now: float,
    said: Iterable[Message],
    *,
    first: int | None = None,
) -> None:
    """Keep messages of a round: from place `first` on in the history, None for no places yet."""
    number, revision = session["id"], session["revision"]
    for at, message in enumerate(said):
        seq = None if first is None else first + at
        row = (number, revision, seq, claim.turn_id, claim.round, kind, now, messages.dump(message))
        connection.execute(INSERT_MESSAGE, row)


def _behind(connection: sqlite3.Connection, session: sqlite3.Row, lines: Iterable[Line]) -> sqlite3.Row:
    """Let another history be the session's, and what the running turn said wait behind it."""
    number, revision = session["id"], session["revision"] + 1
    # What somebody stages there, they find in no place any more, and give it up.
    connection.execute(
        "DELETE FROM message WHERE session = ? AND revision = ? AND seq IS NOT NULL", (number, revision)
    )
    placed = [(number, revision, seq, line.turn_id, line.at, line.body) for seq, line in enumerate(lines, 1)]
    connection.executemany(
        "INSERT INTO message (session, revision, seq, turn_id, round, kind, at, body)"
        " VALUES (?, ?, ?, ?, 0, 'input', ?, ?)",
        placed,
    )
    connection.execute(
        f"UPDATE message SET revision = ? WHERE {WAITING}", (revision, number, session["turn_id"])
    )
    connection.execute(
        "UPDATE session SET revision = ?, message_count = ? WHERE id = ?", (revision, len(placed), number)
    )
    there: sqlite3.Row = connection.execute("SELECT * FROM session WHERE id = ?", (number,)).fetchone()
    return there


def _placed(connection: sqlite3.Connection, session: sqlite3.Row, claim: Claim) -> int:
    """Give the turn's messages their places in the history; returns the place behind them."""
    waiting = connection.execute(
        f"SELECT rowid FROM message WHERE {WAITING} ORDER BY rowid", (session["id"], claim.turn_id)
    ).fetchall()
    first: int = session["message_count"] + 1
    places = [(seq, row["rowid"]) for seq, row in enumerate(waiting, first)]
    connection.executemany("UPDATE message SET seq = ? WHERE rowid = ?", places)
    return first + len(places)
