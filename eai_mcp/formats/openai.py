"""Histories as the `messages` of OpenAI's Chat Completions.

Written, a history loses
- the partial mark, the provider's state, the turn and the time of each message;
- thinking, empty texts, messages that have nothing else, and what the other role alone can say;
- the borders between the texts of an assistant's message, of a user's message of only text, and of a tool
  result: a blank line stands there;
- the place of tool results, which come first, and of tool uses, which come last: each result is a message,
  and what else the user said is another behind it;
- the failure of a tool: its text begins with "Error: ";
- pictures and documents within tool results: a text "[image: in the next message]" stands in their place, and
  they themselves in a user's message behind the last result, or in the one that is there, each behind a text
  "[image from TOOL]";
- pictures and documents of the assistant, or with broken data: a text "[image]", "[document]" or
  "[document: NAME]" stands in their place;
- a tool id that is empty or longer than 40 characters, which becomes a digest.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import chain
from typing import assert_never

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.formats import Repairs, media, openai_parts, vendors
from eai_mcp.formats.vendors import Notes, Shown
from eai_mcp.messages import (
    Block,
    DocumentBlock,
    ImageBlock,
    JsonObject,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

LONGEST_TOOL_ID = 40

_TOOL_ID = re.compile(r"[^\ud800-\udfff]{1,40}")
_ROLES = (*vendors.ROLES, "tool", "function")
_REASONING = ("reasoning_content", "reasoning")


class Writer:
    """Writes messages for Chat Completions.

    A tool message holds text alone, and must stand right behind its call. So pictures and documents out of
    results are held back until the last of them.
    """

    def __init__(self) -> None:
        self._held: list[JsonObject] = []
        self._tools: dict[str, str] = {}

    def write(self, message: Message) -> Iterator[JsonObject]:
        """The message in as many as it takes, and what was held back before it."""
        if message.role == "assistant":
            yield from self.close()
            self._tools = {block.id: block.name for block in _uses(message)}
            yield from _assistant(message)
            return
        for block in message.content:
            if isinstance(block, ToolResultBlock):
                yield self._tool_result(block)
        shown = [block for block in message.content if isinstance(block, Shown)]
        said = [part for block in shown for part in _part(block)]
        if said and not self._held and all(isinstance(block, TextBlock) for block in shown):
            # Not a list of parts: some servers can read nothing but a string.
            yield {"role": "user", "content": _joined(wire.string(part["text"]) for part in said)}
        elif said:
            self._held += said
            yield from self.close()

    def close(self) -> Iterator[JsonObject]:
        """What was held back."""
        held, self._held = self._held, []
        if held:
            yield {"role": "user", "content": [*held]}

    def _tool_result(self, block: ToolResultBlock) -> JsonObject:
        name = self._tools.get(block.tool_use_id, "the tool")
        said = []
        for piece in block.content:
            if isinstance(piece, TextBlock) or media.whole(piece) is None:
                said += [wire.string(part["text"]) for part in _part(piece)]
            else:
                said.append(f"[{piece.type}: in the next message]")
                self._held += [_text(f"[{piece.type} from {name}]"), *_part(piece)]
        text = _joined(said)
        own = vendors.fitting(block.tool_use_id, _TOOL_ID, longest=LONGEST_TOOL_ID)
        content = f"{openai_parts.FAILED} {text}" if block.failed else text
        return {"role": "tool", "tool_call_id": own, "content": content}


class Reader:
    """Reads messages of Chat Completions; each tool message is a user's message with one result.

    Calls without an id (Ollama's, and the functions of old) are given one, and results without one are those
    of the calls that wait, by their name or else in order.
    """

    def __init__(self, repairs: Repairs) -> None:
        self._repairs = repairs
        self._waiting = _Waiting()

    def read(self, element: JsonObject, place: int) -> Iterator[Message]:
        """The message that the element is.

        Raises:
            ImportInvalid: Its role is unknown, or a tool's input nested too deep.
        """
        notes = Notes(self._repairs, place)
        content = vendors.parts(element.get("content"), openai_parts.shown, notes)
        if element.get("role") in ("tool", "function"):
            result = vendors.tool_result(self._answered(element), content, notes)
            yield from notes.message("user", result)
            return
        role = notes.role(element.get("role"), known=_ROLES)
        if role is not None:
            self._waiting = _Waiting()
            said = chain(
                _reasoning(element, notes),
                content,
                _refusal(element, notes),
                _heard(element, notes),
                self._calls(element, notes),
            )
            yield from notes.message(role, said)

    def close(self) -> Iterator[Message]:
        """Nothing waits."""
        yield from ()

    def _calls(self, element: JsonObject, notes: Notes) -> Iterator[Block]:
        calls = element.get("tool_calls")
        if calls is not None and not isinstance(calls, list):
            notes.note("tool_calls that are no list were left out")
        if isinstance(old := element.get("function_call"), dict):
            calls = [*wire.items(calls), {"function": old}]
        for number, call in enumerate(map(wire.fields, wire.items(calls))):
            kind = call.get("type", "function")
            if kind == "function":
                function = wire.fields(call.get("function"))
                own = call.get("id") or self._made(function.get("name"), f"call_{notes.place}_{number}")
                given = vendors.arguments(function.get("arguments"), notes)
                yield from vendors.tool_use(own, function.get("name"), given, notes)
            else:
                notes.unknown("a tool use", kind)

    def _made(self, name: JsonValue, own: str) -> str:
        self._waiting.add(wire.string(name), own)
        return own

    def _answered(self, element: JsonObject) -> JsonValue:
        """The id of the call that a result is for."""
        if element.get("tool_call_id") is not None:
            return element["tool_call_id"]
        return self._waiting.take(wire.string(element.get("name") or element.get("tool_name")))


class _Waiting:
    """Ids of calls that wait for a result, in order and by name."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, None] = OrderedDict()
        self._named: dict[str, deque[str]] = {}

    def add(self, name: str, own: str) -> None:
        """Another call."""
        self._all[own] = None
        self._named.setdefault(name, deque()).append(own)

    def take(self, name: str) -> str | None:
        """The first call of that name, or else the first of all."""
        named = self._named.get(name, deque())
        while named:
            own = named.popleft()
            if own in self._all:  # else it was taken as the first of all
                del self._all[own]
                return own
        return self._all.popitem(last=False)[0] if self._all else None


def _assistant(message: Message) -> Iterator[JsonObject]:
    text = _joined(
        wire.mended(block.text) if isinstance(block, TextBlock) else f"[{block.type}]"
        for block in message.content
        if isinstance(block, Shown)
    )
    calls: list[JsonValue] = [_call(block) for block in _uses(message)]
    # Several servers refuse a message with nothing in it.
    if text or calls:
        said: JsonObject = {"role": "assistant", "content": text or None}
        yield {**said, "tool_calls": calls} if calls else said


def _uses(message: Message) -> list[ToolUseBlock]:
    return [block for block in message.content if isinstance(block, ToolUseBlock)]


def _call(use: ToolUseBlock) -> JsonObject:
    given = wire.written(vendors.clean(use.input))
    function: JsonObject = {"name": wire.mended(use.name), "arguments": given}
    own = vendors.fitting(use.id, _TOOL_ID, longest=LONGEST_TOOL_ID)
    return {"id": own, "type": "function", "function": function}


def _part(block: Shown) -> Iterator[JsonObject]:
    """The part for a block; none for an empty text."""
    if isinstance(block, TextBlock):
        if block.text:
            yield _text(block.text)
        return
    data = media.whole(block)
    if data is None:
        yield _text(media.label(block))
        return
    url = media.data_url(block, data)
    match block:
        case ImageBlock():
            yield {"type": "image_url", "image_url": {"url": url}}
        case DocumentBlock(name=name):
            yield {"type": "file", "file": {"filename": wire.mended(name), "file_data": url}}
        case _:
            assert_never(block)


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": wire.mended(text)}


def _joined(texts: Iterator[str] | list[str]) -> str:
    return "\n\n".join(filter(None, texts))


def _reasoning(element: JsonObject, notes: Notes) -> Iterator[ThinkingBlock]:
    """The reasoning, which some servers give twice."""
    said = [text for name in _REASONING if (text := wire.string(element.get(name)))]
    if said:
        yield from vendors.thought(said[0], None, notes)


def _refusal(element: JsonObject, notes: Notes) -> Iterator[TextBlock]:
    if element.get("refusal") is not None:
        yield from vendors.text(element["refusal"], notes)


def _heard(element: JsonObject, notes: Notes) -> Iterator[TextBlock]:
    """The words of what was spoken; the sound itself is nothing that a history has."""
    if isinstance(transcript := wire.fields(element.get("audio")).get("transcript"), str):
        yield from vendors.text(transcript, notes)
