"""The events of Anthropic Messages as a test writes them down, and the adapter that is told them."""

from typing import Any

import anyio
import pytest

from eai_mcp.calls import ModelResponse, StreamEvent
from eai_mcp.errors import CallError
from eai_mcp.providers import anthropic
from eai_mcp.providers.http_call import HttpCall
from tests.providers.answering import HELLO, Answers, event, model, stream

STOP = {"type": "message_stop"}
USED = {"input_tokens": 11, "output_tokens": 1}


def named(value: dict[str, Any]) -> bytes:
    return event(value, value["type"])


def start(**usage: Any) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
    }
    return {"type": "message_start", "message": {**message, "usage": {**USED, **usage}}}


def begin(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def delta(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **fields}}


def end(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def text(words: str, index: int = 0) -> list[dict[str, Any]]:
    return [begin("text", index, text=""), delta("text", index, text=words), end(index)]


def tool(
    name: str, *pieces: str, index: int = 0, own: str = "toolu_1", **fields: Any
) -> list[dict[str, Any]]:
    added = [delta("input_json", index, partial_json=piece) for piece in pieces]
    return [begin("tool_use", index, id=own, name=name, **{"input": {}, **fields}), *added, end(index)]


def finish(reason: str | None = "end_turn", *, usage: Any = None, **fields: Any) -> dict[str, Any]:
    said = {"stop_reason": reason, "stop_sequence": None, **fields}
    return {"type": "message_delta", "delta": said, "usage": {"output_tokens": 7, **(usage or {})}}


async def told(*events: Any, raw: bool = False, **fields: Any) -> tuple[ModelResponse, list[StreamEvent]]:
    """The response to these events, and what was heard; with `raw` nothing is put round them."""
    heard: list[StreamEvent] = []

    async def hear(event: StreamEvent) -> None:
        heard.append(event)

    around = events if raw else (start(), *events, STOP)
    answers = Answers(stream(*[named(value) if isinstance(value, dict) else value for value in around]))
    with anyio.fail_after(5):
        return await call(answers, **fields)(HELLO, hear), heard


def call(answers: Answers, **fields: Any) -> HttpCall:
    """The adapter in front of `answers`, for a model with these fields."""
    client = answers.client()
    return anthropic.call(model(**fields), lambda: client, "https://api.example", lambda: "hunter2hunter2")


async def failure(kind: type[CallError], *events: Any) -> CallError:
    with pytest.raises(kind) as caught:
        await told(*events, raw=True)
    assert type(caught.value) is kind
    return caught.value
