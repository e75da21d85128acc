"""A scripted model as a test asks it: its script in, what it says out."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from eai_mcp.calls import Call, ModelRequest, ModelResponse, Samplers, StreamEvent, unheard
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import CallError
from eai_mcp.messages import Message, user
from eai_mcp.providers import Parts, adapter


def model(**fields: Any) -> Model:
    """A model of the catalog."""
    return Model(**{"name": "m", "provider": "scripted", "model": "demo", **fields})


def call_of(entry: Model) -> Call:
    """The call for a model of the catalog, where there is no network."""
    return adapter(entry, Parts(environ={}, client=_no_client, closing=AsyncExitStack(), cache=Path()))


def call(*replies: dict[str, Any], samplers: Samplers = Samplers(), **quirks: Any) -> Call:
    """The call for a script of these replies, or without any."""
    script = {**quirks, "replies": list(replies)} if replies else quirks
    return call_of(model(quirks=script, samplers=samplers))


def _no_client() -> httpx2.AsyncClient:
    raise AssertionError("nothing here is on a network")


def asking(*words: str | Message, **fields: Any) -> ModelRequest:
    """What is asked: words are the user's."""
    return ModelRequest(
        messages=tuple(one if isinstance(one, Message) else user(one) for one in words), **fields
    )


async def answer(ask: Call, *words: str | Message, **fields: Any) -> ModelResponse:
    """The whole answer."""
    with anyio.fail_after(5):
        return await ask(asking(*words, **fields), unheard)


async def reply(ask: Call, *words: str | Message, **fields: Any) -> str:
    """The answer's text."""
    return (await answer(ask, *words, **fields)).message.text


async def heard(ask: Call, request: ModelRequest) -> tuple[ModelResponse, list[StreamEvent]]:
    """The answer, and what was heard of it."""
    events: list[StreamEvent] = []

    async def hear(event: StreamEvent) -> None:
        events.append(event)

    with anyio.fail_after(5):
        return await ask(request, hear), events


async def failure(kind: type[CallError], ask: Call, request: ModelRequest) -> CallError:
    """The error in the answer's place."""
    with anyio.fail_after(5), pytest.raises(kind) as caught:
        await ask(request, unheard)
    return caught.value
