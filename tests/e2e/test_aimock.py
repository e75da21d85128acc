"""The adapters against a second server that nobody here wrote: all providers from one script."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx2
import pytest

from eai_mcp import providers
from eai_mcp.calls import Call, ModelRequest, TextDelta, ToolSpec, unheard
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import CallError, RateLimited, Unavailable
from eai_mcp.messages import Message, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, user
from eai_mcp.providers import Parts, http
from tests.e2e.aimock import ROOTS, aimock

TOOL = ToolSpec("look", "Looks.", {"type": "object", "properties": {"where": {"type": "string"}}})
LONG = "The quick brown fox jumps over the lazy dog. " * 4
TWICE = [{"name": "look", "arguments": {"where": where}} for where in ("ünder", "over")]
FIXTURES = [
    {
        "match": {"userMessage": "look", "toolName": "look", "hasToolResult": True},
        "response": {"content": "It is ünder."},
    },
    {"match": {"userMessage": "look", "toolName": "look"}, "response": {"toolCalls": TWICE}},
    {"match": {"userMessage": "think"}, "response": {"content": "So it is.", "reasoning": "Let me think."}},
    {
        "match": {"userMessage": "break"},
        "response": {"content": LONG},
        "truncateAfterChunks": 8,
        "latency": 10,
    },
    {
        "match": {"userMessage": "hurry"},
        "response": {"error": {"message": "Slow down", "type": "rate_limit_error"}, "status": 429},
    },
    {"match": {"userMessage": "hello"}, "response": {"content": LONG}},
]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with aimock(FIXTURES, tmp_path_factory.mktemp("aimock")) as url:
        yield url


@pytest.fixture(params=ROOTS)
async def call(base: str, request: pytest.FixtureRequest):
    model = Model(
        name="m",
        provider=request.param,
        model="wire-1",
        base_url=base + ROOTS[request.param],
        api_key_env="M_KEY",
        quirks={"region": "us-east-1"} if request.param == "bedrock" else {},
    )
    async with AsyncExitStack() as closing:
        client = await closing.enter_async_context(http.new_client())
        yield providers.adapter(
            model,
            Parts(environ={"M_KEY": "made-up-key"}, client=lambda: client, closing=closing, cache=Path()),
        )


async def test_text_is_streamed_whole(call: Call):
    """Issue 3: contract tests against `@copilotkit/aimock` for the shapes of all providers."""
    heard: list[str] = []

    async def listen(event: object) -> None:
        if isinstance(event, TextDelta):
            heard.append(event.text)

    with anyio.fail_after(20):
        response = await call(ModelRequest(messages=(user("hello"),), system="Be brief."), listen)

    assert (response.message.text.strip(), response.stop) == (LONG.strip(), "end")
    assert ("".join(heard), len(heard) > 2) == (response.message.text, True)


async def test_reasoning_stands_apart_from_the_words(call: Call):
    with anyio.fail_after(20):
        response = await call(ModelRequest(messages=(user("think"),)), unheard)

    (thought, words) = response.message.content
    assert isinstance(thought, ThinkingBlock)
    assert (thought.text, words) == ("Let me think.", TextBlock("So it is."))


async def test_two_tools_are_asked_for_and_their_results_taken(call: Call):
    question = user("look")
    with anyio.fail_after(20):
        first = await call(ModelRequest(messages=(question,), tools=(TOOL,)), unheard)
        uses = [block for block in first.message.content if isinstance(block, ToolUseBlock)]
        assert [(use.name, use.input) for use in uses] == [("look", each["arguments"]) for each in TWICE]
        assert first.stop == "tools"

        results = Message("user", tuple(ToolResultBlock(use.id, (TextBlock("ok"),)) for use in uses))
        messages = (question, first.message, results)
        second = await call(ModelRequest(messages=messages, tools=(TOOL,)), unheard)

    assert (second.message.text, second.stop) == ("It is ünder.", "end")


async def test_a_stream_that_is_cut_is_an_error_with_what_was_said(call: Call):
    with anyio.fail_after(20), pytest.raises(CallError) as caught:
        await call(ModelRequest(messages=(user("break"),)), unheard)

    assert type(caught.value) is Unavailable
    assert LONG.startswith(caught.value.partial)
    assert caught.value.partial


async def test_a_limit_is_told_with_the_wait(call: Call):
    with anyio.fail_after(20), pytest.raises(CallError) as caught:
        await call(ModelRequest(messages=(user("hurry"),)), unheard)

    assert type(caught.value) is RateLimited
    assert (caught.value.retryable, caught.value.retry_after_s is not None) == (True, True)
    assert "Slow down" in str(caught.value)


def test_the_server_saw_no_request_that_it_does_not_know(base: str):
    journal = httpx2.get(f"{base}/__aimock/journal", timeout=10).json()
    assert not [entry for entry in journal if entry.get("response", {}).get("status") == 404]
