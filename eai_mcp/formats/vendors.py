"""What the vendors' formats share: notes of repairs, blocks out of foreign parts, ids and inputs that fit."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Repairs
from eai_mcp.messages import (
    Block,
    DocumentBlock,
    ImageBlock,
    JsonObject,
    Message,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

Shown: TypeAlias = TextBlock | ImageBlock | DocumentBlock
ROLES = ("user", "assistant", "system", "developer")
NO_OUTPUT = "(no output)"
SEALED = "a sealed thought was left out"

LONGEST_KIND = 40

_THINGS = {"thinking": "a thought", "tool_use": "a tool use", "tool_result": "a tool result"}
_Made = TypeVar("_Made", bound=Block)


@dataclass(frozen=True, slots=True)
class Notes:
    """Notes what was changed in one element, which is number `place` of its file."""

    repairs: Repairs
    place: int

    def note(self, what: str) -> None:
        """Something of this element was changed."""
        self.repairs.note(what, self.place)

    def unknown(self, thing: str, kind: JsonValue) -> None:
        """`thing`, such as "a block", was left out, for nothing here is of its kind."""
        named = f"of unknown kind {_shown(kind)}" if isinstance(kind, str) else "without a kind"
        self.note(f"{thing} {named} was left out")

    def role(self, value: JsonValue, *, known: Sequence[str] = ROLES) -> Role | None:
        """Who speaks; None for what is said by no one of the two, which is left out.

        Raises:
            ImportInvalid: The format has no such role.
        """
        if value == "user":
            return "user"
        if value == "assistant":
            return "assistant"
        if value in ("system", "developer"):
            self.note("a system message was left out: talk's `system` sets it")
            return None
        said = f"the role {_shown(value)}" if isinstance(value, str) else "no role"
        raise ImportInvalid(f"message {self.place} has {said}; known are {', '.join(known)}")

    def message(self, role: Role, blocks: Iterable[Block]) -> Iterator[Message]:
        """The message of those blocks that its role can say, if there are any."""
        content = tuple(block for block in blocks if self._fits(role, block))
        if content:
            yield Message(role, content)
        else:
            self.note("a message without content was left out")

    def _fits(self, role: Role, block: Block) -> bool:
        if can_say(role, block):
            return True
        self.note(f"{_THINGS[block.type]} said by the {role} was left out")
        return False


def can_say(role: Role, block: Block) -> bool:
    """Whether a message of that role may hold the block."""
    if role == "user":
        return not isinstance(block, ThinkingBlock | ToolUseBlock)
    return not isinstance(block, ToolResultBlock)


def sayable(message: Message) -> Iterator[Block]:
    """The blocks that its role can say; where the assistant shows something, a text stands in its place."""
    for block in message.content:
        if message.role == "assistant" and isinstance(block, ImageBlock | DocumentBlock):
            yield TextBlock(f"[{block.type}]")
        elif can_say(message.role, block):
            yield block


def parts(
    content: JsonValue, read: Callable[[JsonObject, Notes], Iterator[_Made]], notes: Notes
) -> Iterator[TextBlock | _Made]:
    """The blocks of a content that is a text, or a list of parts for `read`."""
    if isinstance(content, str):
        yield from text(content, notes)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                yield from read(part, notes)
            else:
                notes.note("a part that is no object was left out")
    elif content is not None:
        notes.note("a content that is neither text nor a list was left out")


def text(value: JsonValue, notes: Notes) -> Iterator[TextBlock]:
    """A block of words; none for a text without a character."""
    if not isinstance(value, str):
        notes.note("a text that is no string was left out")
    elif value:
        yield TextBlock(wire.mended(value))


def thought(value: JsonValue, signature: JsonValue, notes: Notes) -> Iterator[ThinkingBlock]:
    """A block of reasoning, with the seal that it had."""
    if isinstance(value, str):
        seal = wire.mended(signature) if isinstance(signature, str) else None
        yield ThinkingBlock(wire.mended(value), seal)
    else:
        notes.note("a thought that is no string was left out")


def tool_use(own: JsonValue, name: JsonValue, given: JsonObject, notes: Notes) -> Iterator[ToolUseBlock]:
    """A tool use that a result can name."""
    if not wire.string(own):
        notes.note("a tool use without an id was left out")
    elif not wire.string(name):
        notes.note("a tool use without a name was left out")
    else:
        yield ToolUseBlock(wire.mended(wire.string(own)), wire.mended(wire.string(name)), given)


def tool_result(
    own: JsonValue, content: Iterable[Shown], notes: Notes, *, failed: bool = False
) -> Iterator[ToolResultBlock]:
    """A result that says whose it is."""
    if wire.string(own):
        yield ToolResultBlock(wire.mended(wire.string(own)), tuple(content), failed)
    else:
        notes.note("a tool result without an id was left out")


def tool_input(value: JsonValue, notes: Notes) -> JsonObject:
    """What a tool was called with; nothing for null.

    Raises:
        ImportInvalid: It is nested too deep to be kept.
    """
    if value is None:
        return {}
    if wire.is_deep(value):
        raise ImportInvalid(
            f"message {notes.place} has a tool's input nested more than {wire.DEEPEST} levels deep"
        )
    if isinstance(value, dict):
        return clean(value)
    return _as_text(value if isinstance(value, str) else wire.written(value), notes)


def arguments(value: JsonValue, notes: Notes) -> JsonObject:
    """What a tool was called with, as JSON in a text; nothing for a blank one.

    Raises:
        ImportInvalid: It is no text after all, and is nested too deep to be kept.
    """
    if not isinstance(value, str):
        return tool_input(value, notes)
    if not value.strip():
        return {}
    try:
        given = wire.parsed(value)
    except ValueError:
        given = None
    if isinstance(given, dict) and not wire.is_deep(given):
        return clean(given)
    return _as_text(value, notes)


def clean(value: JsonObject) -> JsonObject:
    """The same in characters and numbers that JSON can say."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return wire.fields(wire.parsed(wire.written(value)))
    return value


def fitting(own: str, form: re.Pattern[str], *, longest: int = 64) -> str:
    """An id of that form: its own, or else a digest, which is the same for a tool use and its result."""
    if form.fullmatch(own):
        return own
    return hashlib.sha256(own.encode("utf-8", "surrogatepass")).hexdigest()[:longest]


def _as_text(value: str, notes: Notes) -> JsonObject:
    notes.note("a tool's input that is no JSON object was kept as text")
    return {wire.INVALID_JSON: wire.mended(value)}


def _shown(kind: str) -> str:
    return repr(kind if len(kind) <= LONGEST_KIND else kind[: LONGEST_KIND - 1] + "…")
