"""Whole replies of Responses as OpenAI's own SDK reads them, and wherever their bytes are split.

The SDK misses a stream that was cut off, so those compared are whole.
"""

import json
from typing import Any

import httpx2
import openai as sdk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eai_mcp import wire
from eai_mcp.calls import ModelResponse, TextDelta
from eai_mcp.errors import CallError, EaiError, Refused
from eai_mcp.messages import TextBlock, ThinkingBlock, ToolUseBlock, Usage
from tests.providers.openai_responses_replies import folded, replies, split, streams, written


def as_the_sdk_reads(data: bytes, size: int | None) -> Any:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=split(data, size))

    found = None
    transport = httpx2.MockTransport(answer)
    with (
        httpx2.Client(transport=transport) as http,
        sdk.OpenAI(api_key="k", http_client=http) as client,
        client.responses.stream(model="wire-1", input="hello") as stream,
    ):
        for event in stream:
            found = getattr(event, "response", None) or found
    return found


def texts_of(items: list[Any]) -> list[str]:
    said = ["".join(part.text if part.type == "output_text" else part.refusal for part in item.content)
            for item in items if item.type == "message"]  # fmt: skip
    return [words for words in said if words]


def theirs_said(theirs: Any) -> str:
    return "".join(texts_of(theirs.output))


def thoughts_of(items: list[Any]) -> list[str]:
    summaries = [
        [part.text for part in item.summary if part.text] for item in items if item.type == "reasoning"
    ]
    return ["\n\n".join(texts) for texts in summaries if texts]


def same(ours: ModelResponse, theirs: Any) -> None:
    own: dict[type, list[Any]] = {TextBlock: [], ThinkingBlock: [], ToolUseBlock: []}
    for block in ours.message.content:
        own[type(block)].append(block)
    assert [block.text for block in own[TextBlock]] == texts_of(theirs.output)
    called = [
        (item.call_id, item.name, json.loads(item.arguments))
        for item in theirs.output
        if item.type == "function_call"
    ]
    stop = stop_of(theirs, called=bool(called))
    assert ours.stop == stop
    assert ours.usage == as_usage(theirs.usage)
    if called and stop != "tools":
        assert (own[ToolUseBlock], len(ours.warnings)) == ([], 1)
        return
    assert [block.text for block in own[ThinkingBlock]] == thoughts_of(theirs.output)
    assert [(block.id, block.name, block.input) for block in own[ToolUseBlock]] == called
    same_sealed(ours, theirs)


def same_sealed(ours: ModelResponse, theirs: Any) -> None:
    """What goes back is the SDK's items, in their order, save a thought without anything after it."""
    items = list(theirs.output)
    while items and items[-1].type == "reasoning":
        items.pop()
    thoughts = [item for item in items if item.type == "reasoning"]
    if ours.message.state is None or not all(item.encrypted_content for item in thoughts):
        return
    kept = [wire.fields(item) for item in wire.items(ours.message.state.data)]
    assert [(item["type"], item["id"]) for item in kept] == [(item.type, item.id) for item in items]
    sealed = [item["encrypted_content"] for item in kept if item["type"] == "reasoning"]
    assert sealed == [item.encrypted_content for item in thoughts]


def stop_of(theirs: Any, *, called: bool) -> str:
    if theirs.status == "incomplete":
        return "refusal" if theirs.incomplete_details.reason == "content_filter" else "length"
    parts = [part for item in theirs.output if item.type == "message" for part in item.content]
    if any(part.type == "refusal" and part.refusal for part in parts):
        return "refusal"
    return "tools" if called else "end"


def as_usage(used: Any) -> Usage:
    if used is None:
        return Usage()
    return Usage(
        input=used.input_tokens,
        output=used.output_tokens,
        cache_read=used.input_tokens_details.cached_tokens,
        cache_write=used.input_tokens_details.cache_write_tokens,
        reasoning=used.output_tokens_details.reasoning_tokens,
    )


@pytest.mark.parametrize("size", [1, 7, None])
@settings(max_examples=60)
@given(data=streams())
def test_openais_own_sdk_reads_the_same(size, data):
    """Issue 3: the official SDKs read the same bytes at split sizes 1, 7 and random: same text, tool calls,
    stop reason and usage."""
    theirs = as_the_sdk_reads(data, size)
    try:
        ours, heard = folded(data, size)
    except Refused:
        assert theirs.status == "failed" or not texts_of(theirs.output)
        assert theirs.status != "failed" or theirs.error.code == "bio_policy"
    except CallError:
        assert (theirs.status, theirs.error.code) == ("failed", "server_error")
    else:
        same(ours, theirs)
        assert "".join(event.text for event in heard if isinstance(event, TextDelta)) == theirs_said(theirs)


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


@settings(max_examples=150)
@given(events=replies())
def test_the_pieces_alone_say_as_much_as_what_comes_whole_in_the_end(events):
    """Issue 3: the answer is in the terminal event; where its `output` is empty, in what came before."""
    *before, last = events
    last["response"] |= {"status": "completed", "output": []}
    pieces = [event for event in before if event["type"] != "response.output_item.done"]
    items = [event["item"] for event in before if event["type"] == "response.output_item.done"]
    whole = {**last, "type": "response.completed", "response": {**last["response"], "output": items}}

    grown = outcome(written([*pieces, {**last, "type": "response.completed"}]), None)
    repeated = outcome(written([*pieces, whole]), None)
    assert said_in(grown) == said_in(repeated)


def said_in(found: object) -> object:
    """What was heard, and our blocks; what goes back may differ, as a thought is whole at its end only."""
    match found:
        case (ModelResponse() as response, heard):
            return response.message.content, response.stop, response.usage, heard
        case _:
            return found
