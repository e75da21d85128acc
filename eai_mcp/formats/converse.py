"""Histories as the `messages` of AWS Bedrock's Converse.

Written, a history loses
- the partial mark, the provider's state, the turn and the time of each message;
- the borders between neighbours of one role, which become one message, its tool results first;
- blank texts, messages that have nothing else, and what the other role alone can say;
- what Converse does not take in the ids and names of tools and in the names of documents: an id becomes a
  digest, each sign of a name "_" or "-", several spaces one, a long name shorter, and a document a number if
  another has its name;
- pictures and documents of types that Converse does not know or whose data is broken, and those of the
  assistant: a text "[image]", "[document: NAME]" or "[document]" stands in their place. Other media types
  become the plain one of their format, "text/plain" for a text of no known kind and for JSON;
- the emptiness of a tool result: it says "(no output)".

Read are also Eai's own blocks, `{"thinking": …}` and a bare `{"toolUseId": …, "name": …, "input": …}`.
"""

import re
from collections.abc import Iterator
from typing import assert_never

from eai_mcp import wire
from eai_mcp.formats import Repairs, media, vendors
from eai_mcp.formats.converse_blocks import FORMATS, block
from eai_mcp.formats.vendors import Notes, Shown
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

LONGEST_TOOL_NAME = 64
LONGEST_DOCUMENT_NAME = 180
"""Characters. The limit is 200; the rest is for a number."""

_TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")


class Writer:
    """Writes messages for Converse; the last is complete when another role speaks."""

    def __init__(self) -> None:
        self._role: Role = "user"
        self._content: list[JsonObject] = []
        self._names = _Names()

    def write(self, message: Message) -> Iterator[JsonObject]:
        """The message before, if this one begins another."""
        content = [said for block in vendors.sayable(message) for said in self._said(block)]
        if content and message.role != self._role:
            yield from self.close()
            self._role = message.role
        self._content += content

    def close(self) -> Iterator[JsonObject]:
        """The last message."""
        content = sorted(self._content, key=lambda said: "toolResult" not in said)
        self._content = []
        if content:
            yield {"role": self._role, "content": [*content]}

    def _said(self, block: Block) -> Iterator[JsonObject]:
        match block:
            case TextBlock() | ImageBlock() | DocumentBlock():
                yield from self._shown(block)
            case ThinkingBlock():
                yield _thought(block)
            case ToolUseBlock():
                yield _tool_use(block)
            case ToolResultBlock():
                yield self._tool_result(block)
            case _:
                assert_never(block)

    def _tool_result(self, block: ToolResultBlock) -> JsonObject:
        content = [said for piece in block.content for said in self._shown(piece)]
        result: JsonObject = {"toolUseId": vendors.fitting(block.tool_use_id, _TOOL_ID)}
        result["content"] = [*content] or [_text(vendors.NO_OUTPUT)]
        if block.failed:
            result["status"] = "error"
        return {"toolResult": result}

    def _shown(self, block: Shown) -> Iterator[JsonObject]:
        if isinstance(block, TextBlock):
            if block.text.strip():
                yield _text(block.text)
            return
        data, known = media.whole(block), _format(block)
        if data is None or known is None:
            yield _text(media.label(block))
            return
        source: JsonObject = {"bytes": data}
        shown: JsonObject = {"format": known, "source": source}
        if isinstance(block, DocumentBlock):
            shown["name"] = self._names.unlike(block.name)
        yield {block.type: shown}


class Reader:
    """Reads messages of Converse, those in Eai's own dialect too."""

    def __init__(self, repairs: Repairs) -> None:
        self._repairs = repairs

    def read(self, element: JsonObject, place: int) -> Iterator[Message]:
        """The message that the element is.

        Raises:
            ImportInvalid: Its role is unknown, or a tool's input nested too deep.
        """
        notes = Notes(self._repairs, place)
        role = notes.role(element.get("role"))
        if role is None:
            return
        content = element.get("content")
        if isinstance(content, str):
            notes.note("string content was taken as text")
        yield from notes.message(role, vendors.parts(content, block, notes))

    def close(self) -> Iterator[Message]:
        """Nothing waits."""
        yield from ()


class _Names:
    """The names of the documents so far: each must differ from all others."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}

    def unlike(self, name: str) -> str:
        """The name in the signs that are taken, with a number if it is not the first."""
        plain = " ".join(re.sub(r"[^A-Za-z0-9\s()\[\]-]", "-", name).split())
        plain = plain[:LONGEST_DOCUMENT_NAME].strip(" -") or "document"
        unique, number = plain, self._numbers.get(plain, 1)
        while unique in self._taken:
            number += 1
            unique = f"{plain} {number}"
        self._numbers[plain] = number
        self._taken.add(unique)
        return unique


def _tool_use(block: ToolUseBlock) -> JsonObject:
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", block.name)[:LONGEST_TOOL_NAME] or "_"
    own = vendors.fitting(block.id, _TOOL_ID)
    return {"toolUse": {"toolUseId": own, "name": name, "input": vendors.clean(block.input)}}


def _thought(block: ThinkingBlock) -> JsonObject:
    said: JsonObject = {"text": wire.mended(block.text)}
    if block.signature is not None:
        said["signature"] = wire.mended(block.signature)
    return {"reasoningContent": {"reasoningText": said}}


def _text(text: str) -> JsonObject:
    return {"text": wire.mended(text)}


def _format(block: media.Media) -> str | None:
    """One of the names that Converse has, None if it has none."""
    kind = media.essence(block.media_type)
    if isinstance(block, ImageBlock):
        return kind.removeprefix("image/") if kind in media.IMAGES else None
    return FORMATS.get(kind) or ("txt" if kind.startswith("text/") else None)
