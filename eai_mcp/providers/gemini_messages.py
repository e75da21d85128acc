"""Our messages as Gemini's contents.

The results of tools follow their calls, all together and alone. A model's own parts go back as they came,
each with its signature, if it had one.
"""

from itertools import groupby
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
from eai_mcp.providers.gemini_content import called
from eai_mcp.providers.gemini_quirks import Quirks

PROVIDER = "gemini"

FOREIGN = "skip_thought_signature_validator"
"""Stands for the signature of a call that another model made: without one the call would be refused.
Source: Gemini API, "Thought signatures"."""


def wire_contents(request: ModelRequest, model: Model, quirks: Quirks) -> list[JsonValue]:
    """All messages, in order."""
    return _Transcript(model.model, quirks).of(request.messages)


class _Transcript:
    """Contents as they are put together; `_ids` and `_names` are those of the calls so far, by our ids.

    A result has the id that its call has on the wire, which may be none.
    """

    def __init__(self, model: str, quirks: Quirks) -> None:
        self._model = model
        self._quirks = quirks
        self._ids: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def of(self, messages: tuple[Message, ...]) -> list[JsonValue]:
        contents: list[JsonValue] = []
        for role, neighbours in groupby(messages, key=lambda message: message.role):
            if role == "assistant":
                _add(contents, "model", [part for each in neighbours for part in self._of_model(each)])
                continue
            parts = [part for each in neighbours for part in self._of_user(each)]
            _add(contents, "user", [part for part in parts if "functionResponse" in part])
            _add(contents, "user", [part for part in parts if "functionResponse" not in part])
        return contents

    def _of_user(self, message: Message) -> list[JsonObject]:
        parts: list[JsonObject] = []
        for block in message.content:
            match block:
                case ToolResultBlock():
                    parts += self._result(block)
                case TextBlock(text=text):
                    parts += _text(text)
                case ImageBlock() | DocumentBlock():
                    parts.append(_media(block))
                case ThinkingBlock() | ToolUseBlock():
                    pass  # nothing a user can say
                case _:
                    assert_never(block)
        return parts

    def _result(self, block: ToolResultBlock) -> list[JsonObject]:
        """The result as a part, and behind it what it cannot hold."""
        name = self._names.get(block.tool_use_id, "unknown")
        said = [piece.text for piece in block.content if isinstance(piece, TextBlock)]
        media = [piece for piece in block.content if not isinstance(piece, TextBlock)]
        result: JsonObject = {"name": name}
        if own := self._ids.get(block.tool_use_id, block.tool_use_id):
            result["id"] = own
        after: list[JsonObject] = []
        if media and self._quirks.media_in_results:
            result["parts"] = [_media(piece) for piece in media]
        else:
            said += [f"[{piece.type}: below]" for piece in media]
            after = [
                part for piece in media for part in (*_text(f"[{piece.type} from {name}]"), _media(piece))
            ]
        result["response"] = {"error" if block.failed else "output": "\n\n".join(said)}
        return [{"functionResponse": result}, *after]

    def _of_model(self, message: Message) -> list[JsonObject]:
        uses = [block for block in message.content if isinstance(block, ToolUseBlock)]
        if kept := self._kept(message, uses):
            return kept
        parts: list[JsonObject] = []
        for block in message.content:
            match block:
                case TextBlock(text=text):
                    parts += _text(text)
                case ImageBlock() | DocumentBlock():
                    parts += _text(f"[{block.type}]")
                case ToolUseBlock():
                    parts.append(self._call(block, is_first=block is uses[0]))
                case ThinkingBlock():
                    pass  # without its own model's signature it is nobody's thought
                case ToolResultBlock():
                    pass  # nothing a model can say
                case _:
                    assert_never(block)
        return parts

    def _call(self, use: ToolUseBlock, *, is_first: bool) -> JsonObject:
        self._ids[use.id], self._names[use.id] = use.id, use.name
        call: JsonObject = {"id": use.id, "name": use.name, "args": use.input}
        # Models that think in levels insist on a signature, in parallel calls on the first.
        is_signed = is_first and self._quirks.thinking == "level"
        return {"functionCall": call, **({"thoughtSignature": FOREIGN} if is_signed else {})}

    def _kept(self, message: Message, uses: list[ToolUseBlock]) -> list[JsonObject]:
        """The parts as they came; none for a message of another model, or a partial one."""
        state = message.state
        if state is None or message.partial or (state.provider, state.model) != (PROVIDER, self._model):
            return []
        parts = [part for part in map(wire.fields, wire.items(state.data)) if part]
        calls = [wire.fields(part["functionCall"]) for part in parts if called(part)]
        if len(calls) != len(uses):
            return []  # not what this adapter kept
        for use, call in zip(uses, calls, strict=True):
            self._ids[use.id], self._names[use.id] = wire.string(call.get("id")), use.name
        return parts


def _add(contents: list[JsonValue], role: str, parts: list[JsonObject]) -> None:
    if parts:
        contents.append({"role": role, "parts": [*parts]})


def _text(text: str) -> list[JsonObject]:
    """The text as a part; none for an empty one, which is refused."""
    return [{"text": text}] if text else []


def _media(block: ImageBlock | DocumentBlock) -> JsonObject:
    return {"inlineData": {"mimeType": block.media_type, "data": block.data}}
