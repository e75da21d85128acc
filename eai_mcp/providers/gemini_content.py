"""The parts of a reply, put together from their pieces."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.calls import StreamEvent, TextDelta, ThinkingDelta, ToolUseStarted
from eai_mcp.messages import Block, ImageBlock, JsonObject, TextBlock, ThinkingBlock, ToolUseBlock
from eai_mcp.wire import INVALID_JSON


@dataclass(slots=True)
class _Piecemeal:
    """A part as it came first, and its text so far."""

    part: JsonObject
    text: wire.Text = field(default_factory=wire.Text)

    @property
    def whole(self) -> JsonObject:
        return {**self.part, "text": str(self.text)} if _has_text(self.part) else self.part


class Content:
    """The parts of one reply, in the order in which they came.

    Pieces of text that follow each other are one part, unless one of them is signed: a signature holds for
    its own part, however short.
    """

    def __init__(self) -> None:
        self._parts: list[_Piecemeal] = []
        self._text: list[str] = []

    @property
    def text(self) -> str:
        """The words so far, as they were heard."""
        return "".join(self._text)

    @property
    def has_calls(self) -> bool:
        """Whether a tool was asked for."""
        return any(called(piece.part) for piece in self._parts)

    def add(self, part: JsonObject) -> Iterator[StreamEvent]:
        """Take the next part, or piece of one."""
        if not part:
            return
        if not _has_text(part):
            self._parts.append(_Piecemeal(part))
            if name := called(part):
                yield ToolUseStarted(name)
            return
        last = self._parts[-1].part if self._parts else {}
        if not (_is_plain(part) and _is_plain(last) and _is_thought(part) == _is_thought(last)):
            self._parts.append(_Piecemeal(part))
        shown = self._parts[-1].text.add(wire.string(part["text"]))
        if shown and _is_thought(part):
            yield ThinkingDelta(shown)
        elif shown:
            self._text.append(shown)
            yield TextDelta(shown)

    def whole(self, *, with_tools: bool) -> "Whole":
        """The parts as ours and as the provider's; tool calls only `with_tools`."""
        whole = Whole()
        for piece in self._parts:
            if not _is_call(piece.part) or (with_tools and called(piece.part)):
                whole.take(piece.whole)
        return whole


class Whole:
    """The parts of a finished reply: `ours`, and behind them the provider's own as they came."""

    def __init__(self) -> None:
        self.ours: list[Block] = []
        self._kept: list[JsonValue] = []
        self._ids: set[str] = set()

    def state(self) -> JsonValue:
        """The provider's own parts; None where ours are enough to say the same again."""
        is_more = any(not _is_plain(part) or _is_thought(part) for part in map(wire.fields, self._kept))
        if not is_more or wire.is_deep(self._kept):
            return None
        # To JSON and back, because what was sent may hold what cannot be written: half a character, say.
        return wire.parsed(wire.written(self._kept))

    def take(self, part: JsonObject) -> None:
        """Take the next part."""
        if _is_plain(part) and not part["text"]:
            return
        self._kept.append(part)
        if _has_text(part):
            self._say(wire.string(part["text"]), is_thought=_is_thought(part))
        elif name := called(part):
            self._call(name, wire.fields(part["functionCall"]))
        elif not _is_thought(part):
            self._show(wire.fields(part.get("inlineData")))

    def _say(self, text: str, *, is_thought: bool) -> None:
        last = self.ours[-1] if self.ours else None
        if not text:
            return  # it bears a signature
        if is_thought and isinstance(last, ThinkingBlock):
            self.ours[-1] = ThinkingBlock(last.text + text)
        elif not is_thought and isinstance(last, TextBlock):
            self.ours[-1] = TextBlock(last.text + text)
        else:
            self.ours.append(ThinkingBlock(text) if is_thought else TextBlock(text))

    def _call(self, name: str, call: JsonObject) -> None:
        own = wire.mended(wire.string(call.get("id")))
        unique = own if own and own not in self._ids else f"call_{secrets.token_hex(8)}"
        self._ids.add(unique)
        self.ours.append(ToolUseBlock(unique, name, _input(call.get("args"))))

    def _show(self, blob: JsonObject) -> None:
        kind, data = wire.string(blob.get("mimeType")), wire.string(blob.get("data"))
        if kind.startswith("image/") and data:
            self.ours.append(ImageBlock(wire.mended(kind), wire.mended(data)))


def called(part: JsonObject) -> str:
    """The name of the tool that the part asks for, empty if it asks for none."""
    call = wire.fields(part["functionCall"]) if _is_call(part) else {}
    return wire.mended(wire.string(call.get("name")))


def is_unfinished(part: JsonObject) -> bool:
    """Whether the part is one piece of a call whose arguments stream, as some endpoints can be asked for."""
    call = wire.fields(part.get("functionCall"))
    return "partialArgs" in call or call.get("willContinue") is True


def _has_text(part: JsonObject) -> bool:
    return isinstance(part.get("text"), str)


def _is_call(part: JsonObject) -> bool:
    return "functionCall" in part and not _has_text(part)


def _is_thought(part: JsonObject) -> bool:
    return part.get("thought") is True


def _is_plain(part: JsonObject) -> bool:
    """Whether the part is text and nothing more."""
    return _has_text(part) and part.keys() <= {"text", "thought"}


def _input(args: JsonValue) -> JsonObject:
    if args is None:
        return {}
    if wire.is_deep(args):
        return {INVALID_JSON: "nested too deep"}
    text = wire.written(args)
    try:
        value = wire.strictly_parsed(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {INVALID_JSON: text}
