"""boto3 and our adapter side by side: the same bytes read, the same request written and signed."""

import base64
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eai_mcp.calls import ModelRequest, ModelResponse, Samplers, ToolSpec, unheard
from eai_mcp.errors import Unavailable
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    user,
)
from eai_mcp.providers import adapter
from tests.providers.answering import Answers
from tests.providers.bedrock_bytes import (
    TYPE,
    answer,
    calls,
    cut,
    end,
    folded,
    model,
    parts,
    reply,
    start,
    stop,
    streams,
    text,
    thinking,
    usage,
)
from tests.providers.bedrock_signature import ACCESS, KEYS, SECRET, is_signed

boto3: Any = pytest.importorskip("boto3")
awsrequest: Any = pytest.importorskip("botocore.awsrequest")

REGION = "eu-west-1"
STOPS = {
    "end_turn": "end",
    "stop_sequence": "end",
    "tool_use": "tools",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


class Raw:
    """A body as urllib3 would hand it over."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def stream(self) -> Iterator[bytes]:
        yield from self._pieces

    def close(self) -> None:
        pass


class Sdk:
    """The real client, over answers that a test writes down."""

    def __init__(self) -> None:
        self.sent: Any = None
        self._pieces: list[bytes] = []
        self._client = boto3.client(
            "bedrock-runtime", region_name=REGION, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET
        )
        self._client.meta.events.register("before-send.bedrock-runtime", self._answer)

    @property
    def reasons(self) -> list[str]:
        """Each reason to stop in the schema that the client came with."""
        found: list[str] = self._client.meta.service_model.shape_for("StopReason").enum
        return found

    def _answer(self, request: Any, **_: object) -> object:
        self.sent = request
        return awsrequest.AWSResponse(request.url, 200, {"content-type": TYPE}, Raw(self._pieces))

    def ask(self, pieces: list[bytes], **given: Any) -> list[dict[str, Any]]:
        """The events that the client makes of these bytes."""
        self._pieces = pieces
        return list(self._client.converse_stream(**given)["stream"])


@pytest.fixture(scope="module")
def sdk():
    return Sdk()


def read_by_sdk(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the client's events come to: its users put them together by index."""
    words: dict[int, str] = defaultdict(str)
    thoughts: dict[int, str] = defaultdict(str)
    inputs: dict[int, str] = defaultdict(str)
    named: dict[int, tuple[str, str]] = {}
    found: dict[str, Any] = {}
    for event in events:
        if "contentBlockStart" in event:
            use = event["contentBlockStart"]["start"]["toolUse"]
            named[event["contentBlockStart"]["contentBlockIndex"]] = (use["toolUseId"], use["name"])
        if "contentBlockDelta" in event:
            index, delta = (
                event["contentBlockDelta"]["contentBlockIndex"],
                event["contentBlockDelta"]["delta"],
            )
            words[index] += delta.get("text", "")
            thoughts[index] += delta.get("reasoningContent", {}).get("text", "")
            inputs[index] += delta.get("toolUse", {}).get("input", "")
        found |= {key: event[key] for key in ("messageStop", "metadata") if key in event}
    why = STOPS[found["messageStop"]["stopReason"]]
    used = found["metadata"]["usage"]
    cached = (used.get("cacheReadInputTokens", 0), used.get("cacheWriteInputTokens", 0))
    tools = [(*who, json.loads(inputs[index] or "{}")) for index, who in named.items()]
    return {
        "text": [said for _, said in sorted(words.items()) if said],
        "thinking": [said for _, said in sorted(thoughts.items()) if said],
        "tools": tools if why == "tools" else [],
        "stop": why,
        "usage": (used["inputTokens"] + sum(cached), used["outputTokens"], *cached),
    }


def read_by_us(response: ModelResponse) -> dict[str, Any]:
    content, used = response.message.content, response.usage
    return {
        "text": [block.text for block in content if isinstance(block, TextBlock)],
        "thinking": [block.text for block in content if isinstance(block, ThinkingBlock)],
        "tools": [
            (block.id, block.name, block.input) for block in content if isinstance(block, ToolUseBlock)
        ],
        "stop": response.stop,
        "usage": (used.input, used.output, used.cache_read, used.cache_write),
    }


HELLO: dict[str, Any] = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hello"}]}]}


@settings(max_examples=80)
@given(streams(), st.randoms(use_true_random=False))
def test_the_sdk_reads_the_same_out_of_the_same_bytes(sdk, messages, random):
    """Issue 3: the official SDKs read the same bytes as our adapters, at split sizes 1, 7 and random."""
    whole = b"".join(messages)
    at = sorted(random.sample(range(len(whole)), 5))
    pieces = [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]

    for cuts in (cut(whole, 1), cut(whole, 7), pieces):
        assert read_by_us(folded(cuts)) == read_by_sdk(sdk.ask(cuts, **HELLO))


def test_every_reason_to_stop_of_the_schema_has_a_meaning(sdk):
    """Issue 3: same stop reason, for every one that is published."""
    meanings = {**STOPS, "guardrail_intervened": "refusal", "content_filtered": "refusal"}
    meanings |= dict.fromkeys(("malformed_model_output", "malformed_tool_use"), "broken")
    assert {*sdk.reasons} == {*meanings}

    for reason, meaning in meanings.items():
        whole = start() + text("a") + stop() + calls(1, "t", "add") + end(reason) + usage()
        (told,) = [event["messageStop"] for event in sdk.ask([whole], **HELLO) if "messageStop" in event]
        assert told["stopReason"] == reason
        try:
            read: str = folded([whole]).stop
        except Unavailable:
            read = "broken"
        assert read == ("tools" if meaning == "end" else meaning)  # there is a call in it


PNG = ImageBlock("image/png", base64.b64encode(b"picture").decode())
PDF = DocumentBlock("application/pdf", base64.b64encode(b"file").decode(), "a report.pdf")
ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"x": {"type": "number"}}})
QUIRKS = {"reasoning": "adaptive", "cache": True, "anthropic": True}


def conversation() -> ModelRequest:
    """One with everything in it that can be said."""
    said = folded(
        [
            thinking(0, text="Hm", signature=base64.b64encode(b"sign").decode()),
            thinking(1, redactedContent=base64.b64encode(b"seal").decode()),
            text("é\u2028", 2),
            calls(3, "t1", "add", '{"x": 1.5}'),
            end("tool_use"),
        ]
    ).message
    assert said.state is not None
    own = replace(said, state=replace(said.state, model="a/b:0"))
    results = user((ToolResultBlock("t1", (TextBlock("no"), PNG, PDF), failed=True), TextBlock("well?")))
    samplers = Samplers(
        temperature=0.0, top_p=1.0, top_k=5, max_tokens=100, stop_sequences=("x",), anthropic_beta=("b",),
        reasoning_effort="high",
    )  # fmt: skip
    messages = (user((TextBlock("look"), PNG, PDF)), own, results)
    return ModelRequest(messages=messages, system="be kind", tools=(ADD,), samplers=samplers)


def as_given(value: Any) -> Any:
    """The JSON as a user of the client would say it: with bytes where it has base64."""
    if isinstance(value, list):
        return [as_given(item) for item in value]
    if not isinstance(value, dict):
        return value
    blobs = ("bytes", "redactedContent")
    return {
        key: base64.b64decode(item) if key in blobs and isinstance(item, str) else as_given(item)
        for key, item in value.items()
    }


async def test_the_sdk_writes_and_signs_the_same_request(sdk):
    """Issue 3: the published schema, against which the client checks what it is given, is ours too."""
    answers = Answers(answer(reply()))
    entry = model(model="a/b:0", quirks=QUIRKS)
    with anyio.fail_after(10):
        await adapter(entry, parts(answers, AWS_REGION=REGION, **KEYS))(conversation(), unheard)
    (ours,) = answers.requests

    sdk.ask([reply()], modelId="a/b:0", **as_given(answers.bodies[0]))
    theirs = sdk.sent

    assert str(ours.url) == theirs.url
    assert answers.bodies[0] == json.loads(theirs.body)
    wanted = {
        name.lower(): value.decode() if isinstance(value, bytes) else value
        for name, value in theirs.headers.items()
    }
    wanted["host"] = urlsplit(theirs.url).netloc
    path = urlsplit(theirs.url).path
    assert is_signed(path, wanted, theirs.body, region=REGION)
    assert is_signed(path, ours.headers, ours.content, region=REGION)
    assert ours.headers["content-type"] == wanted["content-type"]
