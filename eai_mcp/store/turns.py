"""Turns in the tables: begun, held, told of, interrupted.

Each function is one step inside a transaction. `session` rows carry the one turn that runs in them; `turn`
has a row for each round, which is one input and what came of it.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from eai_mcp import messages
from eai_mcp.errors import Conflict, NoTask, NotFound
from eai_mcp.messages import JsonObject, Message
from eai_mcp.store import (
    REVISIONS_KEPT,
    Claim,
    Known,
    Look,
    Outcome,
    Running,
    Settlement,
    Start,
    endings,
    rows,
)
from eai_mcp.store.recent import Place

DROPPED_REPORT: JsonObject = {"status": "interrupted", "stop_reason": "interrupted"}


@dataclass(frozen=True, slots=True)
class Holder:
    """Who claims, and until when (seconds since 1970)."""

    owner: str
    now: float
    until: float


def ensured(connection: sqlite3.Connection, space: str, name: str, now: float) -> bool:
    """Make an empty session; False if there is one."""
    done = connection.execute(
        "INSERT OR IGNORE INTO session (space, name, updated_at) VALUES (?, ?, ?)", (space, name, now)
    )
    return done.rowcount > 0


def claimed(
    connection: sqlite3.Connection, space: str, name: str, start: Start, holder: Holder
) -> Claim | Known:
    """Begin a turn. A turn whose owner is gone must have been cut off before."""
    if start.request_id is not None and (known := repeated(connection, space, name, start.request_id)):
        return known
    before = rows.found(connection, space, name)
    version = before["version"] if before else 0
    if before and before["owner"] is not None:
        raise rows.busy(before, holder.now)
    if start.expect not in (None, version):
        raise Conflict(f"session {name!r} has changed meanwhile", chat_session=name)
    question = rows.question(before) if before else None
    if question and question.turn_id != start.turn_id:
        raise Conflict(f"session {name!r} waits for the answer to a question", chat_session=name)
    if before is None:
        ensured(connection, space, name, holder.now)
    session = before or rows.known(connection, space, name)
    # Without a question there is no earlier round; if there is, the row of the turn cannot be inserted.
    number = _next_round(connection, session["id"], start.turn_id) if question else 0
    request = None if start.request_id is None else rows.key(start.request_id)
    begun = {
        "id": session["id"],
        "turn": start.turn_id,
        "round": number,
        "request": request,
        "owner": holder.owner,
        "now": holder.now,
        "until": holder.until,
        "version": version + 1,
        "report": rows.dump(start.report),
        "revision": session["revision"],
    }
    connection.execute(
        "UPDATE session SET version = :version, turns = turns + (:round = 0), fence = fence + 1,"
        " owner = :owner, lease_until = :until, turn_id = :turn, round = :round, since = :now,"
        " interrupted = 0, attended_at = :now, said = '', updated_at = :now WHERE id = :id",
        begun,
    )
    try:
        connection.execute(
            "INSERT INTO turn (session, turn_id, round, request_id, at, status, report, revision)"
            " VALUES (:id, :turn, :round, :request, :now, 'running', :report, :revision)",
            begun,
        )
    except sqlite3.IntegrityError as error:
        raise Conflict(f"turn {start.turn_id} of session {name!r} has already ended") from error
    claim = Claim(space, name, start.turn_id, number, session["fence"] + 1)
    endings.insert(connection, session, claim, rows.INPUT, holder.now, [start.message])
    return claim


def repeated(connection: sqlite3.Connection, space: str, name: str, request_id: str) -> Known | None:
    """The turn that a request id stands for."""
    row = connection.execute(
        "SELECT turn.turn_id FROM turn JOIN session ON session.id = turn.session"
        " WHERE space = ? AND name = ? AND request_id = ?",
        (space, name, rows.key(request_id)),
    ).fetchone()
    return Known(row["turn_id"]) if row else None


def appended(connection: sqlite3.Connection, claim: Claim, step: Sequence[Message], now: float) -> None:
    """Keep a finished step."""
    session = _held(connection, claim)
    endings.insert(connection, session, claim, rows.STEP, now, step)
    _touch(connection, session, now)


def amended(
    connection: sqlite3.Connection, claim: Claim, message: Message, now: float, *, is_step: bool
) -> None:
    """Keep another message in the place of the input of this round."""
    session = _held(connection, claim)
    connection.execute(
        "UPDATE message SET body = ?, kind = ? WHERE rowid = (SELECT min(rowid) FROM message"
        " WHERE session = ? AND turn_id = ? AND round = ? AND kind <> 'dropped' AND seq IS NULL)",
        (
            messages.dump(message),
            rows.STEP if is_step else rows.INPUT,
            session["id"],
            claim.turn_id,
            claim.round,
        ),
    )
    _touch(connection, session, now)


def said(connection: sqlite3.Connection, claim: Claim) -> list[Message]:
    """What was said in a running turn so far."""
    session = _held(connection, claim)
    waiting = connection.execute(
        f"SELECT body FROM message WHERE {endings.WAITING} ORDER BY rowid", (session["id"], claim.turn_id)
    )
    return [rows.message(row["body"]) for row in waiting]


def renewed(connection: sqlite3.Connection, texts: Mapping[Claim, str], until: float) -> None:
    """Hold claims for longer; one that was lost is passed over."""
    for claim, text in texts.items():
        connection.execute(
            "UPDATE session SET lease_until = ?, said = coalesce(?, said)"
            " WHERE space = ? AND name = ? AND turn_id = ? AND fence = ? AND owner IS NOT NULL",
            (until, rows.text(text) or None, claim.space, claim.name, claim.turn_id, claim.fence),
        )


def looked(connection: sqlite3.Connection, claims: Iterable[Claim]) -> Look:
    """How claims stand."""
    lost: set[Claim] = set()
    interrupted: set[Claim] = set()
    attended: dict[Claim, float] = {}
    for claim in claims:
        row = rows.found(connection, claim.space, claim.name)
        if row is None or not _holds(row, claim):
            lost.add(claim)
            continue
        attended[claim] = row["attended_at"]
        if row["interrupted"]:
            interrupted.add(claim)
    return Look(frozenset(lost), frozenset(interrupted), attended)


def settled(connection: sqlite3.Connection, claim: Claim, settlement: Settlement, now: float) -> Place | None:
    """End the turn; where it stands in the history then, if it does."""
    return endings.end(connection, _held(connection, claim), settlement, now)


def interrupted(connection: sqlite3.Connection, space: str, name: str, turn_id: str | None) -> Running:
    """Ask the owner of the running turn to stop it."""
    session = rows.known(connection, space, name)
    running = rows.running(session)
    if running is None:
        raise NoTask(f"nothing is running in session {name!r}", chat_session=name)
    if turn_id not in (None, running.turn_id):
        raise NoTask(
            f"turn {turn_id} is not running in session {name!r}; turn {running.turn_id} is",
            chat_session=name,
            turn_id=running.turn_id,
        )
    connection.execute("UPDATE session SET interrupted = 1 WHERE id = ?", (session["id"],))
    return _reported(connection, session, running)


def attended(connection: sqlite3.Connection, space: str, name: str, turn_id: str, now: float) -> None:
    """Note that somebody waits for a running turn."""
    connection.execute(
        "UPDATE session SET attended_at = ?"
        " WHERE space = ? AND name = ? AND turn_id = ? AND owner IS NOT NULL",
        (now, space, name, rows.key(turn_id)),
    )


def told(
    connection: sqlite3.Connection, session: sqlite3.Row, turn_id: str | None
) -> tuple[Outcome, str] | Running:
    """How a turn ended, and its reply; or that it is running."""
    running = rows.running(session)
    if running and turn_id in (None, running.turn_id):
        return _reported(connection, session, running)
    wanted = session["last_turn"] if turn_id is None else turn_id
    row = connection.execute(
        "SELECT * FROM turn WHERE session = ? AND turn_id = ? ORDER BY round DESC LIMIT 1",
        (session["id"], None if wanted is None else rows.key(wanted)),
    ).fetchone()
    if row is None:
        raise NotFound(
            f"session {session['name']!r} has no finished turn {turn_id or ''}".rstrip(), turn_id=turn_id
        )
    if row["last_seq"] is not None and row["revision"] < session["revision"] - REVISIONS_KEPT:
        raise NotFound(
            f"turn {row['turn_id']} of session {session['name']!r} is known, but its text is no longer kept:"
            f" the history was replaced more than {REVISIONS_KEPT} times since",
            turn_id=row["turn_id"],
        )
    outcome = Outcome(turn_id=row["turn_id"], status=row["status"], report=rows.parse(row["report"]))
    return outcome, _reply(connection, session, row)


def drop_question(connection: sqlite3.Connection, session: sqlite3.Row) -> None:
    """Forget what a session waits to be told, and what its turn said; the round that asked was interrupted.

    What that round reports then is the question's `data["report"]`, if that is an object, as of an
    interrupted turn that left no reply; else what it reported before.
    """
    question = rows.question(session)
    if question is None:
        return
    key = (session["id"], question.turn_id)
    connection.execute(f"UPDATE message SET kind = 'dropped' WHERE {endings.WAITING}", key)
    connection.execute("UPDATE session SET question = NULL WHERE id = ?", (session["id"],))
    asked = connection.execute(
        "SELECT round, report FROM turn WHERE session = ? AND turn_id = ? AND status = 'awaiting_input'"
        " ORDER BY round DESC LIMIT 1",
        key,
    ).fetchone()
    if asked is not None:
        given = question.data.get("report")
        report = {**given, **DROPPED_REPORT} if isinstance(given, dict) else rows.parse(asked["report"])
        report.pop("reply", None)
        connection.execute(
            "UPDATE turn SET status = 'interrupted', report = ?"
            " WHERE session = ? AND turn_id = ? AND round = ?",
            (rows.dump(report), *key, asked["round"]),
        )


def _touch(connection: sqlite3.Connection, session: sqlite3.Row, now: float) -> None:
    connection.execute(
        "UPDATE session SET version = version + 1, updated_at = ?, said = '' WHERE id = ?",
        (now, session["id"]),
    )


def _held(connection: sqlite3.Connection, claim: Claim) -> sqlite3.Row:
    """The session, if the claim still holds it.

    Raises:
        Conflict: It does not.
    """
    row = rows.found(connection, claim.space, claim.name)
    if row is None or not _holds(row, claim):
        raise Conflict(f"turn {claim.turn_id} of session {claim.name!r} has already ended")
    return row


def _reported(connection: sqlite3.Connection, session: sqlite3.Row, running: Running) -> Running:
    """The running turn, with what its outcome will say if it is cut off."""
    (report,) = connection.execute(
        "SELECT report FROM turn WHERE session = ? AND turn_id = ? AND round = ?",
        (session["id"], running.turn_id, session["round"]),
    ).fetchone()
    return replace(running, report=rows.parse(report))


def _holds(session: sqlite3.Row, claim: Claim) -> bool:
    return session["owner"] is not None and (session["turn_id"], session["fence"]) == (
        claim.turn_id,
        claim.fence,
    )


def _next_round(connection: sqlite3.Connection, session: int, turn_id: str) -> int:
    (last,) = connection.execute(
        "SELECT max(round) FROM turn WHERE session = ? AND turn_id = ?", (session, turn_id)
    ).fetchone()
    return 0 if last is None else int(last) + 1


def _reply(connection: sqlite3.Connection, session: sqlite3.Row, turn: sqlite3.Row) -> str:
    """What a kept turn said at its very end, if that was the assistant."""
    if turn["last_seq"] is None:
        return ""
    row = connection.execute(
        "SELECT turn_id, body FROM message WHERE session = ? AND revision = ? AND seq = ?",
        (session["id"], turn["revision"], turn["last_seq"]),
    ).fetchone()
    if row is None or row["turn_id"] != turn["turn_id"]:
        return ""
    message = rows.message(row["body"])
    return message.text if message.role == "assistant" else ""
