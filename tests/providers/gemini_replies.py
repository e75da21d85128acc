"""Whole replies of Gemini, made from its published schema, and the bytes of them."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from eai_mcp.calls import Stop, TextDelta
from eai_mcp.messages import JsonObject
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.gemini_stream import Reply
from eai_mcp.providers.sse import Decoder

STOPS: dict[str, Stop] = {
    "STOP": "end",
    "MAX_TOKENS": "length",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "LANGUAGE": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "IMAGE_SAFETY": "refusal",
}
BROKEN = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER")
ODD = ["\u2028", "\u2029", "\x85", "\r\n", "\n\n", "😀", "👩‍🚀", "data: ", "\0", '"', "\\", "é", "日本"]

words = st.one_of(st.sampled_from(ODD), st.text(max_size=8), st.just(""))
counts = st.integers(0, 10**6)
signatures = st.binary(min_size=1, max_size=6).map(lambda raw: base64.b64encode(raw).decode())
arguments = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.sampled_from(ODD)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)  # fmt: skip
usages: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"promptTokenCount": counts, "totalTokenCount": counts},
    optional={
        "candidatesTokenCount": counts,
        "thoughtsTokenCount": counts,
        "cachedContentTokenCount": counts,
        "promptTokensDetails": st.just([{"modality": "TEXT", "tokenCount": 1}]),
    },
)


@st.composite
def parts(draw: st.DrawFn, kind: str) -> JsonObject:
    signed: JsonObject = {"thoughtSignature": draw(signatures)} if draw(st.integers(0, 3)) == 0 else {}
    if kind == "text":
        return {"text": draw(words), **signed}
    if kind == "thought":
        return {"text": draw(words), "thought": True, **signed}
    if kind == "code":
        return {"executableCode": {"language": "PYTHON", "code": draw(words)}, **signed}
    call: dict[str, Any] = {"name": draw(st.sampled_from(["look", "find_it", "a-b"]))}
    own = draw(st.none() | st.uuids().map(str))
    call |= {"id": own} if own else {}
    given = draw(st.none() | arguments)
    call |= {"args": given} if given is not None else {}
    return {"functionCall": call, **signed}


@st.composite
def replies(draw: st.DrawFn) -> list[JsonObject]:
    """The chunks of a whole reply."""
    reason = draw(st.sampled_from(["STOP", "STOP", *STOPS, *BROKEN]))
    kinds = draw(st.lists(st.sampled_from(["thought", "text", "text", "code"]), max_size=6))
    kinds += ["call"] * draw(st.integers(0, 3))
    rest = [draw(parts(kind)) for kind in kinds]
    chunks: list[JsonObject] = []
    while rest:
        size = draw(st.integers(1, 3))
        taken, rest = rest[:size], rest[size:]
        candidate: Any = {"content": {"parts": [*taken], "role": "model"}, "index": 0}
        used: dict[str, Any] = {"usageMetadata": draw(usages)} if draw(st.booleans()) else {}
        chunks.append({"candidates": [candidate], **used, "modelVersion": "wire-1", "responseId": "r1"})
    last: dict[str, Any] = {"finishReason": reason, "index": 0}
    if draw(st.booleans()):
        ends: list[Any] = [{"parts": [{"text": ""}], "role": "model"}, {"role": "model"}, {}]
        last["content"] = draw(st.sampled_from(ends))
    chunks.append({"candidates": [last], "usageMetadata": draw(usages), "responseId": "r1"})
    if draw(st.booleans()):
        chunks.append({"usageMetadata": draw(usages), "responseId": "r1"})
    return chunks


@st.composite
def streams(draw: st.DrawFn, chunks: st.SearchStrategy[list[JsonObject]] | None = None) -> bytes:
    """The bytes of a whole reply; Google ends its events with CRLF."""
    line, escaped = draw(st.sampled_from(["\r\n", "\r\n", "\n"])), draw(st.booleans())
    written = [
        f"data: {json.dumps(chunk, ensure_ascii=escaped)}{line}{line}"
        for chunk in draw(replies() if chunks is None else chunks)
    ]
    return "".join(written).encode("utf-8", "replace")


def split(data: bytes, size: int | None, seed: int = 0) -> Iterator[bytes]:
    """The bytes in pieces of `size`, or of any."""
    chance, at = random.Random(seed), 0
    while at < len(data):
        step = size or chance.randint(1, 40)
        yield data[at : at + step]
        at += step


def folded(data: bytes, size: int | None = None, seed: int = 0) -> Any:
    """The response to these bytes, or one of our errors."""
    decoder, reply = Decoder(), Reply(Endpoint(model="m", host="h"))
    heard = ""
    for piece in split(data, size, seed):
        for event in decoder.feed(piece):
            heard += "".join(said.text for said in reply.take(event) if isinstance(said, TextDelta))
    for event in decoder.close():
        heard += "".join(said.text for said in reply.take(event) if isinstance(said, TextDelta))
    if not reply.is_finished:
        raise reply.broken("ended the stream before the reply was finished")
    assert heard == reply.text
    return reply.response(served_by="m", model="wire-1", warnings=())
