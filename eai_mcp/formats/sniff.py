"""Which format a message is in, told by what only that one has."""

from typing import Literal, TypeAlias

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.messages import JsonObject

Shape: TypeAlias = Literal["jsonl", "converse", "openai", "openai-responses", "anthropic"]

TOOL_USE = "tool_use"

_REPLY = ("stop_reason", "stop_sequence")
_OWN = ("at", "turn_id", "seq", "partial", "state")
_CHAT = ("tool_calls", "tool_call_id", "function_call", "reasoning_content", "refusal", "audio")
_CONVERSE = (
    "text",
    "image",
    "document",
    "video",
    "toolUse",
    "toolUseId",
    "toolResult",
    "reasoningContent",
    "thinking",
    "cachePoint",
    "guardContent",
)
_PARTS: dict[str, Shape] = {
    "image_url": "openai",
    "input_audio": "openai",
    "file": "openai",
    "input_text": "openai-responses",
    "input_image": "openai-responses",
    "input_file": "openai-responses",
    "output_text": "openai-responses",
}


def shape(element: JsonObject) -> Shape | None:
    """The format of a message or item; None where it could be any."""
    content = element.get("content")
    if any(name in element for name in _OWN) and isinstance(content, list):
        return "jsonl"
    if element.get("role") == "tool" or any(name in element for name in _CHAT):
        return "openai"
    for block in wire.items(content):
        found = _of_block(wire.fields(block))
        if found is not None:
            return found
    if any(name in element for name in _REPLY) or (uses_tools(element) and "type" in element):
        return "anthropic"
    is_item = isinstance(element.get("type"), str) and element["type"] != "text"
    return "openai-responses" if is_item else None


def uses_tools(element: JsonObject) -> bool:
    """Whether it asks for a tool in the words that Anthropic and we share."""
    return any(wire.fields(block).get("type") == TOOL_USE for block in wire.items(element.get("content")))


def _of_block(block: JsonObject) -> Shape | None:
    kind = block.get("type")
    if kind is None:
        return "converse" if any(name in block for name in _CONVERSE) else None
    if not isinstance(kind, str) or kind in ("text", TOOL_USE):
        return None
    if kind in _PARTS:
        return _PARTS[kind]
    return "jsonl" if _is_own(kind, block) else "anthropic"


def _is_own(kind: str, block: JsonObject) -> bool:
    own: dict[str, JsonValue] = {
        "thinking": block.get("text"),
        "image": block.get("data"),
        "document": block.get("data"),
        "tool_result": block.get("failed"),
    }
    return own.get(kind) is not None
