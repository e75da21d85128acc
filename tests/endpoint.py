"""A fake OpenAI-compatible endpoint, a real process on a real socket.

    python tests/endpoint.py --port 0

The first line on stdout is the base URL; the process ends at the end of its stdin. The *model* of a request
decides what becomes of it, so that a test needs nothing but model files:

    echo                  "messages=3 last=hello": how many messages came, and the last of the user
    slow                  a word every 50 ms for 20 s
    stall                 headers, then nothing
    html, html-502        a page, with the status 200 or 502
    status-401, status-429 (Retry-After: 7), status-500
    cut                   two words, and the end without a finish_reason
    refuse-temperature    400 for a request with a temperature, otherwise as echo
    big                   a reply of 3,000,000 characters

GET /stats: {requests, aborted, in_flight, last_body, last_headers}; `aborted` counts those who hung up first.
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
import uvicorn

PAGE = b"<!doctype html><html><head><title>Portal login</title></head><body>secret-body</body></html>"
ERRORS: dict[int, tuple[str, str]] = {
    401: ("invalid_api_key", "Incorrect API key provided."),
    404: ("model_not_found", "The model does not exist."),
    429: ("rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", "The server had an error."),
}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class Endpoint:
    """An ASGI application; `stats` is what GET /stats shows."""

    def __init__(self) -> None:
        self.stats: dict[str, Any] = {
            "requests": 0,
            "aborted": 0,
            "in_flight": 0,
            "last_body": None,
            "last_headers": None,
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        wire = Wire(send)
        if scope["path"] == "/stats":
            await wire.whole(200, json.dumps(self.stats).encode())
            return
        body = await _body(receive)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.stats["last_body"], self.stats["last_headers"] = body, headers
        self.stats["requests"] += 1
        self.stats["in_flight"] += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, receive, wire, tasks.cancel_scope)
                await _answer(body, wire)
                tasks.cancel_scope.cancel()
        finally:
            self.stats["in_flight"] -= 1

    async def _watch(self, receive: Any, wire: "Wire", scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not wire.is_complete:  # uvicorn says so after a whole response too
            self.stats["aborted"] += 1
            scope.cancel()


class Wire:
    """One response."""

    def __init__(self, send: Any) -> None:
        self.is_complete = False
        self._send = send

    async def start(self, status: int, content_type: str, *headers: tuple[bytes, bytes]) -> None:
        head = [(b"content-type", content_type.encode()), (b"x-request-id", b"req-1"), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": head})

    async def whole(
        self, status: int, body: bytes, content_type: str = "application/json", *headers: Any
    ) -> None:
        await self.start(status, content_type, *headers)
        await self._end(body)

    async def error(
        self, status: int, code: str, message: str, *headers: Any, param: str | None = None
    ) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        await self.whole(status, json.dumps({"error": error}).encode(), "application/json", *headers)

    async def data(self, value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        await self._send(
            {"type": "http.response.body", "body": f"data: {text}\n\n".encode(), "more_body": True}
        )

    async def stream(self, pieces: AsyncIterator[str], *, finish: bool = True) -> None:
        await self.start(200, "text/event-stream")
        await self.data(_chunk({"role": "assistant", "content": ""}))
        async for piece in pieces:
            await self.data(_chunk({"content": piece}))
        if finish:
            await self.data(_chunk({}, finish="stop"))
            await self.data({"choices": [], "usage": USAGE})
            await self.data("[DONE]")
        await self._end(b"")

    async def _end(self, body: bytes) -> None:
        self.is_complete = True
        await self._send({"type": "http.response.body", "body": body})


def _chunk(delta: dict[str, str], *, finish: str | None = None) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


async def _answer(body: dict[str, Any], wire: Wire) -> None:
    kind, _, status = str(body.get("model")).partition("-")
    match kind:
        case "echo" | "refuse":
            await _echoed(body, wire, refuse="temperature" in body and kind == "refuse")
        case "slow":
            await wire.stream(_words(400, every_s=0.05))
        case "stall":
            await wire.start(200, "text/event-stream")
            await anyio.sleep_forever()
        case "html":
            await wire.whole(int(status or 200), PAGE, "text/html; charset=utf-8")
        case "cut":
            await wire.stream(_words(2), finish=False)
        case "big":
            await wire.stream(_words(300, text="0123456789" * 1000))
        case _:
            await _error(int(status) if kind == "status" else 404, wire)


async def _echoed(body: dict[str, Any], wire: Wire, *, refuse: bool) -> None:
    if refuse:
        words = "Unsupported value: 'temperature' does not support this value with this model."
        await wire.error(400, "unsupported_value", words, param="temperature")
    else:
        await wire.stream(_echo(body))


async def _error(status: int, wire: Wire) -> None:
    await wire.error(status, *ERRORS[status], *([(b"retry-after", b"7")] if status == 429 else []))


async def _echo(body: dict[str, Any]) -> AsyncIterator[str]:
    messages = body.get("messages", [])
    last = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    text = last if isinstance(last, str) else " ".join(part.get("text", "") for part in last)
    for word in (f"messages={len(messages)} ", "last=", text):
        yield word


async def _words(count: int, *, every_s: float = 0, text: str = "") -> AsyncIterator[str]:
    for number in range(count):
        await anyio.sleep(every_s)
        yield text or f"w{number} "


async def _body(receive: Any) -> dict[str, Any]:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    decoded = json.loads(body or b"{}")
    return decoded if isinstance(decoded, dict) else {}


async def _serve(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    config = uvicorn.Config(Endpoint(), lifespan="off", log_level="error", timeout_keep_alive=60)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/v1\n")
    sys.stdout.flush()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uvicorn.Server(config).serve, [listener])
        await anyio.to_thread.run_sync(sys.stdin.buffer.read)
        os._exit(0)  # at once: whoever started us may wait for it


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    anyio.run(_serve, parser.parse_args().port)
