"""The way out and back of a history, and elements that are nearly right."""

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from hypothesis import strategies as st
from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Reader, Repairs, Writer
from eai_mcp.messages import JsonObject, Message, ToolResultBlock, dump, encode, load
from tests.formats.histories import JSON

WORDS = (
    st.sampled_from(["user", "assistant", "system", "tool", "text", "image", "document", "thinking"])
    | st.sampled_from(["tool_use", "tool_result", "function", "function_call", "function_call_output"])
    | st.sampled_from(["message", "input_text", "input_image", "input_file", "image_url", "file", "base64"])
    | st.sampled_from(["url", "content", "png", "pdf", "image/png", "data:image/png;base64,QQ=="])
)
KEYS = (
    st.sampled_from(["role", "content", "type", "text", "thinking", "signature", "id", "name", "input"])
    | st.sampled_from(
        ["source", "media_type", "data", "title", "tool_use_id", "is_error", "image", "document"]
    )
    | st.sampled_from(["format", "bytes", "toolUse", "toolResult", "toolUseId", "status", "reasoningContent"])
    | st.sampled_from(["json", "reasoningText", "citationsContent", "guardContent", "tool_calls", "function"])
    | st.sampled_from(["arguments", "tool_call_id", "refusal", "url", "image_url", "file", "file_data"])
    | st.sampled_from(["filename", "call_id", "output", "reasoning_content", "s3Location", "uri"])
    | st.sampled_from(["function_call", "file_id"])
)
NEARLY = st.recursive(
    WORDS | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ELEMENTS = st.lists(
    st.dictionaries(KEYS, NEARLY, max_size=5)
    | st.builds(
        lambda role, element: element | {"role": role},
        st.sampled_from(["user", "assistant"]),
        st.dictionaries(KEYS, NEARLY, max_size=4),
    )
    | st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    max_size=3,
)


def written(writer: Writer, history: Iterable[Message]) -> list[Any]:
    """The whole export, which can be written as JSON in UTF-8."""
    elements = [element for message in history for element in writer.write(message)] + [*writer.close()]
    json.dumps(elements, ensure_ascii=False, allow_nan=False).encode()
    return elements


def read(make: Callable[[Repairs], Reader], elements: Iterable[Any]) -> tuple[list[Message], list[str]]:
    """The whole import, with the results of one message's tools in one, and what was repaired."""
    repairs = Repairs()
    reader = make(repairs)
    found = [m for place, element in enumerate(elements, 1) for m in reader.read(element, place)]
    return joined([*found, *reader.close()]), [*repairs.told()]


def joined(messages: Sequence[Message]) -> list[Message]:
    """Neighbours that are made of tool results alone as one."""
    whole: list[Message] = []
    for results, neighbours in groupby(messages, key=_is_results):
        if results:
            whole.append(Message("user", tuple(block for message in neighbours for block in message.content)))
        else:
            whole += neighbours
    return whole


def mended(value: JsonObject) -> JsonObject:
    """The same without halves of characters."""
    return wire.fields(_mended(value))


def holds_up(make: Callable[[Repairs], Reader], elements: Iterable[Any]) -> None:
    """Any JSON gives messages that can be kept and sent, or the one error."""
    try:
        messages, _ = read(make, copy.deepcopy([*elements]))
    except ImportInvalid:
        return
    for message in messages:
        assert message.content
        assert message.role in ("user", "assistant")
        assert load(dump(message)) == message
        json.dumps(encode(message), ensure_ascii=False, allow_nan=False).encode()


@st.composite
def spoiled(draw, writer, histories):
    """An export in which one value is another's, or is missing."""
    elements = written(writer(), draw(histories))
    if not elements:
        return elements
    value: JsonValue = draw(st.sampled_from(elements))
    while draw(st.integers(0, 5)) and isinstance(value, dict | list) and value:
        key = draw(st.sampled_from([*value] if isinstance(value, dict) else [*range(len(value))]))
        within = value[key]
        if not isinstance(within, dict | list) or not within or not draw(st.integers(0, 3)):
            if isinstance(value, dict) and draw(st.booleans()):
                del value[key]
            else:
                value[key] = draw(NEARLY)
            break
        value = within
    return elements


def _is_results(message: Message) -> bool:
    return bool(message.content) and all(isinstance(block, ToolResultBlock) for block in message.content)


def _mended(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return wire.mended(value)
    if isinstance(value, dict):
        return {wire.mended(key): _mended(inner) for key, inner in value.items()}
    return [_mended(inner) for inner in value] if isinstance(value, list) else value
