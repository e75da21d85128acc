"""Bytes that are no reply of Gemini, or a damaged one."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eai_mcp import wire
from eai_mcp.calls import ModelRequest
from eai_mcp.errors import EaiError
from eai_mcp.messages import JsonObject, decode, encode
from eai_mcp.providers.gemini_messages import wire_contents
from eai_mcp.providers.gemini_quirks import Quirks
from tests.providers.answering import model
from tests.providers.gemini_replies import STOPS, folded, replies, streams


def survives(data: bytes) -> None:
    """What is answered can be kept, read again and sent back; or it is one of our errors."""
    try:
        message = folded(data).message
    except EaiError:
        return
    assert decode(json.loads(json.dumps(encode(message), allow_nan=False).encode())) == message
    wire.written(wire_contents(ModelRequest(messages=(message,)), model(), Quirks())).encode()


@settings(max_examples=200)
@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda more: b"data: {" + more)))
def test_no_bytes_at_all_make_it_fail_otherwise_than_by_an_error_of_ours(data):
    """Issue 3: no byte string makes an adapter raise anything outside the error tree or hang."""
    survives(data)


@settings(max_examples=200)
@given(
    data=streams(),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=4)), min_size=1),
)
def test_no_damaged_stream_does_either(data, changes):
    for place, gone, put in changes:
        at = int(place * len(data))
        data = data[:at] + put + data[at + gone :]
    survives(data)


KEYS = [
    "text",
    "thought",
    "error",
    "parts",
    "functionCall",
    "name",
    "args",
    "details",
    "inlineData",
    "mimeType",
]
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(["", "image/x", "\ud800", *STOPS]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(KEYS), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def twisted(draw: st.DrawFn) -> list[JsonObject]:
    """A reply some of whose values are of another kind, or are gone."""
    chunks: list[Any] = json.loads(json.dumps(draw(replies())))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = chunks[draw(st.integers(0, len(chunks) - 1))]
        while True:
            keys = [*range(len(place))] if isinstance(place, list) else sorted(place)
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or not place[key] or draw(st.integers(0, 3)) == 0:
                break
            place = place[key]
        place[key] = draw(anything)
    return chunks


@settings(max_examples=300)
@given(data=streams(twisted()))
def test_no_value_of_another_kind_does_either(data):
    survives(data)


@pytest.mark.parametrize("depth", [100, 126, 127, 128, 129, 500, 900, 980, 990, 1_000, 100_000])
def test_no_depth_does_either(depth):
    nested = "[" * depth + "]" * depth
    for part in (
        '{"functionCall": {"name": "a", "args": {"b": %s}}, "thoughtSignature": "c2ln"}',
        '{"text": "a", "thoughtSignature": %s}',
        '{"text": %s}',
        '{"toolCall": %s}',
    ):
        chunk = '{"candidates": [{"content": {"parts": [%s]}, "finishReason": "STOP"}]}' % (part % nested)
        survives(f"data: {chunk}\n\n".encode())
    survives(f'data: {{"error": {nested}}}\n\n'.encode())
