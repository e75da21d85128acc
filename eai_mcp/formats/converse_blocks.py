"""Blocks of Converse as ours: each is an object with its kind for a key."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import media, vendors
from eai_mcp.formats.vendors import Notes, Shown
from eai_mcp.messages import Block, JsonObject, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock

FORMATS: Mapping[str, str] = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
    "application/json": "txt",
}
"""What Converse calls a document of a media type."""

_MEDIA_TYPES = {known: media_type for media_type, known in reversed([*FORMATS.items()])}


def block(said: JsonObject, notes: Notes) -> Iterator[Block]:
    """Our block for one of Converse, or of Eai.

    Raises:
        ImportInvalid: A tool's input is nested too deep.
    """
    known = [kind for kind in said if kind in _BLOCKS]
    if "toolUseId" in said:
        yield from _tool_use(said, notes)
    elif not known:
        notes.unknown("a block", next(iter(said), None))
    for kind in known:
        yield from _BLOCKS[kind](said[kind], notes)


def _piece(said: JsonObject, notes: Notes) -> Iterator[Shown]:
    """Our block for one of a tool result."""
    known = [kind for kind in said if kind in _SHOWN]
    if not known:
        notes.unknown("a block", next(iter(said), None))
    yield from chain.from_iterable(_SHOWN[kind](said[kind], notes) for kind in known)


def _image(value: JsonValue, notes: Notes) -> Iterator[Shown]:
    image = wire.fields(value)
    source = wire.fields(image.get("source"))
    if "bytes" in source:
        kind = wire.string(image.get("format")).lower()
        yield from media.image(media.essence(f"image/{kind}"), source["bytes"], notes)
    else:
        yield from media.elsewhere("image", _address(source), notes)


def _document(value: JsonValue, notes: Notes) -> Iterator[Shown]:
    document = wire.fields(value)
    name, source = document.get("name"), wire.fields(document.get("source"))
    kind = wire.string(document.get("format")).lower()
    if "bytes" in source:
        media_type = _MEDIA_TYPES.get(kind, f"application/{kind or 'octet-stream'}")
        yield from media.document(media_type, source["bytes"], name, notes)
    elif "text" in source or "content" in source:
        media_type = _MEDIA_TYPES.get(kind, "text/plain")
        words = source.get("text") or _words(source.get("content"))
        yield from media.text_document(words, name, notes, media_type=media_type)
    else:
        yield from media.elsewhere("document", _address(source), notes)


def _json(value: JsonValue, notes: Notes) -> Iterator[TextBlock]:
    if wire.is_deep(value):
        raise ImportInvalid(f"message {notes.place} has a tool's result nested too deep; send it as a text")
    notes.note("a tool's JSON was taken as text")
    yield from vendors.text(wire.written(value), notes)


def _tool_use(value: JsonValue, notes: Notes) -> Iterator[ToolUseBlock]:
    use = wire.fields(value)
    given = vendors.tool_input(use.get("input"), notes)
    yield from vendors.tool_use(use.get("toolUseId"), use.get("name"), given, notes)


def _tool_result(value: JsonValue, notes: Notes) -> Iterator[ToolResultBlock]:
    result = wire.fields(value)
    content = vendors.parts(result.get("content"), _piece, notes)
    failed = result.get("status") == "error"
    yield from vendors.tool_result(result.get("toolUseId"), content, notes, failed=failed)


def _thinking(value: JsonValue, notes: Notes) -> Iterator[ThinkingBlock]:
    yield from vendors.thought(value, None, notes)


def _reasoning(value: JsonValue, notes: Notes) -> Iterator[ThinkingBlock]:
    reasoning = wire.fields(value)
    if "redactedContent" in reasoning:
        notes.note(vendors.SEALED)
        return
    said = wire.fields(reasoning.get("reasoningText"))
    yield from vendors.thought(said.get("text"), said.get("signature"), notes)


def _cited(value: JsonValue, notes: Notes) -> Iterator[TextBlock]:
    notes.note("citations were left out")
    yield from vendors.text(_words(wire.fields(value).get("content")), notes)


def _guarded(value: JsonValue, notes: Notes) -> Iterator[TextBlock]:
    yield from vendors.text(wire.fields(wire.fields(value).get("text")).get("text"), notes)


def _words(pieces: JsonValue) -> str:
    return "".join(wire.string(wire.fields(piece).get("text")) for piece in wire.items(pieces))


def _address(source: JsonObject) -> JsonValue:
    return wire.fields(source.get("s3Location")).get("uri")


_SHOWN: Mapping[str, Callable[[JsonValue, Notes], Iterator[Shown]]] = {
    "text": vendors.text,
    "image": _image,
    "document": _document,
    "json": _json,
}
_BLOCKS: Mapping[str, Callable[[JsonValue, Notes], Iterator[Block]]] = {
    "text": vendors.text,
    "image": _image,
    "document": _document,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
    "reasoningContent": _reasoning,
    "thinking": _thinking,
    "citationsContent": _cited,
    "guardContent": _guarded,
}
