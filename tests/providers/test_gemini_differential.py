"""Google's own SDK reads the same bytes as the adapter.

It hands out chunks and puts nothing together, so that is done here, in the simplest way there is.
"""

import base64
import json
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from eai_mcp.calls import ModelResponse
from eai_mcp.errors import EaiError, Refused, Unavailable
from eai_mcp.messages import TextBlock, ThinkingBlock, ToolUseBlock, Usage
from tests.providers.gemini_replies import BROKEN, STOPS, folded, split, streams


@pytest.fixture(scope="module")
def sdk():
    """Reads the bytes that are put into `answers`."""
    answers: list[httpx2.Response] = []
    transport = httpx2.MockTransport(lambda _: answers.pop())
    with httpx2.Client(transport=transport) as client:
        options = types.HttpOptions(httpx_client=client)
        with genai.Client(api_key="k", http_options=options) as reader:

            def read(data: bytes, size: int | None) -> list[Any]:
                headers = {"content-type": "text/event-stream"}
                answers.append(httpx2.Response(200, headers=headers, content=split(data, size)))
                return [*reader.models.generate_content_stream(model="wire-1", contents="hello")]

            yield read


def parts_of(chunks: list[Any]) -> list[Any]:
    contents = [chunk.candidates[0].content for chunk in chunks if chunk.candidates]
    return [part for content in contents if content for part in content.parts or []]


def reason_of(chunks: list[Any]) -> str:
    ends = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    return str([end.value for end in ends if end][-1])


def usage_of(chunks: list[Any]) -> Usage:
    used = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata][-1]
    thoughts = used.thoughts_token_count or 0
    return Usage(
        input=used.prompt_token_count,
        output=(used.candidates_token_count or 0) + thoughts,
        cache_read=used.cached_content_token_count or 0,
        reasoning=thoughts,
    )


def same(ours: ModelResponse, chunks: list[Any]) -> None:
    own: dict[type, list[Any]] = {TextBlock: [], ThinkingBlock: [], ToolUseBlock: []}
    for block in ours.message.content:
        own[type(block)].append(block)
    theirs = parts_of(chunks)
    for kind, is_thought in ((TextBlock, False), (ThinkingBlock, True)):
        said = [part.text for part in theirs if part.text and bool(part.thought) is is_thought]
        assert "".join(block.text for block in own[kind]) == "".join(said)
    calls = [part.function_call for part in theirs if part.function_call]
    stop = STOPS[reason_of(chunks)]
    if calls and stop != "end":
        assert own[ToolUseBlock] == []
    else:
        stop = "tools" if calls else stop
        assert [(use.name, use.input) for use in own[ToolUseBlock]] == [(c.name, c.args or {}) for c in calls]
        for use, call in zip(own[ToolUseBlock], calls, strict=True):
            assert use.id == call.id or (use.id and not call.id)
    assert (ours.stop, ours.usage) == (stop, usage_of(chunks))


def signed(parts: list[Any]) -> list[tuple[bytes, str]]:
    """Each signature, and what it stands on."""
    return [
        (part["thoughtSignature"], part.get("text") or wire_name(part))
        for part in parts
        if part.get("thoughtSignature")
    ]


def wire_name(part: Any) -> str:
    return str(part.get("functionCall", {}).get("name") or part.get("executableCode", {}).get("code", ""))


@pytest.mark.parametrize("size", [1, 7, None])
@settings(max_examples=60)
@given(data=streams())
def test_googles_own_sdk_reads_the_same(sdk, size, data):
    """Issue 3: the official SDKs read the same bytes at split sizes 1, 7 and random: same text, tool calls,
    stop reason and usage."""
    theirs = sdk(data, size)
    reason = reason_of(theirs)
    try:
        ours = folded(data, size)
    except Refused:
        assert STOPS[reason] == "refusal"
        assert not any(part.text for part in parts_of(theirs) if not part.thought)
    except Unavailable:
        assert reason in BROKEN
    else:
        same(ours, theirs)


@settings(max_examples=60)
@given(data=streams())
def test_each_signature_stays_on_the_part_on_which_the_sdk_sees_it(sdk, data):
    """Issue 3: reasoning that goes back unchanged in tool turns (`thoughtSignature`)."""
    try:
        ours = folded(data)
    except EaiError:
        return
    if ours.stop not in ("end", "tools"):
        return
    theirs = [
        part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in parts_of(sdk(data, None))
    ]
    for part in theirs:
        if "thoughtSignature" in part:  # the SDK writes bytes in the other alphabet
            raw = base64.urlsafe_b64decode(part["thoughtSignature"])
            part["thoughtSignature"] = base64.b64encode(raw).decode()
    kept: Any = ours.message.state.data if ours.message.state else []
    assert signed(kept) == signed(theirs)


def outcome(data: bytes, size: int | None, seed: int = 0) -> object:
    """Without the ids, of which some are made up."""
    try:
        response = folded(data, size, seed)
    except EaiError as error:
        return type(error), str(error)
    blocks = [
        (block.name, json.dumps(block.input)) if isinstance(block, ToolUseBlock) else block
        for block in response.message.content
    ]
    return blocks, response.message.state, response.stop, response.usage, response.warnings


@settings(max_examples=150)
@given(data=streams(), seed=st.integers(0, 2**32))
def test_a_reply_is_the_same_wherever_its_bytes_are_split(data, seed):
    """Issue 3: any valid event stream, split anywhere, folds to the same response."""
    assert outcome(data, None, seed) == outcome(data, len(data)) == outcome(data, 1)
