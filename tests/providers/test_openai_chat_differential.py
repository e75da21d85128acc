"""Whole replies of Chat Completions as OpenAI's own SDK reads them, and wherever their bytes are split.

The SDK misses a stream that was cut off, so those compared are whole. Its accumulator follows what OpenAI
itself sends; what it cannot follow is put together here, from the chunks as the SDK reads them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai as sdk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState

from eai_mcp.calls import ModelResponse, TextDelta, ThinkingDelta
from eai_mcp.errors import EaiError, Refused
from eai_mcp.messages import ProviderState, TextBlock, ThinkingBlock, ToolUseBlock, Usage
from tests.providers.openai_chat_replies import folded, openai_like, replies, streams
from tests.providers.openai_responses_replies import split


@dataclass(kw_only=True)
class Theirs:
    """A reply in the SDK's words; a call is its id, its name and the JSON of its input."""

    text: str = ""
    refusal: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    finish: str = ""
    usage: Any = None


def as_the_sdk_reads(data: bytes, size: int | None) -> Iterator[Any]:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=split(data, size))

    transport = httpx2.MockTransport(answer)
    with httpx2.Client(transport=transport) as http, sdk.OpenAI(api_key="k", http_client=http) as client:
        yield from client.chat.completions.create(
            model="wire-1", messages=[{"role": "user", "content": "hello"}], stream=True
        )


def accumulated(chunks: Iterator[Any]) -> Theirs:
    """The reply, put together by the SDK's own accumulator."""
    state, usage = ChatCompletionStreamState[None](), None
    for chunk in chunks:
        state.handle_chunk(chunk)
        usage = chunk.usage or usage  # a second finish_reason without it takes the accumulator's away
    (choice,) = state.current_completion_snapshot.choices  # the final one is refused at a limit
    message = choice.message
    calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []]
    return Theirs(
        text=message.content or "",
        refusal=message.refusal or "",
        thinking=thought_in(message),
        calls=tuple(calls),
        finish=choice.finish_reason,
        usage=usage,
    )


def gathered(chunks: Iterator[Any]) -> Theirs:
    """The reply, put together here from deltas of any dialect."""
    theirs, calls = Theirs(), dict[int, tuple[str, str, str]]()
    for chunk in chunks:
        theirs.usage = chunk.usage or theirs.usage
        for choice in chunk.choices:
            theirs.finish = choice.finish_reason or theirs.finish
            theirs.refusal += choice.delta.refusal or ""
            theirs.thinking += thought_in(choice.delta)
            said: Any = choice.delta.content or ""
            for part in said if isinstance(said, list) else [{"text": said}]:
                theirs.text += part.get("text", "")
                theirs.thinking += "".join(each["text"] for each in part.get("thinking", ()))
            for piece in choice.delta.tool_calls or []:
                is_next = piece.index is None and piece.id
                place = len(calls) - (not is_next) if piece.index is None else piece.index
                own, name, arguments = calls.get(place, ("", "", ""))
                calls[place] = (
                    own or piece.id,
                    name or piece.function.name,
                    arguments + piece.function.arguments,
                )
    theirs.calls = tuple(calls.values())
    return theirs


def thought_in(said: Any) -> str:
    return getattr(said, "reasoning_content", None) or getattr(said, "reasoning", None) or ""


def same(ours: ModelResponse, theirs: Theirs) -> None:
    calls = [(own, name, json.loads(said or "{}")) for own, name, said in theirs.calls]
    own: dict[type, list[Any]] = {TextBlock: [], ThinkingBlock: [], ToolUseBlock: []}
    for block in ours.message.content:
        own[type(block)].append(block)
    stop = stop_of(theirs)
    assert ours.stop == stop
    assert "".join(block.text for block in own[TextBlock]) == theirs.text + theirs.refusal
    assert "".join(block.text for block in own[ThinkingBlock]) == theirs.thinking
    assert ours.usage == as_usage(theirs.usage)
    if stop != "tools":
        assert (own[ToolUseBlock], len(ours.warnings)) == ([], bool(calls))
        return
    assert [(block.id, block.name, block.input) for block in own[ToolUseBlock]] == calls
    kept = ProviderState("openai_chat", "wire-1", {"reasoning_content": theirs.thinking})
    assert ours.message.state == kept


def stop_of(theirs: Theirs) -> str:
    if theirs.refusal or theirs.finish == "content_filter":
        return "refusal"
    return "length" if theirs.finish == "length" else "tools" if theirs.calls else "end"


def as_usage(used: Any) -> Usage:
    if used is None:
        return Usage()
    read, written = used.prompt_tokens_details, used.completion_tokens_details
    reasoning = written.reasoning_tokens if written else 0
    beside = used.total_tokens - used.prompt_tokens - used.completion_tokens
    return Usage(
        input=used.prompt_tokens,
        output=used.completion_tokens + beside,
        cache_read=(read.cached_tokens if read else 0) or getattr(used, "prompt_cache_hit_tokens", 0),
        cache_write=read.cache_write_tokens if read else 0,
        reasoning=reasoning,
    )


def compared(data: bytes, size: int | None, theirs: Theirs) -> None:
    try:
        ours, heard = folded(data, size)
    except Refused:
        assert (theirs.finish, theirs.text + theirs.refusal) == ("content_filter", "")
    else:
        same(ours, theirs)
        said = "".join(event.text for event in heard if isinstance(event, TextDelta))
        thought = "".join(event.text for event in heard if isinstance(event, ThinkingDelta))
        assert (said, thought) == (theirs.text + theirs.refusal, theirs.thinking)


@pytest.mark.parametrize("size", [1, 7, None])
@settings(max_examples=60)
@given(data=streams(replies(openai_like)))
def test_openais_own_accumulator_comes_to_the_same(size, data):
    """Issue 3: the official SDKs read the same bytes at split sizes 1, 7 and random: same text, tool calls,
    stop reason and usage."""
    compared(data, size, accumulated(as_the_sdk_reads(data, size)))


@pytest.mark.parametrize("size", [1, 7, None])
@settings(max_examples=60)
@given(data=streams())
def test_openais_own_sdk_reads_the_same_chunks_of_any_server(size, data):
    """Issue 3, each quirk a test case: whole tool calls, without an index, numbered from 1, with repeated
    ids and names that are empty; content in parts; reasoning under either name; usage in the last chunk,
    growing, or absent; finish_reason twice."""
    compared(data, size, gathered(as_the_sdk_reads(data, size)))


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
