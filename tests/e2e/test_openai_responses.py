"""The adapter against the embedded model's own /v1/responses: llama.cpp's server, written by others."""

import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import JsonValue

from eai_mcp.calls import Call, ModelRequest, Samplers, StreamEvent, TextDelta, ToolSpec, unheard
from eai_mcp.errors import AuthFailed, ContextOverflow
from eai_mcp.messages import (
    Message,
    ProviderState,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    user,
)
from eai_mcp.providers import http, local_child, openai_responses, weights
from eai_mcp.providers.local_server import Endpoint, Server
from tests.providers.answering import model

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs eai-mcp[local]"),
]

JAPAN = user("What is the capital of Japan?")
GREEDY = Samplers(temperature=0.0, max_tokens=64)
THOUGHT: JsonValue = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "I should look it up."}],
    "encrypted_content": "",
}
LOOKS: JsonValue = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with http.new_client() as client:
        yield client


@pytest.fixture
async def endpoint(cache: Path) -> AsyncIterator[Endpoint]:
    async def found(report: weights.Report) -> Path:
        return await weights.fetch(cache, report)

    def command(path: Path) -> Sequence[str]:
        return [sys.executable, "-P", local_child.__file__, str(path), "small", "8192", "tiny"]

    async with aclosing(Server("small", found, command)) as server:
        yield await server.endpoint(untold)


async def untold(text: str) -> None:
    pass


def call(client: httpx2.AsyncClient, endpoint: Endpoint, **fields: Any) -> Call:
    entry = model(provider="openai_responses", **{"samplers": GREEDY, **fields})
    return openai_responses.call(entry, lambda: client, endpoint.base_url, lambda: endpoint.key)


async def test_it_answers_streams_and_is_sent_the_history(client, endpoint):
    """Issue 3: contract tests against servers that nobody here wrote: the real embedded one for Responses."""
    heard: list[StreamEvent] = []

    async def hear(event: StreamEvent) -> None:
        heard.append(event)

    ask = call(client, endpoint)
    first = await ask(ModelRequest(messages=(JAPAN,), system="Answer in one sentence."), hear)
    assert "Tokyo" in first.message.text
    assert (first.stop, first.served_by, first.warnings) == ("end", "m", ())
    assert first.usage.input > 0 < first.usage.output
    assert "".join(event.text for event in heard if isinstance(event, TextDelta)) == first.message.text
    assert len(heard) > 1

    more = (JAPAN, first.message, user("And what language do they speak there?"))
    second = await ask(ModelRequest(messages=more), unheard)
    assert "Japan" in second.message.text
    assert second.usage.input > first.usage.input


async def test_a_limit_of_the_caller_is_kept_to(client, endpoint):
    cut = Samplers(max_tokens=2, temperature=0.0)
    response = await call(client, endpoint)(ModelRequest(messages=(JAPAN,), samplers=cut), unheard)

    # This server says "completed" of a reply that it cut off, so the stop is not told apart here.
    assert response.usage.output == 2


@pytest.mark.parametrize("state", [None, ProviderState("openai_responses", "wire-1", [THOUGHT, LOOKS])])
async def test_it_takes_tools_and_what_a_turn_with_tools_leaves_behind(client, endpoint, state):
    said = TextBlock("The capital is Tokyo.")
    turn = (
        JAPAN,
        Message("assistant", (ToolUseBlock("call_1", "look", {}),), state=state),
        user((ToolResultBlock("call_1", (said,)), TextBlock("What did it say?"))),
    )
    look = ToolSpec("look", "Looks a place up.", {"type": "object", "properties": {}})

    response = await call(client, endpoint)(ModelRequest(messages=turn, tools=(look,)), unheard)

    assert response.message.content
    assert response.usage.input > 0


async def test_a_key_in_the_wrong_place_is_refused(client, endpoint):
    short = ModelRequest(messages=(JAPAN,), samplers=Samplers(max_tokens=1))

    with pytest.raises(AuthFailed):
        await call(client, endpoint, quirks={"key_header": "api-key"})(short, unheard)


async def test_a_history_that_is_too_long_is_said_to_be_so(client, endpoint):
    with pytest.raises(ContextOverflow):
        await call(client, endpoint)(ModelRequest(messages=(user("word " * 9000),)), unheard)


def test_the_adapter_is_loaded_without_an_sdk():
    """Issue 3: import of `eai_mcp.providers` pulls in no vendor SDK."""
    code = "import sys, eai_mcp.providers.openai_responses; print('openai' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
