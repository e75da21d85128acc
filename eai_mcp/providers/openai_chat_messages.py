"""Our messages as those of Chat Completions."""

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
from eai_mcp.providers.openai_chat_quirks import Quirks

PROVIDER = "openai_chat"

LONGEST_TOOL_ID = 40
"""Characters. OpenAI refuses longer ones; other providers make them."""


def wire_messages(request: ModelRequest, model: Model, quirks: Quirks) -> list[JsonValue]:
    """The system text and all messages, in order."""
    return _Transcript(model.model, quirks).of(request)


class _Transcript:
    """Wire messages as they are put together.

    A tool message holds text alone and must stand right behind its call. So pictures and files out of tool
    results are held back, for a user message after the last result.
    """

    def __init__(self, model: str, quirks: Quirks) -> None:
        self._model = model
        self._quirks = quirks
        self._messages: list[JsonValue] = []
        self._held: list[JsonValue] = []
        self._tools: dict[str, str] = {}

    def of(self, request: ModelRequest) -> list[JsonValue]:
        if request.system:
            self._messages.append({"role": "system", "content": request.system})
        for message in request.messages:
            if message.role == "user":
                self._add_user(message)
            else:
                self._add_assistant(message)
        self._release([])
        return self._messages

    def _add_user(self, message: Message) -> None:
        parts: list[JsonValue] = []
        for block in message.content:
            match block:
                case ToolResultBlock():
                    self._add_result(block)
                case TextBlock(text=text):
                    parts.append(_text(text))
                case ImageBlock() | DocumentBlock():
                    parts.append(_media(block))
                case ThinkingBlock() | ToolUseBlock():
                    pass  # nothing a user can say
                case _:
                    assert_never(block)
        only_text = all(isinstance(block, TextBlock | ToolResultBlock) for block in message.content)
        if parts and only_text and not self._held:
            # Not a list of parts: some servers can read nothing but a string.
            self._messages.append({"role": "user", "content": message.text})
        elif parts:
            self._release(parts)

    def _add_result(self, block: ToolResultBlock) -> None:
        name = self._tools.get(block.tool_use_id, "the tool")
        said = [piece.text for piece in block.content if isinstance(piece, TextBlock)]
        for piece in block.content:
            if not isinstance(piece, TextBlock):
                said.append(f"[{piece.type}: in the next message]")
                self._held += [_text(f"[{piece.type} from {name}]"), _media(piece)]
        text = "\n\n".join(said)
        result: JsonObject = {"role": "tool", "tool_call_id": self._tool_id(block.tool_use_id)}
        if self._quirks.mistral_tools:
            result["name"] = name
        result["content"] = f"Error: {text}" if block.failed else text
        self._messages.append(result)

    def _add_assistant(self, message: Message) -> None:
        self._release([])
        uses = [block for block in message.content if isinstance(block, ToolUseBlock)]
        shown = [block for block in message.content if isinstance(block, ImageBlock | DocumentBlock)]
        text = "\n\n".join(filter(None, (message.text, *(f"[{block.type}]" for block in shown))))
        if not text and not uses:
            return  # several servers refuse an assistant's message with nothing in it
        said: JsonObject = {"role": "assistant", "content": text or None}
        said |= self._reasoning(message, with_tools=bool(uses))
        if uses:
            said["tool_calls"] = [self._tool_call(use) for use in uses]
        self._messages.append(said)

    def _reasoning(self, message: Message, *, with_tools: bool) -> JsonObject:
        name = self._quirks.reasoning_back
        if name is None:
            return {}
        state = message.state
        is_own = state is not None and state.provider == PROVIDER and state.model == self._model
        kept = wire.fields(state.data).get(name) if state is not None and is_own else None
        if name == "reasoning_details":
            return {name: kept} if kept else {}
        # DeepSeek refuses a tool call without it, even where there was none; elsewhere it is ignored.
        return {name: kept or ""} if with_tools else {}

    def _tool_call(self, use: ToolUseBlock) -> JsonObject:
        self._tools[use.id] = use.name
        function: JsonObject = {"name": use.name, "arguments": wire.written(use.input)}
        return {"id": self._tool_id(use.id), "type": "function", "function": function}

    def _tool_id(self, own: str) -> str:
        """The same id for a call and its result, in a form that the endpoint takes."""
        if self._quirks.mistral_tools:
            return own if re.fullmatch(r"[A-Za-z0-9]{9}", own) else _digest(own)[:9]
        return own if len(own) <= LONGEST_TOOL_ID else _digest(own)[:LONGEST_TOOL_ID]

    def _release(self, parts: list[JsonValue]) -> None:
        content = [*self._held, *parts]
        self._held = []
        if content:
            self._messages.append({"role": "user", "content": content})


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _media(block: ImageBlock | DocumentBlock) -> JsonObject:
    url = f"data:{block.media_type};base64,{block.data}"
    if isinstance(block, ImageBlock):
        image: JsonObject = {"url": url}
        return {"type": "image_url", "image_url": image}
    file: JsonObject = {"filename": block.name, "file_data": url}
    return {"type": "file", "file": file}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
