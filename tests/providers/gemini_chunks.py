"""The chunks of a Gemini reply as a test writes them down, and the adapter that is told them."""

import json
from typing import Any

import anyio
import pytest

from eai_mcp.calls import ModelResponse, StreamEvent
from eai_mcp.errors import CallError
from eai_mcp.providers import gemini
from eai_mcp.providers.http_call import HttpCall
from tests.providers.answering import HELLO, Answers, model, stream

USED = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}


def chunk(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk with these parts; `more` stands beside its candidate."""
    candidate: dict[str, Any] = {"index": 0}
    if parts:
        candidate["content"] = {"parts": [*parts], "role": "model"}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "wire-1", "responseId": "r1", **more}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"text": words, **more}


def thought(words: str, **more: Any) -> dict[str, Any]:
    return {"text": words, "thought": True, **more}


def tool(name: str, args: Any = None, **more: Any) -> dict[str, Any]:
    """A part that asks for a tool; an `id` goes into the call, the rest beside it."""
    own = {"id": more.pop("id")} if "id" in more else {}
    return {"functionCall": {"name": name, "args": args, **own}, **more}


def event(value: Any) -> bytes:
    """An event as Google's servers end it."""
    return f"data: {json.dumps(value)}\r\n\r\n".encode()


STOP = chunk(text(""), finish="STOP", usageMetadata=USED)


async def told(*chunks: Any, **fields: Any) -> tuple[ModelResponse, list[StreamEvent]]:
    """The response to these chunks, and what was heard."""
    heard: list[StreamEvent] = []

    async def hear(event: StreamEvent) -> None:
        heard.append(event)

    answers = Answers(
        stream(*[event(value) if isinstance(value, dict | list) else value for value in chunks])
    )
    with anyio.fail_after(5):
        return await call(answers, **fields)(HELLO, hear), heard


def call(answers: Answers, **fields: Any) -> HttpCall:
    """The adapter in front of `answers`, for a model with these fields."""
    client = answers.client()
    entry = model(provider="gemini", **fields)
    base = entry.base_url or "https://api.example/v1beta"
    return gemini.call(entry, lambda: client, base, lambda: "hunter2hunter2")


async def failure(kind: type[CallError], *chunks: Any) -> CallError:
    with pytest.raises(kind) as caught:
        await told(*chunks)
    assert type(caught.value) is kind
    return caught.value
