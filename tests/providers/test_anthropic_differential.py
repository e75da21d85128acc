"""Whole replies of Anthropic Messages, made from its schema, and what becomes of them.

Anthropic's own SDK reads the same bytes. It misses a stream that was cut off, so those compared are
whole.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

import anthropic as sdk
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.calls import ModelRequest, ModelResponse, Stop, TextDelta
from eai_mcp.errors import EaiError, Refused
from eai_mcp.messages import JsonObject, TextBlock, ThinkingBlock, ToolUseBlock, Usage, decode, encode
from eai_mcp.providers.anthropic_messages import wire_messages
from eai_mcp.providers.anthropic_stream import Reply
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.sse import Decoder
from tests.providers.answering import model

STOPS: dict[str, Stop] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "tool_use": "tools",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "pause",
    "refusal": "refusal",
}
ODD = ["\u2028", "\u2029", "\x85", "\r\n", "\n\n", "😀", "👩‍🚀", "data: ", "\0", '"', "\\", "é", "日本"]

pieces = st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=8)), max_size=5)
counts = st.integers(0, 10**6)
arguments = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.sampled_from(ODD)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)  # fmt: skip


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@st.composite
def blocks(draw: st.DrawFn, kind: str, index: int) -> list[JsonObject]:
    """The events of one block."""
    deltas: list[dict[str, Any]] = []
    start: dict[str, Any] = {"type": kind}
    if kind == "text":
        start |= {"text": "", "citations": None}
        deltas = [{"type": "text_delta", "text": piece} for piece in draw(pieces)]
    elif kind == "thinking":
        start |= {"thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in draw(pieces)]
        deltas.append({"type": "signature_delta", "signature": f"sig{index}"})
    elif kind == "redacted_thinking":
        start["data"] = f"dark{index}"
    else:
        name = draw(st.sampled_from(["look", "find_it", "a-b"]))
        start |= {"id": f"toolu_{index}", "name": name, "input": {}, "caller": {"type": "direct"}}
        given = draw(st.none() | arguments)
        said = "" if given is None else json.dumps(given, ensure_ascii=draw(st.booleans()))
        parts = ["", *cut(said, draw(st.integers(1, 9)))]
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
    place: JsonObject = {"index": index}
    return [
        {"type": "content_block_start", **place, "content_block": start},
        *[{"type": "content_block_delta", **place, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", **place},
    ]


@st.composite
def replies(draw: st.DrawFn) -> list[JsonObject]:
    """The events of a whole reply."""
    reason = draw(st.sampled_from(list(STOPS)))
    thoughts = draw(st.lists(st.sampled_from(["thinking", "redacted_thinking"]), max_size=2))
    texts = draw(st.lists(st.just("text"), max_size=2))
    calls = draw(st.integers(1, 3)) if reason == "tool_use" else draw(st.integers(0, 1))
    kinds = [*thoughts, *texts, *["tool_use"] * calls]
    optional: dict[str, Any] = {"cache_read_input_tokens": counts, "cache_creation_input_tokens": counts}
    first: JsonObject = draw(
        st.fixed_dictionaries({"input_tokens": counts, "output_tokens": counts}, optional=optional)
    )
    thinking = st.fixed_dictionaries({"thinking_tokens": counts})
    later: dict[str, Any] = {
        "input_tokens": st.none() | counts,
        "output_tokens_details": thinking,
        **optional,
    }
    last: JsonObject = draw(st.fixed_dictionaries({"output_tokens": counts}, optional=later))
    message: JsonObject = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "wire-1",
        "content": [],
    }
    details: JsonValue = (
        {"type": "refusal", "category": "cyber", "explanation": None} if reason == "refusal" else None
    )
    stop: JsonObject = {"stop_reason": reason, "stop_sequence": None, "stop_details": details}
    events: list[JsonObject] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "usage": first}},
        *[event for index, kind in enumerate(kinds) for event in draw(blocks(kind, index))],
        {"type": "message_delta", "delta": stop, "usage": last},
        {"type": "message_stop"},
    ]
    for at in draw(st.lists(st.integers(1, len(events) - 1), max_size=3)):
        events.insert(at, {"type": "ping"})
    return events


@st.composite
def streams(draw: st.DrawFn, events: st.SearchStrategy[list[JsonObject]] | None = None) -> bytes:
    """The bytes of a whole reply, as different servers would write them."""
    line, escaped, pad = (
        draw(st.sampled_from(["\n", "\r\n"])),
        draw(st.booleans()),
        " " * draw(st.integers(0, 3)),
    )
    written = []
    for event in draw(replies() if events is None else events):
        data = json.dumps(event, ensure_ascii=escaped)
        written.append(f"event: {event.get('type')}{line}data: {data}{pad}{line}{line}")
    return "".join(written).encode("utf-8", "replace")


def split(data: bytes, size: int | None, seed: int = 0) -> Iterator[bytes]:
    """The bytes in pieces of `size`, or of any."""
    chance, at = random.Random(seed), 0
    while at < len(data):
        step = size or chance.randint(1, 40)
        yield data[at : at + step]
        at += step


def folded(data: bytes, size: int | None = None, seed: int = 0) -> ModelResponse:
    decoder, reply = Decoder(), Reply(Endpoint(model="m", host="h"))
    heard = ""
    for piece in split(data, size, seed):
        for event in decoder.feed(piece):
            heard += "".join(said.text for said in reply.take(event) if isinstance(said, TextDelta))
    for event in decoder.close():
        reply.take(event)
    if not reply.is_finished:
        raise reply.broken("ended the stream before the reply was finished")
    assert heard == reply.text
    return reply.response(served_by="m", model="wire-1", warnings=())


def as_the_sdk_reads(data: bytes, size: int | None) -> Any:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=split(data, size))

    transport = httpx2.MockTransport(answer)
    with httpx2.Client(transport=transport) as http, sdk.Anthropic(api_key="k", http_client=http) as client:
        asked = {"model": "wire-1", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
        with client.messages.stream(**asked) as stream:  # type: ignore[arg-type]  # a plain dict is one
            return stream.get_final_message()


def same(ours: ModelResponse, theirs: Any) -> None:
    own: dict[type, list[Any]] = {TextBlock: [], ThinkingBlock: [], ToolUseBlock: []}
    for block in ours.message.content:
        own[type(block)].append(block)
    assert "".join(b.text for b in own[TextBlock]) == "".join(
        b.text for b in theirs.content if b.type == "text"
    )
    thoughts = [(b.thinking, b.signature) for b in theirs.content if b.type == "thinking" and b.thinking]
    assert [(b.text, b.signature) for b in own[ThinkingBlock]] == thoughts
    calls = [(b.id, b.name, b.input) for b in theirs.content if b.type == "tool_use"]
    stop = STOPS[theirs.stop_reason]
    if calls and stop in ("length", "refusal"):
        assert (own[ToolUseBlock], len(ours.warnings) > 0) == ([], True)
    else:
        assert [(b.id, b.name, b.input) for b in own[ToolUseBlock]] == calls
        stop = "tools" if calls else stop
    assert ours.stop == stop
    assert ours.usage == as_usage(theirs.usage)
    if ours.message.state is not None and stop == "tools":
        named = ("thinking", "signature", "data", "text", "id", "name", "input")
        kept = [
            {n: b[n] for n in named if n in b} for b in map(wire.fields, wire.items(ours.message.state.data))
        ]
        assert kept == [{n: getattr(b, n) for n in named if hasattr(b, n)} for b in theirs.content]


def as_usage(used: Any) -> Usage:
    read, written = used.cache_read_input_tokens or 0, used.cache_creation_input_tokens or 0
    details = used.output_tokens_details
    return Usage(
        input=used.input_tokens + read + written,
        output=used.output_tokens,
        cache_read=read,
        cache_write=written,
        reasoning=details.thinking_tokens if details else 0,
    )


@pytest.mark.parametrize("size", [1, 7, None])
@settings(max_examples=60)
@given(data=streams())
def test_anthropics_own_sdk_reads_the_same(size, data):
    """Issue 3: the official SDKs read the same bytes at split sizes 1, 7 and random: same text, tool calls,
    stop reason and usage."""
    theirs = as_the_sdk_reads(data, size)
    try:
        ours = folded(data, size)
    except Refused:
        assert theirs.stop_reason == "refusal"
        assert not any(block.text for block in theirs.content if block.type == "text")
    else:
        same(ours, theirs)


def outcome(data: bytes, size: int | None, seed: int = 0) -> object:
    try:
        return folded(data, size, seed)
    except EaiError as error:
        return type(error), str(error)


@settings(max_examples=150)
@given(data=streams(), seed=st.integers(0, 2**32))
def test_a_reply_is_the_same_wherever_its_bytes_are_split(data, seed):
    """Issue 3: any valid event stream, split anywhere, folds to the same response."""
    assert outcome(data, None, seed) == outcome(data, len(data)) == outcome(data, 1)


def survives(data: bytes) -> None:
    """What is answered can be kept, read again and sent back; or it is one of our errors."""
    try:
        message = folded(data).message
    except EaiError:
        return
    assert decode(json.loads(json.dumps(encode(message), allow_nan=False).encode())) == message
    wire.written(wire_messages(ModelRequest(messages=(message,)), model(), marked=True)).encode()


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
        st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["", "text", "\ud800", *STOPS])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "text", "error", "usage", "input"]), inner, max_size=2),
    ),
    max_leaves=4,
)  # fmt: skip


@st.composite
def twisted(draw: st.DrawFn) -> list[JsonObject]:
    """A reply some of whose values are of another kind, or are gone."""
    events: list[Any] = json.loads(json.dumps(draw(replies())))
    for _ in range(draw(st.integers(1, 4))):
        place = events[draw(st.integers(0, len(events) - 1))]
        while True:
            key = draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        place[key] = draw(anything)
    return events


@settings(max_examples=300)
@given(data=streams(twisted()))
def test_no_value_of_another_kind_does_either(data):
    survives(data)


@pytest.mark.parametrize("depth", [500, 900, 980, 990, 1_000, 100_000])
def test_no_depth_does_either(depth):
    nested = "[" * depth + "]" * depth
    for where in ('"text": %s', '"input": {"a": %s}', '"content": %s'):
        block = f'{{"type": "tool_use", "id": "a", "name": "b", {where % nested}}}'
        for kind in ("tool_use", "server_tool_use"):
            begun = f'{{"type": "content_block_start", "index": 0, "content_block": {block}}}'
            end = b'data: {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}\n\n'
            survives(f"data: {begun}\n\n".replace("tool_use", kind, 1).encode() + end)
