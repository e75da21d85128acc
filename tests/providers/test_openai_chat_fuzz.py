"""What no server of Chat Completions should send: it ends in an answer, or in an error of ours."""

import contextlib
import json
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eai_mcp import wire
from eai_mcp.calls import ModelRequest, unheard
from eai_mcp.errors import EaiError
from eai_mcp.messages import Message, decode, encode
from eai_mcp.providers.openai_chat_messages import wire_messages
from eai_mcp.providers.openai_chat_quirks import Quirks
from tests.providers.answering import HELLO, Answers, Bytes, call, model
from tests.providers.openai_chat_replies import BACK, FINISHES, folded, replies, streams
from tests.providers.openai_responses_replies import split

DETAILS = Quirks(reasoning_back="reasoning_details", think_tags=True)
DATA = st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda more: b"data: {" + more))


def survives(data: bytes) -> None:
    """What is answered can be kept, read again and sent back; or it is one of our errors."""
    for quirks in (BACK, DETAILS):
        try:
            message = folded(data, quirks=quirks)[0].message
        except EaiError:
            continue
        is_kept(message, quirks)


def is_kept(message: Message, quirks: Quirks) -> None:
    assert decode(json.loads(json.dumps(encode(message), allow_nan=False).encode())) == message
    wire.written(wire_messages(ModelRequest(messages=(message,)), model(), quirks)).encode()


@settings(max_examples=200)
@given(data=DATA)
def test_no_bytes_at_all_make_it_fail_otherwise_than_by_an_error_of_ours(data):
    """Issue 3: no byte string makes an adapter raise anything outside the error tree or hang."""
    survives(data)


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=4)), min_size=1)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a whole reply, some of which were put out, put in or changed."""
    data = draw(streams())
    for place, gone, put in draw(CHANGES):
        at = int(place * len(data))
        data = data[:at] + put + data[at + gone :]
    return data


@settings(max_examples=200)
@given(data=damaged())
def test_no_damaged_stream_does_either(data):
    survives(data)


KEYS = ["text", "thinking", "error", "index", "id", "name", "arguments", "tool_calls", "content", "type"]
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(["", "text", "\ud800", "error", *FINISHES]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(KEYS), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def twisted(draw: st.DrawFn) -> list[dict[str, Any]]:
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
    for delta in (
        '{"content": %s}',
        '{"reasoning_details": [{"a": %s}]}',
        '{"tool_calls": [{"function": {"name": "a", "arguments": {"b": %s}}}]}',
        '{"tool_calls": [{"function": {"name": "a", "arguments": "{\\"b\\": %s}"}}]}',
    ):
        choice = '{"delta": %s, "finish_reason": "stop"}' % (delta % nested)
        survives(b'data: {"choices": [%s]}\n\n' % choice.encode())
    survives(f'data: {{"error": {nested}}}\n\n'.encode())


@pytest.mark.parametrize(
    "detail", ['{"a": 1e400}', '{"a": NaN}', '{"a\\ud83d": "\\ude00"}', '[1, "x", null]']
)
def test_no_detail_of_its_reasoning_that_json_cannot_say_does_either(detail):
    delta = b'{"reasoning_details": [%s]}' % detail.encode()
    survives(b'data: {"choices": [{"delta": %s, "finish_reason": "stop"}]}\n\n' % delta)


@st.composite
def responses(draw: st.DrawFn) -> httpx2.Response:
    """A response whose body may break off, with a status, a type and headers that may be wrong for it."""
    body = draw(st.one_of(DATA, streams(), damaged(), streams(twisted())))
    headers = {"content-type": draw(st.sampled_from(TYPES)), "retry-after": draw(st.sampled_from(WAITS))}
    pieces: list[bytes | Exception] = [*split(body, draw(st.sampled_from([1, 7, 1000])))]
    if draw(st.booleans()):
        pieces.append(draw(st.sampled_from(BREAKS))("broke off"))
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 404, 413, 429, 500, 529, 599]))
    return httpx2.Response(status, headers=headers, stream=Bytes(pieces))


TYPES = ["text/event-stream", "text/event-stream; charset=utf-8", "application/json", "text/html", "", "x/;,"]
WAITS = ["", "1", "-1", "1e999", "nan", "Wed, 21 Oct 2026 07:28:00 GMT", "soon", "9" * 400]
BREAKS = [httpx2.ReadError, httpx2.ReadTimeout, httpx2.RemoteProtocolError, httpx2.DecodingError]


@settings(max_examples=300)
@given(response=responses())
async def test_no_response_of_any_status_and_type_does_either(response):
    """Issue 3: no byte string makes an adapter raise anything outside the error tree or hang."""
    with anyio.fail_after(5), contextlib.suppress(EaiError):
        is_kept((await call(Answers(response))(HELLO, unheard)).message, BACK)
