"""Histories as the `input` items of OpenAI's Responses.

Written, a history loses
- the partial mark, the provider's state, the turn and the time of each message;
- the borders between neighbours of the assistant, whose items stand in a row;
- thinking, empty texts, messages that have nothing else, and what the other role alone can say;
- the place of tool results, which come first: each is an item, and what else the user said another behind it;
- the failure of a tool: its text begins with "Error: ", or such a text begins its parts;
- pictures and documents of the assistant, or with broken data: a text "[image]", "[document]" or
  "[document: NAME]" stands in their place;
- a tool id that is empty or longer than 64 characters, which becomes a digest.
"""

import re
from collections.abc import Iterator
from typing import assert_never

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Repairs, media, openai_parts, vendors
from eai_mcp.formats.vendors import Notes, Shown
from eai_mcp.messages import (
    Block,
    DocumentBlock,
    ImageBlock,
    JsonObject,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

MOST_ITEMS = 10_000
"""Items that one message of the assistant may have: it is kept as a whole."""

_TOOL_ID = re.compile(r"[^\ud800-\udfff]{1,64}")


class Writer:
    """Writes items for Responses, as many as a message takes."""

    def write(self, message: Message) -> Iterator[JsonObject]:
        """The items of the message."""
        yield from _user(message) if message.role == "user" else _assistant(message)

    def close(self) -> Iterator[JsonObject]:
        """Nothing waits."""
        yield from ()


class Reader:
    """Reads items of Responses; a message of the assistant is complete when something else comes."""

    def __init__(self, repairs: Repairs) -> None:
        self._repairs = repairs
        self._said: list[Block] = []
        self._items = 0

    def read(self, element: JsonObject, place: int) -> Iterator[Message]:
        """The messages that end before the item, and the one that it is, unless it is the assistant's.

        Raises:
            ImportInvalid: Its role is unknown, a tool's input nested too deep, or a message too long.
        """
        notes = Notes(self._repairs, place)
        match element.get("type") or ("message" if "role" in element else None):
            case "message":
                yield from self._message(element, notes)
            case "function_call":
                given = vendors.arguments(element.get("arguments"), notes)
                own, name = element.get("call_id"), element.get("name")
                self._add(vendors.tool_use(own, name, given, notes), notes)
            case "function_call_output":
                yield from self.close()
                content = vendors.parts(element.get("output"), openai_parts.shown, notes)
                result = vendors.tool_result(element.get("call_id"), content, notes)
                yield from notes.message("user", result)
            case "reasoning":
                self._add(_thought(element, notes), notes)
            case kind:
                notes.unknown("an item", kind)

    def close(self) -> Iterator[Message]:
        """The last message of the assistant."""
        said, self._said, self._items = self._said, [], 0
        if said:
            yield Message("assistant", tuple(said))

    def _message(self, element: JsonObject, notes: Notes) -> Iterator[Message]:
        role = notes.role(element.get("role"))
        content = vendors.parts(element.get("content"), openai_parts.shown, notes)
        if role == "assistant":
            self._add((block for said in notes.message(role, content) for block in said.content), notes)
        elif role == "user":
            yield from self.close()
            yield from notes.message(role, content)

    def _add(self, blocks: Iterator[Block], notes: Notes) -> None:
        self._items += 1
        if self._items > MOST_ITEMS:
            raise ImportInvalid(
                f"item {notes.place} is one of more than {MOST_ITEMS:,} of the assistant in a row, "
                "which are one message; put something of the user between them"
            )
        self._said += blocks


def _thought(element: JsonObject, notes: Notes) -> Iterator[ThinkingBlock]:
    """What can be read of a thought: its summary, or itself where it is not sealed."""
    for parts in (element.get("summary"), element.get("content")):
        said = [text for part in wire.items(parts) if (text := wire.string(wire.fields(part).get("text")))]
        if said:
            yield from vendors.thought("\n\n".join(said), None, notes)
            return
    notes.note(vendors.SEALED)


def _user(message: Message) -> Iterator[JsonObject]:
    for block in message.content:
        if isinstance(block, ToolResultBlock):
            yield _tool_result(block)
    said = _parts(block for block in message.content if isinstance(block, Shown))
    if said:
        yield {"role": "user", "content": _short(said)}


def _assistant(message: Message) -> Iterator[JsonObject]:
    for block in message.content:
        match block:
            case TextBlock(text=text):
                if text:
                    yield {"role": "assistant", "content": wire.mended(text)}
            case ImageBlock() | DocumentBlock():
                yield {"role": "assistant", "content": f"[{block.type}]"}
            case ToolUseBlock():
                own = vendors.fitting(block.id, _TOOL_ID)
                call: JsonObject = {"type": "function_call", "call_id": own, "name": wire.mended(block.name)}
                yield {**call, "arguments": wire.written(vendors.clean(block.input))}
            case ThinkingBlock() | ToolResultBlock():
                pass  # which has no item without its seal, or which no assistant can say
            case _:
                assert_never(block)


def _tool_result(block: ToolResultBlock) -> JsonObject:
    said = _parts(iter(block.content))
    output = _short(said)
    if block.failed:
        failed = openai_parts.FAILED
        output = f"{failed} {output}" if isinstance(output, str) else [_text(failed), *said]
    own = vendors.fitting(block.tool_use_id, _TOOL_ID)
    return {"type": "function_call_output", "call_id": own, "output": output}


def _parts(blocks: Iterator[Shown]) -> list[JsonObject]:
    """The parts for blocks; none for an empty text."""
    return [_part(block) for block in blocks if not isinstance(block, TextBlock) or block.text]


def _short(said: list[JsonObject]) -> JsonValue:
    """The text if there is no more than one: some servers can read nothing else."""
    if not said:
        return ""
    return said[0]["text"] if len(said) == 1 and "text" in said[0] else [*said]


def _part(block: Shown) -> JsonObject:
    if isinstance(block, TextBlock):
        return _text(block.text)
    data = media.whole(block)
    if data is None:
        return _text(media.label(block))
    url = media.data_url(block, data)
    match block:
        case ImageBlock():
            # The detail is what happens anyway, but the field must be there.
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case DocumentBlock(name=name):
            return {"type": "input_file", "filename": wire.mended(name), "file_data": url}
        case _:
            assert_never(block)


def _text(text: str) -> JsonObject:
    return {"type": "input_text", "text": wire.mended(text)}
