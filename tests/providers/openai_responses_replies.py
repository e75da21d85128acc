"""Whole replies of Responses, made from its schema, and their bytes."""

import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from eai_mcp.calls import ModelResponse, StreamEvent
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.openai_responses_stream import Reply
from eai_mcp.providers.sse import Decoder

STATUSES = ["completed", "completed", "completed", "max_output_tokens", "content_filter", "failed"]
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
usages = st.none() | st.fixed_dictionaries(
    {
        "input_tokens": counts,
        "input_tokens_details": st.fixed_dictionaries(
            {"cached_tokens": counts, "cache_write_tokens": counts}
        ),
        "output_tokens": counts,
        "output_tokens_details": st.fixed_dictionaries({"reasoning_tokens": counts}),
        "total_tokens": counts,
    }
)


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def item_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The item as it is in the end."""
    item: dict[str, Any] = events[-1]["item"]
    return item


def parts_of(
    kind: str, place: dict[str, Any], said: list[str], at: int, number: str = "content_index"
) -> list[dict[str, Any]]:
    """The events of one part of an item, without its announcement."""
    here = {**place, number: at}
    deltas = [
        {"type": f"response.{kind}.delta", **here, "delta": piece, "obfuscation": "x"} for piece in said
    ]
    return [*deltas, {"type": f"response.{kind}.done", **here, "text": "".join(said)}]


@st.composite
def messages(draw: st.DrawFn, index: int) -> list[dict[str, Any]]:
    """The events of a message."""
    phase: dict[str, Any] = draw(
        st.sampled_from([{}, {"phase": None}, {"phase": "commentary"}, {"phase": "final_answer"}])
    )
    item = {"type": "message", "id": f"msg_{index}", "role": "assistant", **phase}
    place = {"item_id": item["id"], "output_index": index}
    events: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    for at, kind in enumerate(draw(st.lists(st.sampled_from(["output_text"] * 4 + ["refusal"]), max_size=2))):
        said, name = draw(pieces), "text" if kind == "output_text" else "refusal"
        begun: dict[str, Any] = {"type": kind, name: ""}
        if name == "text":
            begun |= {"annotations": [], "logprobs": []}
        content.append({**begun, name: "".join(said)})
        events.append({"type": "response.content_part.added", **place, "content_index": at, "part": begun})
        events += parts_of(kind, place, said, at)
        events.append(
            {"type": "response.content_part.done", **place, "content_index": at, "part": content[-1]}
        )
    whole = {**item, "status": "completed", "content": content}
    return around(index, {**item, "status": "in_progress", "content": []}, events, whole)


@st.composite
def thoughts(draw: st.DrawFn, index: int) -> list[dict[str, Any]]:
    """The events of a reasoning item."""
    item = {"type": "reasoning", "id": f"rs_{index}"}
    place = {"item_id": item["id"], "output_index": index}
    events: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    for at, said in enumerate(draw(st.lists(pieces, max_size=2))):
        summary.append({"type": "summary_text", "text": "".join(said)})
        events += parts_of("reasoning_summary_text", place, said, at, "summary_index")
    sealed = draw(st.sampled_from([f"sealed{index}"] * 4 + [None]))
    whole = {**item, "summary": summary, "encrypted_content": sealed}
    return around(index, {**item, "summary": [], "encrypted_content": "part"}, events, whole)


@st.composite
def calls(draw: st.DrawFn, index: int) -> list[dict[str, Any]]:
    """The events of a function call."""
    name = draw(st.sampled_from(["look", "find_it", "a-b"]))
    said = json.dumps(draw(arguments), ensure_ascii=draw(st.booleans()))
    item = {"type": "function_call", "id": f"fc_{index}", "call_id": f"call_{index}", "name": name}
    place = {"item_id": item["id"], "output_index": index}
    kind = "response.function_call_arguments"
    events: list[dict[str, Any]] = [
        {"type": f"{kind}.delta", **place, "delta": piece}
        for piece in ["", *cut(said, draw(st.integers(1, 9)))]
    ]
    events.append({"type": f"{kind}.done", **place, "arguments": said, "name": name})
    begun = {**item, "status": "in_progress", "arguments": ""}
    return around(index, begun, events, {**item, "status": "completed", "arguments": said})


def around(index: int, begun: Any, events: list[dict[str, Any]], whole: Any) -> list[dict[str, Any]]:
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *events,
        {"type": "response.output_item.done", "output_index": index, "item": whole},
    ]


@st.composite
def replies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The events of a whole reply."""
    makers = st.lists(st.sampled_from([messages, messages, thoughts, calls]), max_size=4)
    items = [draw(maker(index)) for index, maker in enumerate(draw(makers))]
    status = draw(st.sampled_from(STATUSES))
    response: dict[str, Any] = {"id": "resp_1", "object": "response", "created_at": 1, "model": "wire-1"}
    response |= {
        "error": None,
        "incomplete_details": None,
        "tools": [],
        "tool_choice": "auto",
        "metadata": {},
    }
    output = draw(st.sampled_from([[item_of(events) for events in items]] * 3 + [None]))
    last = {**response, "output": output, "usage": draw(usages), "status": status}
    if status == "failed":
        last["error"] = {"code": draw(st.sampled_from(["server_error", "bio_policy"])), "message": "boom"}
    elif status != "completed":
        last |= {"status": "incomplete", "incomplete_details": {"reason": status}}
    begun = {**response, "output": [], "status": "in_progress", "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *[event for own in items for event in own],
        {"type": f"response.{last['status']}", "response": last},
    ]
    for at in draw(st.lists(st.integers(1, len(events) - 1), max_size=3)):
        events.insert(at, {"type": "keepalive"})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


@st.composite
def streams(draw: st.DrawFn, events: st.SearchStrategy[list[dict[str, Any]]] | None = None) -> bytes:
    """The bytes of a whole reply, as different servers would write them."""
    line, escaped = draw(st.sampled_from(["\n", "\r\n"])), draw(st.booleans())
    return written(draw(replies() if events is None else events), line=line, escaped=escaped)


def written(events: list[dict[str, Any]], *, line: str = "\n", escaped: bool = False) -> bytes:
    """The events as bytes."""
    lines = []
    for event in events:
        data = json.dumps(event, ensure_ascii=escaped)
        lines.append(f"event: {event.get('type')}{line}data: {data}{line}{line}")
    return "".join(lines).encode("utf-8", "replace")


def split(data: bytes, size: int | None, seed: int = 0) -> Iterator[bytes]:
    """The bytes in pieces of `size`, or of any."""
    chance, at = random.Random(seed), 0
    while at < len(data):
        step = size or chance.randint(1, 40)
        yield data[at : at + step]
        at += step


def folded(data: bytes, size: int | None = None, seed: int = 0) -> tuple[ModelResponse, list[StreamEvent]]:
    """The response that the bytes come to, and what was heard."""
    decoder, reply = Decoder(), Reply(Endpoint(model="m", host="h"))
    heard: list[StreamEvent] = []
    for piece in split(data, size, seed):
        for event in decoder.feed(piece):
            heard += reply.take(event)
    for event in decoder.close():
        heard += reply.take(event)
    if not reply.is_finished:
        raise reply.broken("ended the stream before the reply was finished")
    return reply.response(served_by="m", model="wire-1", warnings=()), heard
