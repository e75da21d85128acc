"""The output of a finished reply: as our blocks, and as the provider's items to be sent back."""

import secrets
from collections.abc import Iterable

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.messages import Block, JsonObject, TextBlock, ThinkingBlock, ToolUseBlock
from eai_mcp.wire import INVALID_JSON


class Output:
    """The items of a reply, each beside our block for it, if there is one.

    `declined` where the model says that it will not.
    """

    def __init__(self, items: Iterable[JsonValue]) -> None:
        self.declined = False
        self._pairs: list[tuple[JsonObject, Block | None]] = []
        self._ids: set[str] = set()
        for item in items:
            self._take(wire.fields(item))

    @property
    def text(self) -> str:
        """All words, as they would be heard."""
        return "".join(block.text for block in self.blocks() if isinstance(block, TextBlock))

    @property
    def thinking(self) -> str:
        """All reasoning, as it would be heard."""
        return "".join(block.text for block in self.blocks() if isinstance(block, ThinkingBlock))

    @property
    def tools(self) -> list[str]:
        """The names of the tools that were asked for."""
        return [block.name for block in self.blocks() if isinstance(block, ToolUseBlock)]

    def blocks(self) -> tuple[Block, ...]:
        """Our blocks, in order."""
        return tuple(block for _, block in self._pairs if block is not None)

    def without_tools(self) -> "Output":
        """The same without tool calls, and without the thoughts that led to them."""
        kept: list[JsonValue] = []
        for item, _ in self._pairs:
            if item.get("type") == "function_call":
                _drop_last_thoughts(kept)
            else:
                kept.append(item)
        return Output(kept)

    def state(self) -> JsonValue:
        """The items that say the same again; None where our blocks do.

        A thought must stand right before what followed from it, and both come from the same reply. One that
        is not here in full cannot be sent back; then what followed goes without its id, which would bind it.
        """
        kept: list[JsonValue] = [item for item, _ in self._pairs]
        _drop_last_thoughts(kept)
        if not all(_is_whole(wire.fields(item)) for item in kept):
            kept = [_unbound(wire.fields(item)) for item in kept if not _is_thought(item)]
        if not any(_is_more(wire.fields(item)) for item in kept) or wire.is_deep(kept):
            return None
        # To JSON and back, because what was sent may hold what cannot be written: half a character, say.
        return wire.parsed(wire.written(kept))

    def _take(self, item: JsonObject) -> None:
        match item.get("type"):
            case "message":
                text = self._said(item)
                self._pairs.append((item, TextBlock(text) if text else None))
            case "reasoning":
                thought = _thought(item)
                self._pairs.append((item, ThinkingBlock(thought) if thought else None))
            case "function_call":
                if name := wire.mended(wire.string(item.get("name"))):
                    self._take_call(item, name)
            case str():
                self._pairs.append((item, None))
            case _:
                pass  # no item at all

    def _take_call(self, item: JsonObject, name: str) -> None:
        own = wire.mended(wire.string(item.get("call_id")) or wire.string(item.get("id")))
        unique = own if own and own not in self._ids else f"call_{secrets.token_hex(8)}"
        self._ids.add(unique)
        said = item.get("arguments")
        arguments = (
            wire.string(said) if not isinstance(said, dict) or wire.is_deep(said) else wire.written(said)
        )
        sent: JsonObject = {**item, "call_id": unique, "name": name, "arguments": arguments}
        self._pairs.append((sent, ToolUseBlock(unique, name, _input(arguments))))

    def _said(self, item: JsonObject) -> str:
        words = wire.string(item.get("content"))
        for part in map(wire.fields, wire.items(item.get("content"))):
            refusal = wire.string(part.get("refusal"))
            self.declined = self.declined or bool(refusal)
            words += refusal or wire.string(part.get("text"))
        return wire.mended(words)


def _thought(item: JsonObject) -> str:
    for parts in (item.get("summary"), item.get("content")):
        texts = [wire.string(wire.fields(part).get("text")) for part in wire.items(parts)]
        if any(texts):
            return wire.mended("\n\n".join(filter(None, texts)))
    return ""


def _is_thought(item: JsonValue) -> bool:
    return wire.fields(item).get("type") == "reasoning"


def _is_whole(item: JsonObject) -> bool:
    return not _is_thought(item) or bool(item.get("encrypted_content") or item.get("content"))


def _is_more(item: JsonObject) -> bool:
    """Whether it says what our blocks cannot: a thought, the phase of a message, something of a new kind."""
    return item.get("type") not in ("message", "function_call") or bool(item.get("phase"))


def _unbound(item: JsonObject) -> JsonObject:
    return {name: value for name, value in item.items() if name != "id"}


def _drop_last_thoughts(items: list[JsonValue]) -> None:
    while items and _is_thought(items[-1]):
        items.pop()


def _input(arguments: str) -> JsonObject:
    if not arguments.strip():
        return {}
    try:
        value = wire.strictly_parsed(arguments)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {INVALID_JSON: wire.mended(arguments)}
