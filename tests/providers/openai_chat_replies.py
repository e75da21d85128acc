"""Whole replies of Chat Completions, made from its schema and from what servers were seen to make of it."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from eai_mcp.calls import ModelResponse, StreamEvent
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.openai_chat_quirks import Quirks
from eai_mcp.providers.openai_chat_stream import Reply
from eai_mcp.providers.sse import Decoder
from tests.providers.openai_responses_replies import ODD, arguments, counts, cut, split

BACK = Quirks(reasoning_back="reasoning_content")
FINISHES = ["stop", "stop", "length", "tool_calls", "function_call", "content_filter"]
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "wire-1"}

pieces = st.lists(
    st.one_of(st.sampled_from([*ODD, "[DONE]", "data: [DONE]"]), st.text(max_size=8)), max_size=5
)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a server speaks.

    parts: content is a list of parts, with the reasoning in it. numbering: how pieces of tool calls are told
    apart. whole: a tool call comes in one chunk. blanks: later pieces repeat id and name as "".
    """

    parts: bool = False
    numbering: str = "from 0"
    whole: bool = False
    blanks: bool = False


openai_like = st.builds(Dialect, whole=st.booleans(), blanks=st.booleans())
"""Those that the accumulator of OpenAI's SDK follows."""

any_dialect = st.builds(
    Dialect,
    parts=st.booleans(),
    numbering=st.sampled_from(["from 0", "from 1", "not"]),
    whole=st.booleans(),
    blanks=st.booleans(),
)


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk as OpenAI sends it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**HEAD, "choices": [choice], "obfuscation": "xyz", **more}


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any] | None:
    """Usage, with the reasoning among the output's tokens or beside them; or none at all."""
    if draw(st.integers(0, 4)) == 0:
        return None
    read, written, reasoning = draw(counts), draw(counts), draw(counts)
    beside = reasoning if draw(st.booleans()) else 0
    used: dict[str, Any] = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written + beside,
    }
    if beside or draw(st.booleans()):
        used["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    cached = draw(st.sampled_from(["not", "details", "null", "deepseek"]))
    if cached == "details":
        used["prompt_tokens_details"] = {"cached_tokens": draw(counts), "cache_write_tokens": draw(counts)}
    elif cached == "null":
        used["prompt_tokens_details"] = None
    elif cached == "deepseek":
        used["prompt_cache_hit_tokens"] = draw(counts)
    return used


@st.composite
def thoughts(draw: st.DrawFn, dialect: Dialect) -> list[dict[str, Any]]:
    """The chunks of the reasoning, under the name that the server has for it."""
    said = draw(pieces)
    if dialect.parts:
        parts = [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]} for piece in said]
        return [chunk({"content": [part]}) for part in parts]
    name = draw(st.sampled_from(["reasoning_content", "reasoning"]))
    return [chunk({name: piece}) for piece in said]


@st.composite
def texts(draw: st.DrawFn, dialect: Dialect) -> list[dict[str, Any]]:
    """The chunks of the text, and at times of a refusal after it."""
    said = draw(pieces)
    if dialect.parts:
        return [chunk({"content": [{"type": "text", "text": piece}]}) for piece in said]
    declined = draw(st.sampled_from([[]] * 4 + [["I ", "can't."]]))
    return [
        *(chunk({"content": piece}) for piece in said),
        *(chunk({"refusal": piece}) for piece in declined),
    ]


@st.composite
def calls(draw: st.DrawFn, dialect: Dialect) -> list[dict[str, Any]]:
    """The chunks of tool calls; numbered ones may take turns."""
    queues = [draw(call(dialect, index)) for index in range(draw(st.integers(0, 3)))]
    turns = dialect.numbering != "not" and draw(st.booleans())
    return [
        chunk({"tool_calls": [piece]}) for piece in (in_turn(queues) if turns else itertools.chain(*queues))
    ]


@st.composite
def call(draw: st.DrawFn, dialect: Dialect, index: int) -> list[dict[str, Any]]:
    """The pieces of one tool call."""
    number = {"from 0": {"index": index}, "from 1": {"index": index + 1}, "not": {}}[dialect.numbering]
    given = draw(st.none() | arguments)
    said = "" if given is None else json.dumps(given, ensure_ascii=draw(st.booleans()))
    first, *later = [said] if dialect.whole else ["", *cut(said, draw(st.integers(1, 9)))]
    begun = {"name": draw(st.sampled_from(["look", "find_it", "a-b"])), "arguments": first}
    blank, no_name = ({"id": ""}, {"name": ""}) if dialect.blanks else ({}, {})
    return [
        {**number, "id": f"call_{index}", "type": "function", "function": begun},
        *({**number, **blank, "function": {**no_name, "arguments": piece}} for piece in later),
    ]


def in_turn(queues: Sequence[Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The first of each, the second of each, and so on."""
    return [piece for each in itertools.zip_longest(*queues) for piece in each if piece]


@st.composite
def replies(draw: st.DrawFn, dialects: st.SearchStrategy[Dialect] = any_dialect) -> list[dict[str, Any]]:
    """The chunks of a whole reply."""
    dialect, finish, used = draw(dialects), draw(st.sampled_from(FINISHES)), draw(usages())
    last, place = chunk({}, finish), draw(st.sampled_from(["own chunk", "last chunk", "growing"]))
    chunks = [
        *draw(st.sampled_from([[], [{**HEAD, "choices": [], "prompt_filter_results": [{}]}]])),
        chunk({"role": "assistant", "content": [] if dialect.parts else "", "refusal": None}),
        *draw(thoughts(dialect)),
        *draw(texts(dialect)),
        *draw(calls(dialect)),
        *[last] * draw(st.sampled_from([1, 1, 2])),
    ]
    if used and place == "own chunk":
        chunks = [*({**each, "usage": None} for each in chunks), {**HEAD, "choices": [], "usage": used}]
    elif used:
        chunks[-1] = {**chunks[-1], "usage": used}
    if used and place == "growing":
        so_far = {**used, "completion_tokens": used["completion_tokens"] // 2}
        chunks[:-1] = [{**each, "usage": so_far} for each in chunks[:-1]]
    return chunks


@st.composite
def streams(draw: st.DrawFn, chunks: st.SearchStrategy[list[dict[str, Any]]] | None = None) -> bytes:
    """The bytes of a whole reply, as different servers would write them."""
    line, space = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from([" ", ""]))
    pause = draw(st.sampled_from(["", f": OPENROUTER PROCESSING{line}{line}", f":{line}"]))
    escaped = draw(st.booleans())
    sent = draw(replies() if chunks is None else chunks)
    frames = [json.dumps(each, ensure_ascii=escaped) for each in sent]
    frames += draw(st.sampled_from([["[DONE]"], []]))
    written = "".join(f"{pause}data:{space}{frame}{line}{line}" for frame in frames)
    return written.encode("utf-8", "replace")


def folded(
    data: bytes, size: int | None = None, seed: int = 0, *, quirks: Quirks = BACK
) -> tuple[ModelResponse, list[StreamEvent]]:
    """The response that the bytes come to, and what was heard."""
    decoder, reply = Decoder(), Reply(Endpoint(model="m", host="h"), quirks)
    heard: list[StreamEvent] = []
    for piece in split(data, size, seed):
        for event in decoder.feed(piece):
            heard += reply.take(event)
    for event in decoder.close():
        heard += reply.take(event)
    if not reply.is_finished:
        raise reply.broken("ended the stream before the reply was finished")
    return reply.response(served_by="m", model="wire-1", warnings=()), heard
