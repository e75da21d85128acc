"""Models in a child process of ours: the small default that needs no key, or any other GGUF file.

The child speaks the OpenAI wire format, so this is the adapter for that format, behind a server that starts
at the first call and is started again once if it died before it said anything.
"""

import math
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import anyio
from pydantic import JsonValue

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse, Preparing, StreamEvent
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import CallTimeout, ConfigError, Unavailable
from eai_mcp.providers import Parts, local_child, local_servers, openai_chat, weights
from eai_mcp.providers.local_server import Endpoint, Server
from eai_mcp.providers.local_status import own_file, runtime_problem
from eai_mcp.providers.weights import Report

Chat: TypeAlias = Callable[[Endpoint], Call]

# llama.cpp's server takes these beside OpenAI's own.
QUIRKS: Mapping[str, JsonValue] = {
    "samplers": {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"}
}
CONTEXT = 8192
"""Tokens, for a model file that names no `context_window`: what the default was trained for."""

SHORTEST_CONTEXT = 256


def build(model: Model, parts: Parts) -> Call:
    """The call that reaches `model` in a child process.

    Raises:
        ConfigError: The model's file asks for what cannot be.
    """
    context = model.context_window or CONTEXT
    if context < SHORTEST_CONTEXT:
        raise ConfigError(f"model {model.name!r}: context_window must be {SHORTEST_CONTEXT} tokens or more")
    file = own_file(model, parts)
    told = replace(model, model=file.stem if file else model.model, quirks={**QUIRKS, **model.quirks})

    def chat(endpoint: Endpoint) -> Call:
        return openai_chat.call(told, parts.client, endpoint.base_url, lambda: endpoint.key)

    servers = local_servers.of(parts.closing)
    server = servers.for_model(model.name, (file, context), lambda: _server(file, context, parts))
    return Local(server, chat, before=servers.end_unwanted)


class Local:
    """Asks the endpoint of `server`, whose `chat` is the call that reaches it; `before` comes first."""

    def __init__(self, server: Server, chat: Chat, *, before: Callable[[], Awaitable[None]]) -> None:
        self._server = server
        self._chat = chat
        self._before = before

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        await self._before()
        with self._server.used():
            return await self._ask(request, emit, starts=2)

    async def _ask(self, request: ModelRequest, emit: Emit, *, starts: int) -> ModelResponse:
        heard = False

        async def report(text: str) -> None:
            await emit(Preparing(text))

        async def listen(event: StreamEvent) -> None:
            nonlocal heard
            heard = True
            await emit(event)

        with anyio.CancelScope(deadline=math.inf if request.deadline is None else request.deadline) as limit:
            endpoint = await self._server.endpoint(report)
        if limit.cancelled_caught:
            raise CallTimeout(
                "the local model was not ready in time; `eai-mcp fetch` fetches what it needs beforehand"
            )
        try:
            return await self._chat(endpoint)(request, listen)
        except Unavailable as error:
            if error.details.get("status"):
                raise  # who answers is alive
            death = await self._server.death(endpoint)
            if death is None:
                raise
            if heard or starts == 1:
                raise _broken_off(death, error) from error
        return await self._ask(request, emit, starts=starts - 1)


def _broken_off(death: str, error: Unavailable) -> Unavailable:
    return Unavailable(
        f"the process of the local model {death}; the next call starts it again", partial=error.partial
    )


def _server(file: Path | None, context: int, parts: Parts) -> Server:
    name = file.stem if file else weights.SMOLLM2.name

    def command(path: Path) -> Sequence[str]:
        # By its path and with -P: nothing of ours is imported, nor of the folder that we were started in.
        words = [sys.executable, "-P", local_child.__file__, str(path), name, str(context)]
        return words if file else [*words, "tiny"]

    return Server(name, _weights(file, parts), command)


def _weights(file: Path | None, parts: Parts) -> Callable[[Report], Awaitable[Path]]:
    async def found(report: Report) -> Path:
        if problem := runtime_problem():
            raise Unavailable(problem.text, retryable=False)
        if file is None:
            return await weights.fetch(parts.cache, report, offline=parts.offline)
        weights.check_gguf(file)
        return file

    return found
