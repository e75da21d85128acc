"""The output items of a reply while they grow: what is heard of them, and what there is of each.

The pieces of an item are known by its output_index, since at some servers its id changes from event to event;
where there is none, as at llama.cpp, by the id.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.calls import StreamEvent, TextDelta, ThinkingDelta, ToolUseStarted
from eai_mcp.messages import JsonObject
from eai_mcp.providers.openai_responses_output import Output

# What an event's delta adds to.
_DELTAS: Mapping[str, str] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.function_call_arguments.delta": "arguments",
    "response.reasoning_summary_text.delta": "thought",
    "response.reasoning_text.delta": "thought",
}
# What an item is that was never announced.
_IMPLIED = {"arguments": "function_call", "thought": "reasoning"}


@dataclass(slots=True)
class _Item:
    """One item: as it was announced, its pieces since, and as it was in the end.

    `words` are those of a message, each piece beside what it adds to.
    """

    announced: JsonObject = field(default_factory=dict)
    done: JsonObject = field(default_factory=dict)
    pieces: dict[str, list[str]] = field(default_factory=dict)
    words: list[tuple[str, str]] = field(default_factory=list)
    part: tuple[JsonValue, ...] = ()

    def whole(self) -> JsonObject:
        """The item, put together from its pieces where nobody sent it whole."""
        if self.done:
            return self.done
        made: JsonObject = {"type": self._kind(), **self.announced, "status": "completed"}
        match made["type"]:
            case "message":
                made["content"] = [*self._said()]
            case "function_call":
                made["arguments"] = self._joined("arguments") or wire.string(made.get("arguments"))
            case "reasoning":
                # What was announced of the encrypted thought may be a part of it, which is of no use.
                made["encrypted_content"] = None
                made["summary"] = [{"type": "summary_text", "text": self._joined("thought")}]
            case _:
                pass  # an item of another kind is what it was announced to be
        return made

    def _said(self) -> Iterator[JsonObject]:
        for name, pieces in groupby(self.words, key=itemgetter(0)):
            words = "".join(piece for _, piece in pieces)
            if name == "text":
                yield {"type": "output_text", "text": words, "annotations": []}
            else:
                yield {"type": "refusal", "refusal": words}

    def _joined(self, name: str) -> str:
        return "".join(self.pieces.get(name, ()))

    def _kind(self) -> str:
        return next((_IMPLIED[name] for name in self.pieces), "message")


class Items:
    """The output of one reply."""

    def __init__(self) -> None:
        self._items: dict[int | str, _Item] = {}
        self._text = wire.Text()
        self._thinking = wire.Text()
        self._late_text = ""
        self._tools = 0

    @property
    def text(self) -> str:
        """The words so far, as they were heard."""
        return str(self._text) + self._late_text

    def take(self, kind: str, event: JsonObject) -> Iterator[StreamEvent]:
        """Take an event of the stream; one of a `kind` that says nothing about an item is passed over."""
        if name := _DELTAS.get(kind):
            yield from self._add(name, event)
        elif kind == "response.output_item.added":
            announced = wire.fields(event.get("item"))
            self._item(event).announced = announced
            yield from self._named(announced)
        elif kind == "response.output_item.done":
            self._item(event).done = wire.fields(event.get("item"))
        elif kind == "response.function_call_arguments.done":
            self._item(event).pieces["arguments"] = [wire.string(event.get("arguments"))]

    def finish(self, final: list[JsonValue]) -> Output:
        """The whole output: `final` if the server repeats it at the end, else what came before."""
        order = sorted(self._items, key=lambda place: place if isinstance(place, int) else 0)
        grown: list[JsonValue] = [self._items[place].whole() for place in order]
        if not final:
            return Output(grown)
        return Output(_unsealed(final, grown))

    def unheard(self, output: Output) -> Iterator[StreamEvent]:
        """What of the whole output was not heard while it grew, as far as it can follow what was."""
        thinking = _rest(str(self._thinking), output.thinking)
        if thinking:
            yield ThinkingDelta(thinking)
        self._late_text = _rest(str(self._text), output.text)
        if self._late_text:
            yield TextDelta(self._late_text)
        for name in output.tools[self._tools :]:
            yield ToolUseStarted(name)

    def _item(self, event: JsonObject) -> _Item:
        place = event.get("output_index")
        if not isinstance(place, int):
            place = wire.string(event.get("item_id")) or wire.string(wire.fields(event.get("item")).get("id"))
        return self._items.setdefault(place, _Item())

    def _add(self, name: str, event: JsonObject) -> Iterator[StreamEvent]:
        piece = wire.string(event.get("delta"))
        if not piece:
            return
        item = self._item(event)
        if name in ("text", "refusal"):
            item.words.append((name, piece))
            if shown := self._text.add(piece):
                yield TextDelta(shown)
            return
        pieces = item.pieces.setdefault(name, [])
        if name == "thought":
            # Each part of a summary is a paragraph of its own.
            part = (event.get("summary_index"), event.get("content_index"))
            piece = "\n\n" + piece if pieces and part != item.part else piece
            item.part = part
            if shown := self._thinking.add(piece):
                yield ThinkingDelta(shown)
        pieces.append(piece)

    def _named(self, announced: JsonObject) -> Iterator[StreamEvent]:
        name = wire.mended(wire.string(announced.get("name")))
        if name and announced.get("type") == "function_call":
            self._tools += 1
            yield ToolUseStarted(name)


def _unsealed(final: list[JsonValue], grown: list[JsonValue]) -> list[JsonValue]:
    """The final items; where one lacks its encrypted thought, the one that had it."""
    if len(final) != len(grown):
        return final
    pairs = zip(map(wire.fields, final), map(wire.fields, grown), strict=True)
    return [
        was if was.get("encrypted_content") and not item.get("encrypted_content") else item
        for item, was in pairs
    ]


def _rest(heard: str, whole: str) -> str:
    return whole[len(heard) :] if whole.startswith(heard) else ""
