"""Our messages as those of Anthropic Messages.

Neighbours of one role are one message, whose tool results come first. Blocks without a word are left out,
since the endpoint refuses them, in an assistant's message as much as in a user's.
"""

import base64
import hashlib
import re
from typing import assert_never

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.calls import ModelRequest
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    JsonObject,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

PROVIDER = "anthropic"

THOUGHTS = ("thinking", "redacted_thinking")
_MARKABLE = ("text", "image", "document", "tool_use", "tool_result")


def wire_messages(request: ModelRequest, model: Model, *, marked: bool) -> list[JsonValue]:
    """All messages, in order; the end of the last one is `marked` for the cache."""
    roles: list[str] = []
    contents: list[list[JsonObject]] = []
    for message in request.messages:
        blocks = _of_user(message) if message.role == "user" else _of_assistant(message, model.model)
        if not blocks:
            continue
        if roles[-1:] == [message.role]:
            contents[-1] += blocks
        else:
            roles.append(message.role)
            contents.append(blocks)
    for content in contents:
        content.sort(key=_rank)
    if marked and contents:
        _mark(contents[-1])
    return [{"role": role, "content": [*content]} for role, content in zip(roles, contents, strict=True)]


def wire_system(text: str | None, *, marked: bool) -> JsonValue:
    """The system text, None if there is none."""
    if not text or text.isspace():
        return None
    if not marked:
        return text
    content = [_text(text)]
    _mark(content)
    return [*content]


def lacks_thought(messages: list[JsonValue]) -> bool:
    """Whether the model is to go on with what began without a thought, as another model may have begun it."""
    first: list[JsonValue] = []
    for message in map(wire.fields, reversed(messages)):
        kinds = [wire.fields(block).get("type") for block in wire.items(message.get("content"))]
        if message.get("role") == "assistant":
            first = kinds[:1]
        elif "tool_result" not in kinds:
            break
    return any(kind not in THOUGHTS for kind in first)


def _rank(block: JsonObject) -> int:
    return 0 if block.get("type") == "tool_result" else 1


def _mark(content: list[JsonObject]) -> None:
    """Mark the last block that can bear it; a copy of it, because blocks may be somebody's state."""
    for index, block in reversed([*enumerate(content)]):
        if block.get("type") in _MARKABLE:
            content[index] = {**block, "cache_control": {"type": "ephemeral"}}
            return


def _of_user(message: Message) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    for block in message.content:
        match block:
            case ToolResultBlock():
                blocks.append(_tool_result(block))
            case TextBlock() | ImageBlock() | DocumentBlock():
                blocks += _said(block)
            case ThinkingBlock() | ToolUseBlock():
                pass  # nothing a user can say
            case _:
                assert_never(block)
    return blocks


def _of_assistant(message: Message, model: str) -> list[JsonObject]:
    state = message.state
    if state is not None and not message.partial and (state.provider, state.model) == (PROVIDER, model):
        return _kept(state.data)
    blocks: list[JsonObject] = []
    for block in message.content:
        match block:
            case TextBlock():
                blocks += _said(block)
            case ImageBlock() | DocumentBlock():
                blocks.append(_text(f"[{block.type}]"))
            case ToolUseBlock():
                use: JsonObject = {"type": "tool_use", "id": _tool_id(block.id), "name": block.name}
                blocks.append({**use, "input": block.input})
            case ThinkingBlock():
                pass  # without its own model's seal it is nobody's thought
            case ToolResultBlock():
                pass  # nothing an assistant can say
            case _:
                assert_never(block)
    return blocks


def _kept(data: JsonValue) -> list[JsonObject]:
    """The blocks as they came, save what the endpoint sends and yet does not take.

    A reply that was cut off while it thought ends in a thought, which no message may.
    """
    blocks = [
        _paired(block) for block in map(wire.fields, wire.items(data)) if block and not _is_blank(block)
    ]
    while blocks and blocks[-1].get("type") in THOUGHTS:
        blocks.pop()
    return blocks


def _paired(block: JsonObject) -> JsonObject:
    """A call's id is made like that of its result: other servers of this format make odd ones too."""
    own = block.get("id")
    if block.get("type") != "tool_use" or not isinstance(own, str):
        return block
    return {**block, "id": _tool_id(own)}


def _is_blank(block: JsonObject) -> bool:
    return block.get("type") == "text" and not wire.string(block.get("text")).strip()


def _said(block: TextBlock | ImageBlock | DocumentBlock) -> list[JsonObject]:
    """The block on the wire; nothing for one without a word."""
    match block:
        case TextBlock(text=text):
            return [_text(text)] if text.strip() else []
        case ImageBlock():
            return [{"type": "image", "source": _base64(block)}]
        case DocumentBlock():
            title: JsonObject = {"title": block.name} if block.name.strip() else {}
            return [{"type": "document", "source": _as_text(block) or _base64(block), **title}]
        case _:
            assert_never(block)


def _as_text(block: DocumentBlock) -> JsonObject | None:
    """The source of a plain text; None for other documents, which go as they are."""
    if not block.media_type.startswith("text/"):
        return None
    try:
        words = base64.b64decode(block.data).decode("utf-8-sig", "replace")
    except ValueError:
        return None
    return {"type": "text", "media_type": "text/plain", "data": words}


def _base64(block: ImageBlock | DocumentBlock) -> JsonObject:
    return {"type": "base64", "media_type": block.media_type, "data": block.data}


def _tool_result(block: ToolResultBlock) -> JsonObject:
    content: list[JsonValue] = [said for piece in block.content for said in _said(piece)]
    if block.failed and not content:
        content = [_text("The tool failed and said nothing.")]  # an error must not be empty
    result: JsonObject = {"type": "tool_result", "tool_use_id": _tool_id(block.tool_use_id)}
    if content:
        result["content"] = content
    return {**result, "is_error": True} if block.failed else result


def _tool_id(own: str) -> str:
    """The same id for a call and its result; other providers make some that this one refuses."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", own):
        return own
    return "toolu_" + hashlib.sha256(own.encode("utf-8", "replace")).hexdigest()[:24]


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}
