"""The adapters against a server that nobody here wrote, which breaks on demand and judges its clients.

What it expects of retries stands in test_resilience.py: here one call is one attempt.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from eai_mcp import providers
from eai_mcp.calls import Call, ModelRequest, TextDelta, ToolSpec, unheard
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import AuthFailed, CallError, RateLimited, Rejected, Unavailable
from eai_mcp.messages import ToolUseBlock, user
from eai_mcp.providers import Parts, http
from tests.e2e.broken_provider import ROOTS, Broken, running

LONG = "The quick brown fox jumps over the lazy dog. " * 5
HELLO = ModelRequest(messages=(user("hello"),))
TOOL = ToolSpec("look", "Looks.", {"type": "object", "properties": {"where": {"type": "string"}}})

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=[name for name in ROOTS if name in providers.BUILT_IN])
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with running() as base:
        yield base


class Asked:
    """The server, told what to do with the next request, and the adapter in front of it."""

    def __init__(self, broken: Broken, call: Call) -> None:
        self.call = call
        self._broken = broken

    async def next(self, **behavior: Any) -> None:
        spoken = [] if behavior["type"] in ("reply", "tool_fault") else [{"type": "reply", "text": LONG}]
        await self._broken.next(*spoken, behavior)

    async def findings(self) -> list[str]:
        return [finding["code"] for finding in (await self._broken.verdict())["findings"]]

    async def failure(self, kind: type[CallError]) -> CallError:
        with anyio.fail_after(20), pytest.raises(CallError) as caught:
            await self.call(HELLO, unheard)
        assert type(caught.value) is kind
        return caught.value


@pytest.fixture
async def server(base, provider):
    model = Model(
        name="m", provider=provider, model="mock-1", base_url=base + ROOTS[provider], api_key_env="M_KEY"
    )
    async with AsyncExitStack() as closing:
        client = await closing.enter_async_context(http.new_client())
        parts = Parts(
            environ={"M_KEY": "made-up-key"}, client=lambda: client, closing=closing, cache=Path("unused")
        )
        yield Asked(Broken(base, client), providers.adapter(model, parts))


async def test_a_reply_is_streamed_whole_and_the_verdict_is_clean(server):
    """Issue 3: contract tests against `llmock` (plain, streamed; its verdict clean)."""
    heard: list[str] = []

    async def listen(event: object) -> None:
        if isinstance(event, TextDelta):
            heard.append(event.text)

    await server.next(type="delay", seconds=0)
    with anyio.fail_after(20):
        response = await server.call(HELLO, listen)

    assert response.message.text.strip() == LONG.strip()
    assert "".join(heard) == response.message.text
    assert (response.stop, len(heard) > 1, response.usage.output > 0) == ("end", True, True)
    assert await server.findings() == []


async def test_a_tool_is_asked_for(server):
    calls = [{"name": "look", "arguments": {"where": "ünder"}}]
    await server.next(type="reply", tool_calls=calls)
    with anyio.fail_after(20):
        response = await server.call(ModelRequest(messages=HELLO.messages, tools=(TOOL,)), unheard)

    (use,) = [block for block in response.message.content if isinstance(block, ToolUseBlock)]
    assert (use.name, use.input, response.stop) == ("look", {"where": "ünder"}, "tools")
    assert await server.findings() == []


async def test_tool_input_that_is_not_json_is_kept_to_be_told_to_the_model(server):
    await server.next(type="tool_fault", kind="malformed_arguments")
    with anyio.fail_after(20):
        response = await server.call(ModelRequest(messages=HELLO.messages, tools=(TOOL,)), unheard)

    assert response.stop == "tools"


@pytest.mark.parametrize(
    ("status", "kind", "retry_after_s"),
    [
        (400, Rejected, None),
        (401, AuthFailed, None),
        (429, RateLimited, 3),
        (500, Unavailable, None),
        (503, Unavailable, 2),
        (529, Unavailable, 2),
    ],
)
async def test_statuses_are_told_apart(server, status, kind, retry_after_s):
    """Issue 3: contract tests against `llmock` (429 with Retry-After, 529)."""
    await server.next(type="fail", status=status, retry_after=retry_after_s)
    error = await server.failure(kind)

    assert (error.details["status"], error.retryable) == (status, status >= 429)
    assert error.retry_after_s == retry_after_s


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_a_stream_that_breaks_is_an_error_with_what_was_said(server, kind):
    """Issue 3: contract tests against `llmock` (disconnect, truncation, corrupt chunk)."""
    await server.next(type="stream_fault", kind=kind, after_chunks=7)
    error = await server.failure(Unavailable)

    assert error.retryable
    assert error.partial, kind
    assert "accepted_truncated" not in " ".join(await server.findings())


async def test_a_deadline_ends_a_stream_that_stalls(server):
    await server.next(type="stream_fault", kind="stall", after_chunks=3, stall_seconds=30)
    request = ModelRequest(messages=HELLO.messages, deadline=anyio.current_time() + 1)
    with anyio.fail_after(10), pytest.raises(CallError) as caught:
        await server.call(request, unheard)

    assert caught.value.code == "timeout"
