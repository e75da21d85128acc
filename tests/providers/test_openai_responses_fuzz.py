"""Replies of Responses that no server should send: they end in an answer, or in an error of ours."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eai_mcp import wire
from eai_mcp.calls import ModelRequest
from eai_mcp.errors import EaiError
from eai_mcp.messages import decode, encode
from eai_mcp.providers.openai_responses_messages import wire_input
from tests.providers.openai_responses_events import entry
from tests.providers.openai_responses_replies import folded, replies, streams


def survives(data: bytes) -> None:
    """What is answered can be kept, read again and sent back; or it is one of our errors."""
    try:
        message = folded(data)[0].message
    except EaiError:
        return
    assert decode(json.loads(json.dumps(encode(message), allow_nan=False).encode())) == message
    wire.written(wire_input(ModelRequest(messages=(message,)), entry())).encode()


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
def test_no_damaged_stream_does_either(data, changes):  # fmt: skip
    for place, gone, put in changes:
        at = int(place * len(data))
        data = data[:at] + put + data[at + gone :]
    survives(data)


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["", "text", "\ud800"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "text", "error", "usage", "output"]), inner, max_size=2),
    ),
    max_leaves=4,
)  # fmt: skip


@st.composite
def twisted(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A reply some of whose values are of another kind, or are gone."""
    events: list[Any] = json.loads(json.dumps(draw(replies())))
    for _ in range(draw(st.integers(1, 4))):
        place = events[draw(st.integers(0, len(events) - 1))]
        while True:
            if isinstance(place, list):
                key: Any = draw(st.integers(0, len(place) - 1))
            else:
                key = draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        place[key] = draw(anything)
    return events


@settings(max_examples=300)
@given(data=streams(twisted()))
def test_no_value_of_another_kind_does_either(data):
    survives(data)


@pytest.mark.parametrize("depth", [100, 500, 900, 980, 990, 1_000, 100_000])
@pytest.mark.parametrize(
    "item",
    [
        '{"type": "function_call", "call_id": "a", "name": "b", "arguments": "%s"}',
        '{"type": "function_call", "call_id": "a", "name": "b", "arguments": {"c": %s}}',
        '{"type": "reasoning", "encrypted_content": "a", "summary": %s}, {"type": "web_search_call"}',
        '{"type": "web_search_call", "action": %s}',
    ],
)
def test_no_depth_does_either(depth, item):
    output = item % ("[" * depth + "]" * depth)
    survives(b'data: {"type": "response.completed", "response": {"output": [%s]}}\n\n' % output.encode())
