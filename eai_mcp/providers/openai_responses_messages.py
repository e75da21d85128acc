"""Our messages as the input items of Responses."""

import hashlib
from collections.abc import Iterator
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

PROVIDER = "openai_responses"

LONGEST_CALL_ID = 64
"""Characters. OpenAI refuses longer ones; other providers make them."""


def wire_input(request: ModelRequest, model: Model) -> list[JsonValue]:
    """All messages as items, in order; an assistant's message may be several."""
    items: list[JsonValue] = []
    for message in request.messages:
        items += _of_user(message) if message.role == "user" else _of_assistant(message, model.model)
    return items


def _of_user(message: Message) -> Iterator[JsonObject]:
    parts: list[JsonValue] = []
    for block in message.content:
        match block:
            case ToolResultBlock():
                yield _result(block)
            case TextBlock() | ImageBlock() | DocumentBlock():
                parts.append(_part(block))
            case ThinkingBlock() | ToolUseBlock():
                pass  # nothing a user can say
            case _:
                assert_never(block)
    only_text = all(isinstance(block, TextBlock | ToolResultBlock) for block in message.content)
    if parts:
        yield {"role": "user", "content": message.text if only_text else parts}


def _of_assistant(message: Message, model: str) -> Iterator[JsonObject]:
    state = message.state
    if state is not None and not message.partial and (state.provider, state.model) == (PROVIDER, model):
        yield from filter(None, map(_kept, wire.items(state.data)))
        return
    for block in message.content:
        match block:
            case TextBlock(text=text):
                yield from _said(text)
            case ImageBlock() | DocumentBlock():
                yield from _said(f"[{block.type}]")
            case ToolUseBlock():
                use: JsonObject = {"type": "function_call", "call_id": _call_id(block.id), "name": block.name}
                yield {**use, "arguments": wire.written(block.input)}
            case ThinkingBlock() | ToolResultBlock():
                pass  # a thought that its own model cannot unseal, or nothing that an assistant can say
            case _:
                assert_never(block)


def _kept(value: JsonValue) -> JsonObject:
    """An item as it came, save that its id is made like that of its result."""
    item = wire.fields(value)
    own = item.get("call_id")
    return {**item, "call_id": _call_id(own)} if isinstance(own, str) else item


def _said(text: str) -> Iterator[JsonObject]:
    if text:
        part: JsonObject = {"type": "output_text", "text": text, "annotations": []}
        yield {"type": "message", "role": "assistant", "content": [part]}


def _result(block: ToolResultBlock) -> JsonObject:
    said = [piece.text for piece in block.content if isinstance(piece, TextBlock)]
    output: JsonValue
    if len(said) == len(block.content):
        text = "\n\n".join(said)
        output = f"Error: {text}" if block.failed else text
    else:
        parts: list[JsonValue] = [_part(piece) for piece in block.content]
        output = [_text("Error:"), *parts] if block.failed else parts
    return {"type": "function_call_output", "call_id": _call_id(block.tool_use_id), "output": output}


def _part(block: TextBlock | ImageBlock | DocumentBlock) -> JsonObject:
    match block:
        case TextBlock(text=text):
            return _text(text)
        case ImageBlock():
            # The detail is what happens anyway, but some servers insist on hearing it.
            return {"type": "input_image", "image_url": _data_url(block), "detail": "auto"}
        case DocumentBlock():
            return {"type": "input_file", "filename": block.name, "file_data": _data_url(block)}
        case _:
            assert_never(block)


def _text(text: str) -> JsonObject:
    return {"type": "input_text", "text": text}


def _data_url(block: ImageBlock | DocumentBlock) -> str:
    return f"data:{block.media_type};base64,{block.data}"


def _call_id(own: str) -> str:
    """The same id for a call and its result, in a form that the endpoint takes."""
    if 0 < len(own) <= LONGEST_CALL_ID:
        return own
    return hashlib.sha256(own.encode("utf-8", "replace")).hexdigest()[:LONGEST_CALL_ID]
