"""Replies of Responses, written down event by event."""

from collections.abc import Mapping
from typing import Any

import anyio
import httpx2

from eai_mcp.calls import ModelRequest, ModelResponse, StreamEvent
from eai_mcp.providers import openai_responses
from eai_mcp.providers.http_call import HttpCall
from tests.providers.answering import HELLO, Answers, event, model, stream

USED = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 18,
}


def entry(**fields: Any) -> Any:
    """A model of the catalog that is asked over Responses."""
    return model(**{"provider": "openai_responses", **fields})


def call(answers: Answers, **fields: Any) -> HttpCall:
    """The adapter in front of `answers`, for a model with these fields."""
    client = answers.client()
    asked = entry(**fields)
    base_url = asked.base_url or "https://api.example/v1"
    return openai_responses.call(asked, lambda: client, base_url, lambda: "hunter2hunter2")


def message(*texts: str, **more: Any) -> dict[str, Any]:
    """A message item that says the texts."""
    parts = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    fields = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return {**fields, "content": parts, **more}


def declined(words: str) -> dict[str, Any]:
    """A message item that is a refusal."""
    return message(content=[{"type": "refusal", "refusal": words}])


def thought(*summary: str, sealed: str | None = "sealed", **more: Any) -> dict[str, Any]:
    """A reasoning item; `sealed` is its encrypted content."""
    parts = [{"type": "summary_text", "text": text} for text in summary]
    return {"type": "reasoning", "id": "rs_1", "summary": parts, "encrypted_content": sealed, **more}


def use(name: str = "look", arguments: Any = "{}", call_id: str = "call_1", **more: Any) -> dict[str, Any]:
    """A function call item."""
    fields = {"type": "function_call", "id": f"fc_{call_id}", "status": "completed"}
    return {**fields, "call_id": call_id, "name": name, "arguments": arguments, **more}


def added(item: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
    """The announcement of an item."""
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
    """An item as it is in the end."""
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def said(text: str, index: int = 0, kind: str = "output_text", **more: Any) -> dict[str, Any]:
    """A piece of an item."""
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": text, **more}


def ended(*items: Any, status: Any = "completed", **more: Any) -> dict[str, Any]:
    """The last event, with the whole output."""
    response = {"object": "response", "id": "resp_1", "status": status, "error": None, "output": [*items]}
    return {"type": f"response.{status}", "response": {**response, "usage": USED, **more}}


def replied(*events: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
    """A response of these events, which go out under their own names; bytes go out as they are."""
    named = [event(each, each.get("type", "")) if isinstance(each, dict) else each for each in events]
    return stream(*named, headers=headers)


async def told(
    *events: Any, request: ModelRequest = HELLO, **fields: Any
) -> tuple[ModelResponse, list[StreamEvent]]:
    """The response to a stream of these, and what was heard."""
    heard: list[StreamEvent] = []

    async def hear(event: StreamEvent) -> None:
        heard.append(event)

    with anyio.fail_after(5):
        response = await call(Answers(replied(*events)), **fields)(request, hear)
    return response, heard
