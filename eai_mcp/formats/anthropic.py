"""Histories as the `messages` of Anthropic's Messages.

Written, a history loses
- the partial mark, the provider's state, the turn and the time of each message;
- thinking without a signature, blank texts, messages that have nothing else, and what the other role alone
  can say;
- the place of tool results, which come first within their message;
- pictures other than JPEG, PNG, GIF and WebP, documents other than PDF and text, those with broken data, and
  those of the assistant: a text "[image]", "[document: NAME]" or "[document]" stands in their place;
- the kind of a text document, which becomes "text/plain" in UTF-8, a name that is blank, and the parameters
  and the letters' case of a media type;
- the emptiness of a failed tool's result: it says "(no output)";
- a tool id with signs other than letters, digits, "_" and "-", which becomes a digest.
"""

import base64
import re
from collections.abc import Iterator
from typing import assert_never

from eai_mcp import wire
from eai_mcp.formats import Repairs, media, vendors
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

_PDF = "application/pdf"
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")


class Writer:
    """Writes messages for Anthropic, one for each that says anything."""

    def write(self, message: Message) -> Iterator[JsonObject]:
        """The message."""
        content = [said for block in vendors.sayable(message) for said in _said(block)]
        content.sort(key=lambda said: said["type"] != "tool_result")
        if content:
            yield {"role": message.role, "content": [*content]}

    def close(self) -> Iterator[JsonObject]:
        """Nothing waits."""
        yield from ()


class Reader:
    """Reads messages of Anthropic."""

    def __init__(self, repairs: Repairs) -> None:
        self._repairs = repairs

    def read(self, element: JsonObject, place: int) -> Iterator[Message]:
        """The message that the element is.

        Raises:
            ImportInvalid: Its role is unknown, or a tool's input nested too deep.
        """
        notes = Notes(self._repairs, place)
        role = notes.role(element.get("role"))
        if role is not None:
            yield from notes.message(role, vendors.parts(element.get("content"), _block, notes))

    def close(self) -> Iterator[Message]:
        """Nothing waits."""
        yield from ()


def _said(block: Block) -> Iterator[JsonObject]:
    match block:
        case TextBlock() | ImageBlock() | DocumentBlock():
            yield from _shown(block)
        case ThinkingBlock():
            yield from _thought(block)
        case ToolUseBlock():
            yield _tool_use(block)
        case ToolResultBlock():
            yield _tool_result(block)
        case _:
            assert_never(block)


def _shown(block: Shown) -> Iterator[JsonObject]:
    if isinstance(block, TextBlock):
        if block.text.strip():
            yield _text(block.text)
        return
    source = _source(block)
    if source is None:
        yield _text(media.label(block))
        return
    shown: JsonObject = {"type": block.type, "source": source}
    if isinstance(block, DocumentBlock) and block.name.strip():
        shown["title"] = wire.mended(block.name)
    yield shown


def _source(block: media.Media) -> JsonObject | None:
    """Where the block's data stands, None for data that cannot be shown."""
    data, kind = media.whole(block), media.essence(block.media_type)
    if data is None:
        return None
    if kind in media.IMAGES if isinstance(block, ImageBlock) else kind == _PDF:
        return {"type": "base64", "media_type": kind, "data": data}
    if isinstance(block, DocumentBlock) and kind.startswith("text/"):
        words = base64.b64decode(data).decode("utf-8", "replace")
        return {"type": "text", "media_type": "text/plain", "data": words}
    return None


def _thought(block: ThinkingBlock) -> Iterator[JsonObject]:
    if block.signature:
        thought: JsonObject = {"type": "thinking", "thinking": wire.mended(block.text)}
        yield {**thought, "signature": wire.mended(block.signature)}


def _tool_use(block: ToolUseBlock) -> JsonObject:
    use: JsonObject = {"type": "tool_use", "id": vendors.fitting(block.id, _TOOL_ID)}
    return {**use, "name": wire.mended(block.name), "input": vendors.clean(block.input)}


def _tool_result(block: ToolResultBlock) -> JsonObject:
    content = [said for piece in block.content for said in _shown(piece)]
    if block.failed and not content:
        content = [_text(vendors.NO_OUTPUT)]  # an error must not be empty
    result: JsonObject = {"type": "tool_result", "tool_use_id": vendors.fitting(block.tool_use_id, _TOOL_ID)}
    if content:
        result["content"] = [*content]
    return {**result, "is_error": True} if block.failed else result


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": wire.mended(text)}


def _block(said: JsonObject, notes: Notes) -> Iterator[Block]:
    match said.get("type"):
        case "thinking":
            seal = wire.string(said.get("signature")) or None
            yield from vendors.thought(said.get("thinking"), seal, notes)
        case "redacted_thinking":
            notes.note(vendors.SEALED)
        case "tool_use":
            given = vendors.tool_input(said.get("input"), notes)
            yield from vendors.tool_use(said.get("id"), said.get("name"), given, notes)
        case "tool_result":
            content = vendors.parts(said.get("content"), _piece, notes)
            failed = said.get("is_error") is True
            yield from vendors.tool_result(said.get("tool_use_id"), content, notes, failed=failed)
        case _:
            yield from _piece(said, notes)


def _piece(said: JsonObject, notes: Notes) -> Iterator[Shown]:
    match said.get("type"):
        case "text":
            yield from vendors.text(said.get("text"), notes)
        case "image":
            yield from _image(wire.fields(said.get("source")), notes)
        case "document":
            yield from _document(said, wire.fields(said.get("source")), notes)
        case kind:
            notes.unknown("a block", kind)


def _image(source: JsonObject, notes: Notes) -> Iterator[Shown]:
    if source.get("type") == "base64" or "data" in source:
        yield from media.image(source.get("media_type"), source.get("data"), notes)
    else:
        yield from media.elsewhere("image", source.get("url") or source.get("file_id"), notes)


def _document(said: JsonObject, source: JsonObject, notes: Notes) -> Iterator[Shown]:
    title = wire.string(said.get("title"))
    match source.get("type"):
        case "base64":
            yield from media.document(source.get("media_type"), source.get("data"), title, notes)
        case "text":
            yield from media.text_document(source.get("data"), title, notes)
        case "content":
            content = vendors.parts(source.get("content"), _piece, notes)
            texts = [piece.text for piece in content if isinstance(piece, TextBlock)]
            yield from media.text_document("\n\n".join(texts), title, notes)
        case _:
            yield from media.elsewhere("document", source.get("url") or source.get("file_id"), notes)
