"""Lines to messages and back: JSON-RPC over stdio is one JSON object a line.

A line that cannot be used costs that line and not the connection. A request is answered with an error, under
its id where that can be read. An unreadable answer to a question of ours becomes an error for whoever asked:
he would wait for ever otherwise. A notification is owed nothing.
"""

import codecs
import json
import re
from dataclasses import dataclass

from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import JsonValue, ValidationError

LONGEST = 32 * 1024 * 1024
EDGE = 512

SHAPE = (
    'not a JSON-RPC 2.0 message: it needs "jsonrpc": "2.0" and a "method", "params" that are an object,'
    ' and for a request an "id" that is a string or an integer'
)
BATCH = "a message must be one JSON object; batches are not part of this protocol"
SURROGATE = (
    "a string in the message holds half of a surrogate pair (such as \\ud800), which is not a character;"
    " send the whole pair or leave it out"
)

# Each needs the end of the object that it is anchored to, so an id deeper inside cannot be mistaken for it.
_ID = rb'\s*:\s*(-?\d{1,18}|"[^"\\]{1,200}")\s*'
_ID_FIRST = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"' + _ID + rb',\s*(?:"jsonrpc"[^,]*,\s*)?"method"'
)
_METHOD_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"method"')
_ID_LAST = re.compile(rb',\s*"id"' + _ID + rb'(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that is not delivered: why, and what its sender is told (None: nothing)."""

    reason: str
    answer: JSONRPCError | None


@dataclass(frozen=True, slots=True)
class Oversized:
    """A line that was dropped while it came: its size, and both of its ends."""

    size: int
    head: bytes
    tail: bytes


class Lines:
    """Cuts a stream of bytes into lines, however it arrives; lines longer than `longest` are not kept."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._pieces: list[bytes] = []
        self._size = 0
        self._head = self._tail = b""

    def feed(self, chunk: bytes) -> list[bytes | Oversized]:
        """The lines that end in this chunk, in order, without their newline and without empty ones."""
        *ends, rest = chunk.split(b"\n")
        lines = [self._cut(piece) for piece in ends]
        self._keep(rest)
        return [line for line in lines if isinstance(line, Oversized) or line.strip()]

    def last(self) -> list[bytes | Oversized]:
        """What came after the last newline."""
        return self.feed(b"\n")

    def _cut(self, piece: bytes) -> bytes | Oversized:
        self._keep(piece)
        line: bytes | Oversized = b"".join(self._pieces)
        if self._size > self._longest:
            line = Oversized(self._size, self._head, self._tail)
        self._pieces, self._size = [], 0
        self._head = self._tail = b""
        return line

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._longest:
            self._pieces.append(piece)
            return
        if not self._head:
            self._head = b"".join([*self._pieces, piece])[:EDGE]
            self._tail = b"".join(self._pieces)[-EDGE:]
            self._pieces.clear()
        self._tail = (self._tail + piece[-EDGE:])[-EDGE:]


def read(line: bytes) -> JSONRPCMessage | Refusal:
    """The message that a line holds."""
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError as error:
        if line.startswith(codecs.BOM_UTF8):  # PowerShell begins with one what it pipes
            return read(line.lstrip(codecs.BOM_UTF8))
        return _unreadable(line, error)
    # pydantic takes a request whose id has the wrong type for a notification; its sender would wait for ever.
    if isinstance(message, JSONRPCNotification) and b'"id"' in line and "id" in json.loads(line):
        return _refusal(SHAPE, INVALID_REQUEST, None)
    return message


def too_long(line: Oversized, longest: int) -> Refusal:
    """The refusal of a line that was longer than `longest` bytes."""
    reason = f"the message is {line.size:,} bytes; at most {longest:,} are taken"
    found = _ID_FIRST.match(line.head)
    if found is None and _METHOD_FIRST.match(line.head):
        found = _ID_LAST.search(line.tail)
    return _refusal(reason, INVALID_REQUEST, _quoted(found[1]) if found else None)


def written(message: JSONRPCMessage) -> bytes:
    """The line for a message. Half a surrogate pair, which UTF-8 cannot carry, becomes a question mark."""
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except ValueError:
        plain = message.model_dump(by_alias=True, exclude_unset=True)
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace") + b"\n"


def _unreadable(line: bytes, error: ValidationError) -> JSONRPCMessage | Refusal:
    try:
        value: JsonValue = json.loads(line.decode())
    except UnicodeDecodeError as wrong:
        return _refusal(f"byte {wrong.start} of the message is not UTF-8", PARSE_ERROR, None)
    except RecursionError:
        return _refusal("the message is nested too deeply", PARSE_ERROR, None)
    except ValueError as wrong:
        return _refusal(f"not valid JSON: {wrong}", PARSE_ERROR, None)
    if not isinstance(value, dict):
        return _refusal(BATCH, INVALID_REQUEST, None)
    return _misshapen(value, _problem(error))


def _misshapen(value: dict[str, JsonValue], problem: str) -> JSONRPCMessage | Refusal:
    known = _id(value.get("id"))
    if "method" not in value and known is not None and ("result" in value or "error" in value):
        return JSONRPCError(jsonrpc="2.0", id=known, error=ErrorData(code=INVALID_REQUEST, message=problem))
    if "method" in value and "id" not in value:
        return Refusal(problem, None)
    return _refusal(problem, INVALID_REQUEST, known)


def _problem(error: ValidationError) -> str:
    """What is wrong with a line that is JSON for the standard library."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] != "json_invalid":
        return SHAPE
    said = str(first["ctx"]["error"])
    return SURROGATE if "hex escape" in said or "surrogate" in said else f"not usable JSON: {said}"


def _quoted(text: bytes) -> RequestId | None:
    try:
        return _id(json.loads(text))
    except ValueError:  # it only looks like one, as 007 does
        return None


def _id(value: JsonValue) -> RequestId | None:
    """The id to answer under, None if it is none."""
    if isinstance(value, str) and value.isascii():
        return value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _refusal(reason: str, code: int, known: RequestId | None) -> Refusal:
    return Refusal(reason, JSONRPCError(jsonrpc="2.0", id=known, error=ErrorData(code=code, message=reason)))
