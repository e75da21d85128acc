"""Rows of the tables as values, and back. Bodies are ASCII: any text that JSON can say survives."""

import functools
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from eai_mcp import messages
from eai_mcp.errors import NotFound, SessionBusy, StorageUnavailable
from eai_mcp.messages import JsonObject, Message, Usage
from eai_mcp.store import Choices, Entry, Question, Running, SessionRow

INPUT, STEP, DROPPED = "input", "step", "dropped"


def dump(value: Mapping[str, Any]) -> str:
    """JSON in ASCII, without white space."""
    return messages.compact(value)


def parse(text: str) -> JsonObject:
    """The object that `dump` wrote."""
    value: JsonObject = json.loads(text)
    return value


def key(given: str) -> str:
    """An id as a column takes it, which lone surrogates are not."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return f"\0{json.dumps(given)}"
    return given


def text(said: str) -> str:
    """Any text in ASCII; "" stays so."""
    return json.dumps(said) if said else ""


def untext(stored: str) -> str:
    """The text that `text` wrote."""
    return str(json.loads(stored)) if stored else ""


def count(connection: sqlite3.Connection, space: str, apart_from: str) -> int:
    """How many sessions a space has, without the one of that name."""
    query = "SELECT count(*) FROM session WHERE space = ? AND name <> ?"
    found: int = connection.execute(query, (space, apart_from)).fetchone()[0]
    return found


def message(text: str) -> Message:
    """The message that was stored.

    Raises:
        StorageUnavailable: It is none any more.
    """
    try:
        return messages.load(text)
    except ValueError as error:
        raise StorageUnavailable(
            "the file with the sessions is damaged: a message in it cannot be read", retryable=False
        ) from error


def entry(row: sqlite3.Row) -> Entry:
    """A message of the history."""
    return Entry(row["seq"], row["turn_id"], row["at"], message(row["body"]))


@functools.lru_cache(maxsize=256)
def given(value: Choices | Usage) -> str:
    """Choices or usage without what is not known."""
    return dump(messages.told(value))


@functools.lru_cache(maxsize=256)
def _choices(text: str) -> Choices:
    return Choices(**json.loads(text))


@functools.lru_cache(maxsize=256)
def _usage(text: str) -> Usage:
    return Usage(**json.loads(text))


def usage(row: sqlite3.Row) -> Usage:
    """What a session spent."""
    return _usage(row["usage"])


def question(row: sqlite3.Row) -> Question | None:
    """What a session waits to be told."""
    return None if row["question"] is None else Question(**json.loads(row["question"]))


def running(row: sqlite3.Row) -> Running | None:
    """The turn that runs in a session, as far as the row says."""
    return None if row["owner"] is None else Running(row["turn_id"], row["since"], untext(row["said"]))


def session(row: sqlite3.Row) -> SessionRow:
    """A session without its messages."""
    return SessionRow(
        name=row["name"],
        message_count=row["message_count"],
        updated_at=row["updated_at"],
        choices=_choices(row["choices"]),
        usage=usage(row),
        running=running(row),
        question=question(row),
        turns=row["turns"],
        version=row["version"],
        revision=row["revision"],
    )


def found(connection: sqlite3.Connection, space: str, name: str) -> sqlite3.Row | None:
    """The row of a session."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM session WHERE space = ? AND name = ?", (space, name)
    ).fetchone()
    return row


def some(connection: sqlite3.Connection, space: str, *names: str) -> list[sqlite3.Row]:
    """The rows of those sessions that are there."""
    return [row for name in names if (row := found(connection, space, name))]


def known(connection: sqlite3.Connection, space: str, name: str) -> sqlite3.Row:
    """The row of a session that must be there.

    Raises:
        NotFound: It is not.
    """
    row = found(connection, space, name)
    if row is None:
        raise NotFound(f"no session named {name!r}; talk to it to make it", name=name)
    return row


def busy(row: sqlite3.Row, now: float) -> SessionBusy:
    """The error for a session in which a turn is running."""
    seconds = max(0.0, round(now - row["since"], 1))
    return SessionBusy(
        f"session {row['name']!r} is busy: turn {row['turn_id']} has been running for {seconds} s",
        chat_session=row["name"],
        turn_id=row["turn_id"],
        running_s=seconds,
    )
