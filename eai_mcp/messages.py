"""Messages and their blocks: pure frozen values, and the one JSON codec for them.

Equal content means equal objects; ids, times and owners live in the store. In JSON each block carries its
`type`, as it does here.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import pydantic
from pydantic import JsonValue

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JsonObject: TypeAlias = dict[str, JsonValue]


class _Strict:
    """A value in whose JSON an unknown field is a mistake, not something to pass over."""

    __slots__ = ()
    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class TextBlock(_Strict):
    """Words that were said."""

    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class ThinkingBlock(_Strict):
    """Reasoning that came before the words; `signature` is the provider's seal on it, if it has one."""

    text: str
    signature: str | None = None
    type: Literal["thinking"] = "thinking"


@dataclass(frozen=True, slots=True)
class ImageBlock(_Strict):
    """A picture; `data` is base64, `media_type` as in `image/png`."""

    media_type: str
    data: str
    type: Literal["image"] = "image"


@dataclass(frozen=True, slots=True)
class DocumentBlock(_Strict):
    """A file for the model to read; `data` is base64, `media_type` as in `application/pdf`."""

    media_type: str
    data: str
    name: str = "document"
    type: Literal["document"] = "document"


Shown: TypeAlias = Annotated[
    TextBlock | ImageBlock | DocumentBlock,
    pydantic.Field(discriminator="type"),
]


@dataclass(frozen=True, slots=True)
class ToolUseBlock(_Strict):
    """The model asks for a tool to be run; `id` pairs it with its result."""

    id: str
    name: str
    input: JsonObject
    type: Literal["tool_use"] = "tool_use"


@dataclass(frozen=True, slots=True)
class ToolResultBlock(_Strict):
    """What a tool said; `failed` marks an error that the model should see."""

    tool_use_id: str
    content: tuple[Shown, ...]
    failed: bool = False
    type: Literal["tool_result"] = "tool_result"


Block: TypeAlias = Annotated[
    TextBlock | ThinkingBlock | ImageBlock | DocumentBlock | ToolUseBlock | ToolResultBlock,
    pydantic.Field(discriminator="type"),
]
Role: TypeAlias = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class ProviderState(_Strict):
    """A provider's own form of an assistant message, kept whole to be sent back unchanged.

    It means something to the same provider and wire model only; for any other the neutral blocks are used.
    """

    provider: str
    model: str
    data: JsonValue = None


@dataclass(frozen=True, slots=True)
class Message(_Strict):
    """One role's contribution. `partial` marks a reply that was cut off before it was finished."""

    role: Role
    content: tuple[Block, ...]
    partial: bool = False
    state: ProviderState | None = None

    @property
    def text(self) -> str:
        """The words alone: text blocks joined by a blank line, thinking left out."""
        return "\n\n".join(block.text for block in self.content if isinstance(block, TextBlock))

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but whole text, whose JSON always gives back the very same."""
        return (
            type(self.content) is tuple
            and self.state is None
            and all(type(block) is TextBlock and _is_whole(block.text) for block in self.content)
        )


def _is_whole(text: str) -> bool:
    """Whether it holds no half of a character: two of them side by side come back from JSON as one."""
    try:
        text.encode()
    except (AttributeError, UnicodeEncodeError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Line:
    """A message as one line of JSON (see `dump`), with its turn ("" for none) and time (s since 1970)."""

    turn_id: str
    at: float
    body: str

    @property
    def message(self) -> Message:
        """The message itself. Raises ValueError if `body` is none."""
        return load(self.body)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls, in one meaning for every provider.

    `input` counts everything that was read, `cache_read` and `cache_write` are parts of it; `output` counts
    everything that was written, `reasoning` is a part of it. `cost_usd` is None when no price is known.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_usd: float | None = None

    def __add__(self, other: "Usage") -> "Usage":
        known = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
            sum(known) if known else None,
        )


def user(content: str | tuple[Block, ...]) -> Message:
    """A user's message of plain text or of blocks."""
    return Message("user", (TextBlock(content),) if isinstance(content, str) else content)


def assistant(text: str, *, partial: bool = False) -> Message:
    """An assistant's message of plain text."""
    return Message("assistant", (TextBlock(text),), partial=partial)


def told(value: "DataclassInstance") -> JsonObject:
    """The fields of a flat value that are known."""
    fields = value.__dataclass_fields__
    return {name: known for name in fields if (known := getattr(value, name)) is not None}


compact = json.JSONEncoder(separators=(",", ":")).encode
"""JSON in ASCII, without white space."""

INTERRUPTED = "interrupted before it was finished"
SHORT = 64 * 1024
"""Characters of which a few copies do no harm."""


def failed_result(use: str, reason: str) -> ToolResultBlock:
    """The result of a tool use, by its id, that came to nothing."""
    return ToolResultBlock(use, (TextBlock(reason),), failed=True)


def closing(messages: Sequence[Message], reason: str = INTERRUPTED) -> tuple[Message, ...]:
    """What must follow `messages` so that each tool use in them has its result: a failed one, or nothing.

    Only the last message can lack results, for results stand right behind their uses.
    """
    if not messages or messages[-1].role != "assistant":
        return ()
    uses = [block.id for block in messages[-1].content if isinstance(block, ToolUseBlock)]
    results = tuple(failed_result(use, reason) for use in uses)
    return (Message("user", results),) if results else ()


@functools.cache
def _adapter() -> pydantic.TypeAdapter[Message]:
    return pydantic.TypeAdapter(Message)


@functools.cache
def _blocks() -> pydantic.TypeAdapter[tuple[Block, ...]]:
    return pydantic.TypeAdapter(tuple[Block, ...])


def encode(message: Message) -> JsonObject:
    """A message as JSON; what is None is left out."""
    if message.is_plain:  # most are, and this is how the adapter would write them
        texts = [block.text for block in message.content if isinstance(block, TextBlock)]
        blocks: list[JsonValue] = [{"text": text, "type": "text"} for text in texts]
        return {"role": message.role, "content": blocks, "partial": message.partial}
    encoded: JsonObject = _adapter().dump_python(message, mode="json", exclude_none=True)
    return encoded


def decode(value: JsonValue) -> Message:
    """The message that `encode` made.

    Raises:
        pydantic.ValidationError: `value` has another shape.
    """
    return _adapter().validate_python(value)


def line(message: Message, *, turn_id: str = "", at: float = 0.0) -> Line:
    """A message as a line."""
    return Line(turn_id, at, dump(message))


def dump(message: Message) -> str:
    """A message as compact JSON in ASCII: any text that JSON can say survives, half a character too."""
    if not message.is_plain or len(message.text) > SHORT:
        return compact(encode(message))
    # The same as above, three times as fast, but with a copy more.
    texts = [compact(block.text) for block in message.content if isinstance(block, TextBlock)]
    blocks = ",".join([f'{{"text":{text},"type":"text"}}' for text in texts])
    return f'{{"role":"{message.role}","content":[{blocks}],"partial":{compact(message.partial)}}}'


def load(text: str) -> Message:
    """The message that `dump` wrote.

    Raises:
        ValueError: It is none.
    """
    return decode(json.loads(text))


def decode_blocks(value: JsonValue) -> tuple[Block, ...]:
    """The blocks of a list such as a caller sends.

    Raises:
        pydantic.ValidationError: A block has an unknown `type`, or lacks or invents a field.
    """
    return _blocks().validate_python(value)
