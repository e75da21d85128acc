"""CPU of a streamed reply of 100 pieces: our adapters, a bare read of the same bytes, the vendors' own SDKs.

    python tests/bench/adapters.py [ROUNDS]

Every reader gets the same bytes from the same process on loopback, a write for each event, over the same
connection pool and in turn. CPU time of this process, medians. Targets (issue 3): at most 2 times the bare
read, at most a third of the SDK.
"""

import argparse
import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import anthropic
import anyio
import boto3  # type: ignore[import-untyped]  # it has no types of its own
import httpx2
import openai
from google import genai

from eai_mcp import providers
from eai_mcp.calls import ModelRequest, unheard
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import user
from eai_mcp.providers import http

Read: TypeAlias = Callable[[], Awaitable[object]]

PIECES = [f"word {number} " for number in range(100)]
TEXT = "".join(PIECES)
REPEATS = 10


def main() -> None:
    """Print a line for each wire format."""
    parser = argparse.ArgumentParser(description="Adapters, a bare read, and the vendors' SDKs.")
    parser.add_argument("rounds", nargs="?", type=int, default=9)
    parser.add_argument("--serve", metavar="FILE", help="be the endpoint, and write its port into FILE")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    with endpoint() as address:
        anyio.run(run, options.rounds, address)


async def run(rounds: int, address: str) -> None:
    """Measure all, in turn."""
    print(
        "ms of CPU for a reply of 100 pieces: ours, bare, SDK; ours/bare (target 2), ours/SDK (target 0.33)"
    )
    for name in BYTES:
        async with AsyncExitStack() as closing:
            client = await closing.enter_async_context(http.new_client())
            base = f"{address}/{name}"
            readers = {"ours": ours(name, base, client, closing), "bare": bare(base, client)}
            if name in SDKS:
                readers["sdk"] = SDKS[name](base, client)
            report(name, await spent(readers, rounds))


def report(name: str, figures: Mapping[str, list[float]]) -> None:
    """A line: the medians, and the medians of the ratios pair by pair."""
    line = f"{name:<17}" + " ".join(f"{statistics.median(each):7.2f}" for each in figures.values())
    for other in list(figures)[1:]:
        ratios = [mine / theirs for mine, theirs in zip(figures["ours"], figures[other], strict=True)]
        line += f"   {statistics.median(ratios):.2f} of {other} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(line)


async def spent(readers: Mapping[str, Read], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of CPU of each reader, round by round."""
    figures: dict[str, list[float]] = {name: [] for name in readers}
    for read in readers.values():
        await read()  # once for nothing: what is made at the first call
    for _ in range(rounds):
        for name, read in readers.items():
            begun = time.process_time_ns()
            for _ in range(REPEATS):
                await read()
            figures[name].append((time.process_time_ns() - begun) / 1e6 / REPEATS)
    return figures


def serve(port_file: str) -> None:
    """Be the endpoint, in a process of its own, and write each event by itself."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 0

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            is_aws = self.path.startswith("/bedrock/")
            kind = "application/vnd.amazon.eventstream" if is_aws else "text/event-stream"
            self.send_header("content-type", kind)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in [*BYTES[self.path.split("/")[1]], b""]:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Path(port_file).write_text(str(server.server_address[1]), encoding="ascii")
        server.serve_forever()


@contextmanager
def endpoint() -> Iterator[str]:
    """The address of that process."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder, "port")
        command = [sys.executable, __file__, "--serve", str(port_file)]
        with subprocess.Popen(command) as process:
            try:
                while not (port_file.is_file() and (port := port_file.read_text(encoding="ascii"))):
                    time.sleep(0.05)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.kill()


def ours(name: str, base: str, client: httpx2.AsyncClient, closing: AsyncExitStack) -> Read:
    """The adapter, as a turn uses it."""
    model = Model(name="m", provider=name, model="wire-1", base_url=f"{base}/v1", api_key_env="K")
    parts = providers.Parts(
        environ={"K": "made-up", "AWS_REGION": "us-east-1"},
        client=lambda: client,
        closing=closing,
        cache=Path("unused"),
    )
    call = providers.adapter(model, parts)
    request = ModelRequest(messages=(user("hello"),))

    async def read() -> object:
        response = await call(request, unheard)
        assert response.message.text == TEXT
        return response

    return read


def bare(base: str, client: httpx2.AsyncClient) -> Read:
    """The least that any reader has to do."""
    body = {"model": "wire-1", "messages": [{"role": "user", "content": "hello"}], "stream": True}

    async def read() -> object:
        size = 0
        async with client.stream("POST", base, json=body) as response:
            async for piece in response.aiter_bytes():
                size += len(piece)
        return size

    return read


def openai_chat(base: str, client: httpx2.AsyncClient) -> Read:
    """OpenAI's SDK on Chat Completions."""
    sdk = openai.AsyncOpenAI(api_key="k", base_url=f"{base}/v1", http_client=client)
    question: Any = [{"role": "user", "content": "hello"}]

    async def read() -> object:
        stream = await sdk.chat.completions.create(model="wire-1", messages=question, stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(said) == TEXT
        return said

    return read


def openai_responses(base: str, client: httpx2.AsyncClient) -> Read:
    """OpenAI's SDK on Responses."""
    sdk = openai.AsyncOpenAI(api_key="k", base_url=f"{base}/v1", http_client=client)

    async def read() -> object:
        stream = await sdk.responses.create(model="wire-1", input="hello", stream=True)
        said = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        assert "".join(said) == TEXT
        return said

    return read


def anthropic_messages(base: str, client: httpx2.AsyncClient) -> Read:
    """Anthropic's SDK."""
    sdk = anthropic.AsyncAnthropic(api_key="k", base_url=base, http_client=client)
    question: Any = [{"role": "user", "content": "hello"}]

    async def read() -> object:
        async with sdk.messages.stream(model="wire-1", max_tokens=1000, messages=question) as stream:
            message = await stream.get_final_message()
        assert getattr(message.content[0], "text", "") == TEXT
        return message

    return read


def gemini(base: str, client: httpx2.AsyncClient) -> Read:
    """Google's SDK."""
    options = genai.types.HttpOptions(base_url=base, httpx_async_client=client)
    sdk = genai.Client(api_key="k", http_options=options)

    async def read() -> object:
        stream = await sdk.aio.models.generate_content_stream(model="wire-1", contents="hello")
        said = [chunk.text or "" async for chunk in stream]
        assert "".join(said) == TEXT
        return said

    return read


def bedrock(base: str, client: httpx2.AsyncClient) -> Read:
    """AWS's SDK, which has a connection pool of its own and blocks."""
    sdk = boto3.client(
        "bedrock-runtime",
        endpoint_url=base,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="s",
    )
    question: Any = [{"role": "user", "content": [{"text": "hello"}]}]

    async def read() -> object:
        answer = sdk.converse_stream(modelId="wire-1", messages=question)
        said = [
            each["contentBlockDelta"]["delta"]["text"]
            for each in answer["stream"]
            if "contentBlockDelta" in each
        ]
        assert "".join(said) == TEXT
        return said

    return read


def chat_bytes() -> Iterator[bytes]:
    """A stream of Chat Completions."""
    frame = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "wire-1"}
    for piece in PIECES:
        delta = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
        yield event({**frame, "choices": [delta]})
    yield event({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    used = {"prompt_tokens": 1, "completion_tokens": 200, "total_tokens": 201}
    yield event({**frame, "choices": [], "usage": used})
    yield b"data: [DONE]\n\n"


def responses_bytes() -> Iterator[bytes]:
    """A stream of Responses."""
    place = {"item_id": "m1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    used = {"input_tokens": 1, "output_tokens": 200, "total_tokens": 201}
    whole = {"id": "r1", "object": "response", "created_at": 1, "model": "wire-1", "output": [item]}
    empty = {**item, "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        *({"type": "response.output_text.delta", **place, "delta": piece} for piece in PIECES),
        {"type": "response.output_text.done", **place, "text": TEXT},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {**whole, "status": "completed", "usage": used}},
    ]
    for number, each in enumerate(events):
        yield event({**each, "sequence_number": number}, each["type"])


def anthropic_bytes() -> Iterator[bytes]:
    """A stream of Messages."""
    used = {"input_tokens": 1, "output_tokens": 1}
    start = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "wire-1",
        "content": [],
        "usage": used,
    }
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in PIECES
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 200}},
        {"type": "message_stop"},
    ]
    for each in events:
        yield event(each, each["type"])


def gemini_bytes() -> Iterator[bytes]:
    """A stream of Gemini."""
    used = {"promptTokenCount": 1, "candidatesTokenCount": 200, "totalTokenCount": 201}
    for number, piece in enumerate(PIECES, 1):
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": piece}]}, "index": 0}
        if number == len(PIECES):
            candidate["finishReason"] = "STOP"
        yield event({"candidates": [candidate], "usageMetadata": used, "modelVersion": "wire-1"})


def bedrock_bytes() -> Iterator[bytes]:
    """A stream of ConverseStream."""
    yield frame("messageStart", {"role": "assistant"})
    for piece in PIECES:
        yield frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}})
    yield frame("contentBlockStop", {"contentBlockIndex": 0})
    yield frame("messageStop", {"stopReason": "end_turn"})
    used = {"inputTokens": 1, "outputTokens": 200, "totalTokens": 201}
    yield frame("metadata", {"usage": used, "metrics": {"latencyMs": 1}})


def frame(name: str, value: Mapping[str, Any]) -> bytes:
    """An AWS event-stream message."""
    told = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
        for key, text in told.items()
    )
    payload = json.dumps(value).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    message = prelude + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def event(value: Mapping[str, Any], name: str = "") -> bytes:
    """A server-sent event."""
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(value)}\n\n".encode()


BYTES = {
    name: list(stream())
    for name, stream in {
        "openai_chat": chat_bytes,
        "openai_responses": responses_bytes,
        "anthropic": anthropic_bytes,
        "gemini": gemini_bytes,
        "bedrock": bedrock_bytes,
    }.items()
}
SDKS = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic_messages,
    "gemini": gemini,
    "bedrock": bedrock,
}

if __name__ == "__main__":
    main()
