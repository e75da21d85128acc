"""The content blocks of a reply, put together from their pieces."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.calls import StreamEvent, TextDelta, ThinkingDelta, ToolUseStarted
from eai_mcp.messages import Block, JsonObject, TextBlock, ThinkingBlock, ToolUseBlock
from eai_mcp.wire import INVALID_JSON

# A piece whose block was never announced, which some servers leave out, still says what it belongs to.
_IMPLIED = {"text_delta": "text", "thinking_delta": "thinking"}


@dataclass(slots=True)
class _Piecemeal:
    """A block as it was announced, and what was added to it since."""

    start: JsonObject
    text: wire.Text = field(default_factory=wire.Text)
    signature: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return wire.string(self.start.get("type"))

    @property
    def name(self) -> str:
        return wire.mended(wire.string(self.start.get("name")))


class Content:
    """The blocks of one reply, in the order in which they began."""

    def __init__(self) -> None:
        self._blocks: list[_Piecemeal] = []
        self._by_index: dict[int, _Piecemeal] = {}
        self._text: list[str] = []

    @property
    def text(self) -> str:
        """The words so far, as they were heard."""
        return "".join(self._text)

    @property
    def has_calls(self) -> bool:
        """Whether a tool was asked for."""
        return any(block.kind == "tool_use" and block.name for block in self._blocks)

    def begin(self, index: JsonValue, start: JsonObject) -> Iterator[StreamEvent]:
        """Take the announcement of a block, or a whole one."""
        block = _Piecemeal(start)
        self._blocks.append(block)
        self._by_index[wire.count(index)] = block
        if block.kind == "tool_use" and block.name:
            yield ToolUseStarted(block.name)
        elif block.kind in ("text", "thinking"):
            block.signature = wire.string(start.get("signature"))
            yield from self._add(block, wire.string(start.get(block.kind)))

    def add(self, index: JsonValue, delta: JsonObject) -> Iterator[StreamEvent]:
        """Take a piece of the block with that index."""
        kind = wire.string(delta.get("type"))
        block = self._by_index.get(wire.count(index))
        if block is None and kind in _IMPLIED:
            yield from self.begin(index, {"type": _IMPLIED[kind]})
            block = self._by_index[wire.count(index)]
        if block is None:
            return
        if kind == f"{block.kind}_delta" and kind in _IMPLIED:
            yield from self._add(block, wire.string(delta.get(block.kind)))
        elif kind == "signature_delta":
            block.signature = wire.string(delta.get("signature"))
        elif kind == "input_json_delta":
            block.arguments.append(wire.string(delta.get("partial_json")))

    def whole(self, *, with_tools: bool) -> "Whole":
        """The blocks as ours and as the provider's; tool calls only `with_tools`."""
        whole = Whole()
        for block in self._blocks:
            if block.kind != "tool_use":
                whole.take(_as_it_came(block))
            elif with_tools and block.name:
                whole.take_tool(_as_it_came(block), block.name)
        return whole

    def _add(self, block: _Piecemeal, piece: str) -> Iterator[StreamEvent]:
        shown = block.text.add(piece)
        if not shown:
            return
        if block.kind == "text":
            self._text.append(shown)
            yield TextDelta(shown)
        else:
            yield ThinkingDelta(shown)


class Whole:
    """The blocks of a finished reply: `ours`, and behind them the provider's own as they came."""

    def __init__(self) -> None:
        self.ours: list[Block] = []
        self._kept: list[JsonValue] = []
        self._is_more = False
        self._ids: set[str] = set()

    def state(self) -> JsonValue:
        """The provider's own blocks; None where ours are enough to say the same again."""
        if not self._is_more or wire.is_deep(self._kept):
            return None
        # To JSON and back, because what was sent may hold what cannot be written: half a character, say.
        return wire.parsed(wire.written(self._kept))

    def take(self, block: JsonObject) -> None:
        """Take a block of any kind but a tool call."""
        continued = bool(self._kept) and _is_text(self._kept[-1])
        self._kept.append(block)
        if not _is_text(block):
            self._is_more = True
            self._think(block)
        elif text := wire.string(block.get("text")):
            last = self.ours[-1] if continued and self.ours else None
            if isinstance(last, TextBlock):
                # One sentence in several blocks, as citations cut it.
                self.ours[-1] = TextBlock(last.text + text)
            else:
                self.ours.append(TextBlock(text))

    def take_tool(self, block: JsonObject, name: str) -> None:
        """Take the call of a tool, which gets an id of its own if it has none."""
        own = wire.mended(wire.string(block.get("id")))
        unique = own if own and own not in self._ids else f"toolu_{secrets.token_hex(12)}"
        self._ids.add(unique)
        said = wire.fields(block.get("input"))
        self._kept.append({**block, "id": unique, "name": name, "input": said})
        self.ours.append(ToolUseBlock(unique, name, said))

    def _think(self, block: JsonObject) -> None:
        text = wire.string(block.get("thinking"))
        if block.get("type") == "thinking" and text:
            signature = wire.mended(wire.string(block.get("signature")))
            self.ours.append(ThinkingBlock(text, signature or None))


def _is_text(block: JsonValue) -> bool:
    return wire.fields(block).get("type") == "text"


def _as_it_came(block: _Piecemeal) -> JsonObject:
    if block.kind in ("text", "thinking"):
        signed: JsonObject = {"signature": block.signature} if block.signature else {}
        return {**block.start, block.kind: str(block.text), **signed}
    if not block.kind.endswith("tool_use"):
        return block.start
    arguments = "".join(block.arguments)
    if not arguments.strip():
        announced = wire.fields(block.start.get("input"))
        arguments = "" if wire.is_deep(announced) else wire.written(announced)
    return {**block.start, "input": _input(arguments)}


def _input(arguments: str) -> JsonObject:
    try:
        value = wire.strictly_parsed(arguments)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {INVALID_JSON: wire.mended(arguments)}
