"""Our own formats: a session as one JSON object, its messages a line each, or all sessions in one file.

A session is

    {"format": "eai-mcp", "version": 1, "session", "updated_at", "choices": {…}, "usage": {…},
     "messages": [{"at", "turn_id", "role", "content": [blocks], "partial"?, "state"?}, …],
     "message_count", "sha256"}

with times in seconds since 1970; `session-1.schema.json` beside this file says it in full. The sha256 is of
the canonical JSON (ASCII, keys sorted, no white space, whole numbers below 2^53 without a point) of the list
[messages, choices, usage]: white space and the order of keys may change on the way, what is said may not.

All sessions are lines: one with the format and version; for each session one with all that it is but its
messages, and then those; at last one with `session_count`, `message_count` and the sha256 of all lines
before, each in canonical JSON and ended by a line feed.

The same sessions always give the same bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from eai_mcp import messages
from eai_mcp.formats import Head, Tally, damaged
from eai_mcp.messages import JsonObject, Line

SESSION: Final = "eai-mcp"
SNAPSHOT: Final = "eai-mcp-snapshot"
VERSION: Final = 1
FARTHEST = 2**53
"""Whole numbers below this are the same to everybody, whether with a point or without."""

# Made once, for making an encoder takes longer than most messages.
_COMPACT = json.JSONEncoder(separators=(",", ":")).encode
_CANONICAL = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def compact(value: Any) -> str:
    """JSON in ASCII without white space."""
    return _COMPACT(value)


def canonical(value: Any) -> bytes:
    """The one form in which equal values are equal bytes; 1.0 is 1 there, as others write it."""
    return _CANONICAL(_plain(value)).encode("ascii")


class Digest:
    """The sha256 of a session, of which the messages are known first."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"[[")
        self._is_first = True

    def add(self, message: Mapping[str, Any]) -> None:
        """Another message, as it stands in the file."""
        self._hash.update(canonical(message) if self._is_first else b"," + canonical(message))
        self._is_first = False

    def hex(self, choices: Mapping[str, Any], usage: Mapping[str, Any]) -> str:
        """The digest of it all."""
        whole = self._hash.copy()
        whole.update(b"]," + canonical(choices) + b"," + canonical(usage) + b"]")
        return whole.hexdigest()


def session(head: Head, lines: Iterable[Line], tally: Tally) -> Iterator[bytes]:
    """A session as the bytes of its JSON."""
    digest = Digest()
    about = _about(head)
    opening = compact({"format": SESSION, "version": VERSION, **about})
    yield f'{opening[:-1]},"messages":['.encode("ascii")
    separator = "\n"
    for line in lines:
        text, value = _written(line)
        digest.add(value)
        tally.add()
        yield (separator + text).encode("ascii")
        separator = ",\n"
    sha256 = digest.hex(dict(head.choices), messages.told(head.usage))
    yield f'\n],"message_count":{tally.messages},"sha256":"{sha256}"}}\n'.encode("ascii")


def jsonl(lines: Iterable[Line], tally: Tally) -> Iterator[bytes]:
    """The messages alone, a line each."""
    for line in lines:
        tally.add()
        yield f"{_written(line)[0]}\n".encode("ascii")


def snapshot(sessions: Iterable[tuple[Head, int, Iterable[Line]]], tally: Tally) -> Iterator[bytes]:
    """All sessions, each with the number of its messages, as the bytes of their lines."""
    digest, count = hashlib.sha256(), 0

    def written(value: JsonObject, text: str = "") -> bytes:
        digest.update(canonical(value) + b"\n")
        return f"{text or compact(value)}\n".encode("ascii")

    yield written({"format": SNAPSHOT, "version": VERSION})
    for head, size, lines in sessions:
        count += 1
        yield written({**_about(head), "message_count": size})
        for line in lines:
            text, value = _written(line)
            tally.add()
            yield written(value, text)
    closing = {"session_count": count, "message_count": tally.messages, "sha256": digest.hexdigest()}
    yield f"{compact(closing)}\n".encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < FARTHEST
    return int(value) if is_whole else value


def _about(head: Head) -> JsonObject:
    return {
        "session": head.session,
        "updated_at": head.updated_at,
        "choices": dict(head.choices),
        "usage": messages.told(head.usage),
    }


def _written(line: Line) -> tuple[str, JsonObject]:
    """A message's text, in which its own JSON is as it was stored, and its value."""
    placed: JsonObject = {"at": line.at}
    if line.turn_id:
        placed["turn_id"] = line.turn_id
    try:
        value: JsonObject = json.loads(line.body)
    except ValueError as error:
        raise damaged() from error
    return f"{compact(placed)[:-1]},{line.body[1:]}", placed | value
