"""Our own messages as they stand in our files, in `get_history`'s answers, or written by hand."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pydantic
from pydantic import JsonValue

from eai_mcp import messages, wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Repairs, vendors
from eai_mcp.messages import JsonObject, Message

ROLES = ("user", "assistant")
SHOWN = 80
"""Characters of a foreign text in a message of ours."""
MOST_MISTAKES = 1000
_TYPES = ("text", "thinking", "image", "document", "tool_use", "tool_result")


@dataclass(frozen=True, slots=True)
class Said:
    """A message with the turn and time that stand beside it."""

    message: Message
    turn_id: str = ""
    at: float | None = None


class OwnReader:
    """Reads our messages; what a message of that role cannot say is left out."""

    def __init__(self, repairs: Repairs) -> None:
        self._repairs = repairs

    def read(self, element: JsonObject, place: int) -> Iterator[Said]:
        """The message, unless nothing is left of it.

        Raises:
            ImportInvalid: A field is missing, unknown or of the wrong type.
        """
        said = dict(element)
        turn_id, at = (
            _turn(said.pop("turn_id", ""), place),
            moment(said.pop("at", None), f"message {place}: at"),
        )
        said.pop("seq", None)
        if "cut" in said:
            shown = wire.written(said["cut"])[:SHOWN]
            raise ImportInvalid(f"message {place} was cut when it was read; read it whole: {shown}")
        whole = _whole(said) or self._mended(said, place)
        if whole is None:
            return
        message = self._fitting(whole, place)
        if not message.content and element.get("content") != []:
            self._repairs.note("a message without content was left out", place)
            return
        yield Said(message, turn_id, at)

    def close(self) -> Iterator[Said]:
        """Nothing: each message is whole by itself."""
        yield from ()

    def _mended(self, said: JsonObject, place: int) -> Message | None:
        role = said.get("role")
        if role in ("system", "developer"):
            self._repairs.note("a system message was left out: talk's `system` sets it", place)
            return None
        if role not in ROLES:
            shown = wire.string(role)[:40] if isinstance(role, str) else type(role).__name__
            raise ImportInvalid(f"message {place} has the role {shown!r}; known are {', '.join(ROLES)}")
        content = said.get("content")
        if isinstance(content, str):
            self._repairs.note("string content was taken as text", place)
            content = [{"type": "text", "text": content}]
        if isinstance(content, list):
            content = [block for block in content if self._is_known(block, place)]
        try:
            return messages.decode({**said, "content": content})
        except pydantic.ValidationError as error:
            raise _refusal(error, place) from error
        except RecursionError as error:
            raise ImportInvalid(f"message {place} is nested too deep") from error

    def _is_known(self, block: JsonValue, place: int) -> bool:
        kind = wire.fields(block).get("type")
        if kind in _TYPES:
            return True
        shown = kind[:40] if isinstance(kind, str) else type(block).__name__
        self._repairs.note(f"a block of unknown kind {shown!r} was left out", place)
        return False

    def _fitting(self, message: Message, place: int) -> Message:
        """The message without what its role cannot say."""
        kept = []
        for block in message.content:
            if vendors.can_say(message.role, block):
                kept.append(block)
            else:
                self._repairs.note(f"a {block.type} block of the {message.role} was left out", place)
        if len(kept) == len(message.content):
            return message
        return Message(message.role, tuple(kept), partial=message.partial, state=message.state)


def _turn(value: JsonValue, place: int) -> str:
    if isinstance(value, str) and len(value) <= 128:
        return wire.mended(value)
    raise ImportInvalid(f"message {place}: turn_id should be a short string")


def moment(value: JsonValue, what: str) -> float | None:
    """Seconds since 1970, which `get_history` writes as a date; None where nothing is said.

    Raises:
        ImportInvalid: It is no time that `what` can have.
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError, OSError):
            value = None
    at = wire.amount(value)
    if at is None or not 0 <= at < 253_402_300_800:  # the year 10000, which no date can be in
        raise ImportInvalid(f"{what} should be seconds since 1970, or a date like 2026-01-31")
    return at


def _whole(said: JsonObject) -> Message | None:
    try:
        return messages.decode(said)
    except (pydantic.ValidationError, RecursionError):
        return None


def _refusal(error: pydantic.ValidationError, place: int) -> ImportInvalid:
    count = error.error_count()
    if count > MOST_MISTAKES:  # the list of them would take more memory than the message
        return ImportInvalid(f"message {place} has {count:,} fields that are missing, unknown or of no use")
    first = error.errors(include_url=False)[0]
    # Behind the place of a block stands the type that it was read as.
    steps = [
        step
        for before, step in zip(("", *first["loc"]), first["loc"], strict=False)
        if not isinstance(before, int) or step not in _TYPES
    ]
    where = wire.mended(".".join(str(step)[:SHOWN] for step in steps))
    return ImportInvalid(f"message {place}: {where or 'it'}: {first['msg'][0].lower()}{first['msg'][1:]}")
