"""Replies of ConverseStream as bytes: single messages, and whole streams made from the published schema."""

import base64
import json
import struct
import zlib
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
from hypothesis import strategies as st

from eai_mcp.calls import ModelResponse
from eai_mcp.catalog.entries import Model
from eai_mcp.providers import Parts
from eai_mcp.providers.bedrock_frames import FrameDecoder
from eai_mcp.providers.bedrock_stream import Reply
from eai_mcp.providers.failures import Endpoint
from tests.providers.answering import Answers, Bytes

TYPE = "application/vnd.amazon.eventstream"
HERE = Endpoint(model="m", host="api.example", key_env="M_KEY")


def message(headers: dict[str, str], payload: bytes = b"") -> bytes:
    """One event-stream message whose headers are all text."""
    return raw(b"".join(header(name, value) for name, value in headers.items()), payload)


def header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", 7, len(value.encode())) + value.encode()


def raw(block: bytes, payload: bytes = b"") -> bytes:
    """One message with this block of headers."""
    start = struct.pack(">II", len(block) + len(payload) + 16, len(block))
    whole = start + struct.pack(">I", zlib.crc32(start)) + block + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def event(name: str, payload: Any) -> bytes:
    data = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, data)


def exception(name: str, payload: Any) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, json.dumps(payload).encode())


def start() -> bytes:
    return event("messageStart", {"role": "assistant"})


def delta(index: int, **fields: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": fields, "p": "abcdefgh"})


def text(words: str, index: int = 0) -> bytes:
    return delta(index, text=words)


def thinking(index: int = 0, **fields: Any) -> bytes:
    return delta(index, reasoningContent=fields)


def calls(index: int, own_id: str, name: str, *pieces: str) -> bytes:
    """A whole call of a tool."""
    begun = {"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": own_id, "name": name}}}
    parts = [delta(index, toolUse={"input": piece}) for piece in pieces]
    return b"".join([event("contentBlockStart", begun), *parts, stop(index)])


def stop(index: int = 0) -> bytes:
    return event("contentBlockStop", {"contentBlockIndex": index})


def end(reason: str = "end_turn") -> bytes:
    return event("messageStop", {"stopReason": reason})


def usage(**counts: int) -> bytes:
    given = {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18, **counts}
    return event("metadata", {"usage": given, "metrics": {"latencyMs": 5}})


def reply(words: str = "hi") -> bytes:
    """A whole stream."""
    return start() + text(words) + stop() + end() + usage()


def answer(*pieces: bytes | Exception | None, **headers: str) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": TYPE, **headers}, stream=Bytes(pieces))


def model(**fields: Any) -> Model:
    return Model(**{"name": "m", "provider": "bedrock", "model": "maker.wire-1:0", **fields})


def parts(answers: Answers, **environ: str) -> Parts:
    client = answers.client()
    return Parts(environ=environ, client=lambda: client, closing=AsyncExitStack(), cache=Path())


def folded(pieces: Iterable[bytes], **options: Any) -> ModelResponse:
    """The response to these bytes, without any I/O; a reply that was not finished comes to an error."""
    decoder, built = FrameDecoder(), Reply(HERE, **options)
    for piece in pieces:
        for each in decoder.feed(piece):
            built.take(each)
    if not built.is_finished:
        raise built.broken("ended")
    return built.response(served_by="m", model="w", warnings=())


def cut(whole: bytes, size: int) -> list[bytes]:
    """The bytes in pieces of this size."""
    return [whole[at : at + size] for at in range(0, len(whole), size)]


# What a model may write: any text, and often what trips those who split lines or count UTF-16.
WORDS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(["", "\u2028", "\u0085 \r\n", "😀", '{"a":', "é́", "data: x\n\n"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=10)


@st.composite
def blocks(draw: Any, kind: str, index: int) -> list[bytes]:
    """One block as the service sends it."""
    if kind == "text":
        pieces = [text(words, index) for words in draw(st.lists(WORDS, max_size=4))]
    elif kind == "thinking":
        pieces = [thinking(index, text=words) for words in draw(st.lists(WORDS, max_size=3))]
        pieces += [thinking(index, signature=base64.b64encode(draw(st.binary(min_size=1))).decode())]
    elif kind == "sealed":
        pieces = [thinking(index, redactedContent=base64.b64encode(draw(st.binary(min_size=1))).decode())]
    else:
        written = json.dumps(draw(st.dictionaries(WORDS, JSON, max_size=3)), ensure_ascii=draw(st.booleans()))
        at = draw(st.integers(0, len(written)))
        inputs = draw(st.sampled_from([[written[:at], "", written[at:]], [written], []]))
        return [calls(index, f"tooluse_{index}", draw(NAMES), *inputs)]
    return [*pieces, stop(index)]


# What replies are made of: none, one and several of each, in the orders that are in use.
PLANS = st.sampled_from([
    "tool", "text tool", "tool tool", "thinking text tool tool tool", "sealed thinking tool text tool",
    "text", "thinking text", "sealed text text", "thinking", "",
])  # fmt: skip


@st.composite
def streams(draw: Any) -> list[bytes]:
    """The messages of a whole reply, of any content, end and usage."""
    plan = draw(PLANS).split()
    content = [piece for index, kind in enumerate(plan) for piece in draw(blocks(kind, index))]
    whole = ["tool_use"] if "tool" in plan else ["end_turn", "stop_sequence"]
    reason = draw(st.sampled_from([*whole * 3, "max_tokens", "model_context_window_exceeded"]))
    counts = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(CACHED, st.integers(0, 2**31 - 1))))
    odd = event("anythingNew", {"contentBlockIndex": 0})
    return [start(), odd, *content, end(reason), usage(**counts)]


CACHED = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")

# What a message may hold that is JSON, but not of the shape that it should have.
KEYS = st.one_of(
    st.sampled_from(["contentBlockIndex", "delta", "start", "toolUse", "text", "reasoningContent", "input"]),
    st.sampled_from(["toolUseId", "name", "signature", "redactedContent", "stopReason", "usage"]),
    st.sampled_from(["inputTokens", "message", "originalStatusCode", "anythingNew"]),
)
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
EVENTS = st.sampled_from(
    ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]
)
