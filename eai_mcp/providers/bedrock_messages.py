"""Our messages as those of Converse.

It wants more of a conversation than others do: it begins with the user, the roles take turns, no text is
blank, a document has a name that no other has and stands beside some text.
"""

import copy
import hashlib
import re
from collections.abc import Iterator
from typing import assert_never

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.calls import ModelRequest
from eai_mcp.messages import (
    Block,
    DocumentBlock,
    ImageBlock,
    JsonObject,
    Message,
    ProviderState,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

PROVIDER = "bedrock"

CACHE_POINT: JsonObject = {"cachePoint": {"type": "default"}}

START = "(The conversation begins.)"
NO_OUTPUT = "(no output)"
ABOUT_DOCUMENT = "(The document is attached.)"

LONGEST_NAME = 64
LONGEST_DOCUMENT_NAME = 190
"""Characters. The limit is 200; the rest is for a number."""

_FORMATS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/json": "txt",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
}


class Transcript:
    """The messages of a request on the wire.

    `tools` are the names of the tools that were used, in the order of their first use. A message's own form
    goes back where `reasoning_back` and it came from the wire model `model`.
    """

    def __init__(self, request: ModelRequest, *, model: str, reasoning_back: bool) -> None:
        self._model = model
        self._reasoning_back = reasoning_back
        self._turns: list[tuple[Role, list[JsonObject]]] = []
        self._documents: set[str] = set()
        self._tools: dict[str, None] = {}
        self.has_tool_blocks = False
        for message in request.messages:
            self._add(message.role, [*self._blocks(message)])
        if not self._turns:
            self._add("user", [_text(START)])

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def messages(self, *, marked: bool) -> list[JsonValue]:
        """All of them; `marked` asks to cache everything up to the last of the user."""
        written = [_written(role, content) for role, content in self._turns]
        if marked:
            last = next(message for message in reversed(written) if message["role"] == "user")
            last["content"] = [*wire.items(last["content"]), CACHE_POINT]
        return [*written]

    def _add(self, role: Role, content: list[JsonObject]) -> None:
        if not content:
            return
        if not self._turns and role == "assistant":
            self._turns.append(("user", [_text(START)]))
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(content)
        else:
            self._turns.append((role, content))

    def _blocks(self, message: Message) -> Iterator[JsonObject]:
        if message.role == "assistant":
            yield from self._said_before(message)
            return
        for block in message.content:
            match block:
                case ToolResultBlock():
                    yield self._result(block)
                case TextBlock() | ImageBlock() | DocumentBlock():
                    yield from self._shown(block)
                case ThinkingBlock() | ToolUseBlock():
                    pass  # nothing a user can say
                case _:
                    assert_never(block)

    def _said_before(self, message: Message) -> list[JsonObject]:
        own = self._own(message.state, message.content)
        content = [*(self._neutral(message.content) if own is None else own)]
        # Thinking may not be the end of a message, nor all of it.
        return content if any("reasoningContent" not in block for block in content) else []

    def _own(self, state: ProviderState | None, content: tuple[Block, ...]) -> list[JsonObject] | None:
        """The message as it came, if this model said it, and the same tools were asked for since."""
        if state is None or not self._reasoning_back:
            return None
        if (state.provider, state.model) != (PROVIDER, self._model):
            return None
        blocks = [wire.fields(block) for block in copy.deepcopy(wire.items(state.data))]
        uses = [wire.fields(block["toolUse"]) for block in blocks if "toolUse" in block]
        if [use.get("toolUseId") for use in uses] != [b.id for b in content if isinstance(b, ToolUseBlock)]:
            return None
        for use in uses:
            use["toolUseId"] = tool_id(wire.string(use.get("toolUseId")))
            self._used(wire.string(use.get("name")))
        return [block for block in blocks if block and wire.string(block.get("text", "x")).strip()]

    def _neutral(self, content: tuple[Block, ...]) -> Iterator[JsonObject]:
        for block in content:
            match block:
                case TextBlock(text=text):
                    if text.strip():
                        yield _text(text)
                case ToolUseBlock():
                    own = self._used(block.name)
                    yield {
                        "toolUse": {"toolUseId": tool_id(block.id), "name": own, "input": block.input},
                    }
                case ImageBlock() | DocumentBlock():
                    yield _text(f"[{block.type}]")  # which only a user may show
                case ThinkingBlock() | ToolResultBlock():
                    pass
                case _:
                    assert_never(block)

    def _used(self, name: str) -> str:
        """The name as it is taken: a model may have made one up that the request could not hold."""
        taken = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:LONGEST_NAME] or "_"
        self._tools.setdefault(taken)
        self.has_tool_blocks = True
        return taken

    def _result(self, block: ToolResultBlock) -> JsonObject:
        self.has_tool_blocks = True
        content = [piece for part in block.content for piece in self._shown(part)]
        result: JsonObject = {"toolUseId": tool_id(block.tool_use_id)}
        result["content"] = [*content] or [_text(NO_OUTPUT)]
        if block.failed:
            result["status"] = "error"
        return {"toolResult": result}

    def _shown(self, block: TextBlock | ImageBlock | DocumentBlock) -> Iterator[JsonObject]:
        match block:
            case TextBlock(text=text):
                if text.strip():
                    yield _text(text)
            case ImageBlock():
                subtype = _media_type(block).rpartition("/")[2]
                image: JsonObject = {"format": "jpeg" if subtype == "jpg" else subtype}
                yield {"image": {**image, "source": {"bytes": block.data}}}
            case DocumentBlock():
                document: JsonObject = {"format": _document_format(block), "name": self._named(block.name)}
                yield {"document": {**document, "source": {"bytes": block.data}}}
            case _:
                assert_never(block)

    def _named(self, name: str) -> str:
        """A name for a document in the characters that are taken, and unlike that of any other."""
        plain = re.sub(r"[^A-Za-z0-9\s()\[\]-]+", "-", name)
        plain = re.sub(r"\s+", " ", plain)[:LONGEST_DOCUMENT_NAME].strip(" -") or "document"
        unique, number = plain, 1
        while unique in self._documents:
            number += 1
            unique = f"{plain} {number}"
        self._documents.add(unique)
        return unique


def tool_id(own: str) -> str:
    """The same id for a call and its result, in a form that is taken."""
    if re.fullmatch(r"[a-zA-Z0-9_.:-]{1,64}", own):
        return own
    return hashlib.sha256(own.encode("utf-8", "replace")).hexdigest()


def _written(role: Role, content: list[JsonObject]) -> JsonObject:
    if role == "user":
        # Results first, or some models take them for missing.
        content = sorted(content, key=lambda block: "toolResult" not in block)
        if any("document" in block for block in content) and not any("text" in block for block in content):
            content.append(_text(ABOUT_DOCUMENT))
    return {"role": role, "content": [*content]}


def _text(text: str) -> JsonObject:
    return {"text": text}


def _media_type(block: ImageBlock | DocumentBlock) -> str:
    return block.media_type.partition(";")[0].strip().lower()


def _document_format(block: DocumentBlock) -> str:
    """One of the names in use; what is unknown goes as it is, for the service to judge."""
    media = _media_type(block)
    return _FORMATS.get(media) or ("txt" if media.startswith("text/") else media.rpartition("/")[2])
