"""A provider of chat completions on a socket of the test, which notes who asked and when they hung up.

The wire's model decides what becomes of a request:

    echo      "messages=3 last=hello", at once
    held      "So far. ", and "The rest." once the test lets it go on
    slow      a word every 10 ms, for ever
    silent    nothing, not even a status
    big       3,000,000 characters
    broken    the status 500
    asks      asks for the tool ask_user; once it has a result, "You said: …"
"""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.e2e.wire import LEGACY, Wire, served

NAMES = ("echo", "held", "slow", "silent", "big", "broken", "asks")
BIG = "0123456789" * 300_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class Asked:
    """One request. `left` is set when whoever asked closed the connection before the reply was whole."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.left = anyio.Event()
        self.left_at = 0.0
        self.go_on = anyio.Event()

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Role and text of all messages."""
        return [(str(each["role"]), str(each["content"])) for each in self.body["messages"]]

    @property
    def last(self) -> str:
        """The text of the last message."""
        return self.messages[-1][1]


class Provider:
    """What was asked, in order."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self._came = anyio.Event()

    async def request(self, number: int) -> Asked:
        """The request of that number, counted from 1, once it has come."""
        with anyio.fail_after(10):
            while len(self.asked) < number:
                await self._came.wait()
        return self.asked[number - 1]

    async def serve(self, stream: SocketStream) -> None:
        """Answer one request on one connection."""
        try:
            async with stream:
                asked = await self._read(stream)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_watch, stream, asked, tasks.cancel_scope)
                    await _answer(stream, asked)
                    tasks.cancel_scope.cancel()
        except* (anyio.EndOfStream, anyio.BrokenResourceError, anyio.IncompleteRead):
            pass  # it hung up

    async def _read(self, stream: SocketStream) -> Asked:
        buffered = BufferedByteReceiveStream(stream)
        head = (await buffered.receive_until(b"\r\n\r\n", 65536)).decode("latin-1").lower()
        (length,) = [line[15:] for line in head.split("\r\n") if line.startswith("content-length:")]
        asked = Asked(json.loads(await buffered.receive_exactly(int(length))))
        self.asked.append(asked)
        self._came.set()
        self._came = anyio.Event()
        return asked


class House:
    """Servers that share one file of sessions, and the provider that their models reach."""

    def __init__(self, command: str, environment: dict[str, str], folder: Path, provider: Provider) -> None:
        self.provider, self.folder = provider, folder
        self.store = folder / "data" / "sessions.db"
        self.environment = {**environment, "EAI_MCP_STORE": str(self.store)}
        self.command = [command, "serve", "--model", "echo"]
        for kind in ("models", "cards"):
            (folder / kind).mkdir()
            self.command += [f"--{kind}", str(folder / kind)]
        for name, text in _entries(provider.url):
            (folder / name).write_text(text, encoding="utf-8")

    @asynccontextmanager
    async def server(self, *options: str, era: str = LEGACY, **environment: str) -> AsyncIterator[Wire]:
        """A server process and a client of it."""
        async with served([*self.command, *options], {**self.environment, **environment}, era=era) as wire:
            yield wire

    @asynccontextmanager
    async def carried(self, transport: str, *options: str) -> AsyncIterator[str]:
        """The URL of a server process on HTTP or SSE, taken from what it says on standard error."""
        command = [*self.command, "--transport", transport, "--port", "0", *options]
        async with await anyio.open_process(
            command, env=self.environment, stdin=subprocess.DEVNULL
        ) as process:
            said = b""
            assert process.stderr is not None
            with anyio.fail_after(30):
                while b"/mcp\n" not in said:
                    said += await process.stderr.receive()
            url = said.decode().split()[-1]
            try:
                yield url if transport == "http" else url.removesuffix("/mcp") + "/sse"
            finally:
                process.terminate()  # a test that failed would wait for its end for ever
            with anyio.fail_after(10):
                assert await process.wait() == 0


@asynccontextmanager
async def built(installed: Path, environment: dict[str, str], folder: Path) -> AsyncIterator[House]:
    """A house with its provider running."""
    provider = Provider()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    provider.url = f"http://127.0.0.1:{port}/v1"
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, provider.serve)
        yield House(str(installed / "eai-mcp"), environment, folder, provider)
        tasks.cancel_scope.cancel()


async def told(wire: Wire, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool that works tells."""
    result = await wire.call(tool, **arguments)
    assert not result.get("isError"), result["structuredContent"]
    structured: dict[str, Any] = result["structuredContent"]
    return structured


async def begun(wire: Wire, **arguments: Any) -> int:
    """Call `talk`, and return the number of the request without waiting for its answer."""
    return await wire.begin("tools/call", name="talk", arguments=arguments)


async def asking(house: House, wire: Wire, **arguments: Any) -> tuple[int, Asked]:
    """Call `talk`, and wait until the provider was asked."""
    next_one = len(house.provider.asked) + 1
    return await begun(wire, **arguments), await house.provider.request(next_one)


async def answered(wire: Wire, number: int) -> dict[str, Any]:
    """What a request of that number was answered, be it an error."""
    answer = await wire.answer(number)
    structured: dict[str, Any] = answer["result"]["structuredContent"]
    return structured


async def heard(wire: Wire, session: str = "default") -> dict[str, Any]:
    """How the running turn of a session stands once some of its text has come."""
    with anyio.fail_after(10):
        while not (standing := await told(wire, "wait_for_reply", chat_session=session, timeout_ms=20))[
            "reply"
        ]:
            pass
    return standing


async def dialogue(wire: Wire, session: str = "default") -> list[tuple[str, str, bool]]:
    """Role and text of a session's messages, and whether each is partial."""
    page = await told(wire, "get_history", chat_session=session)
    return [
        (each["role"], "".join(b.get("text", "") for b in each["content"]), each.get("partial", False))
        for each in page["messages"]
    ]


def _entries(url: str) -> Iterator[tuple[str, str]]:
    for name in NAMES:
        text = f'provider = "openai_chat"\nmodel = "{name}"\nbase_url = "{url}"\nreliability.attempts = 1\n'
        yield f"models/{name}.toml", text
    yield "models/script.toml", SCRIPT
    yield "models/paid.toml", PAID
    data = {"name": "Asker", "description": "Asks.", "extensions": {"eai": {"tools": ["ask_user"]}}}
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
    yield "cards/asker.json", json.dumps(card)


SCRIPT = """
provider = "scripted"
model = "script"

[[quirks.replies]]
tools = [{ name = "ask_user", input = { question = "Which colour?" } }]

[[quirks.replies]]
text = "Painted."
"""
PAID = """
provider = "scripted"
model = "paid"

[quirks]
then = "last"

[[quirks.replies]]
text = "That will be half a dollar."
usage = { input = 10, output = 8, cost_usd = 0.5 }
"""


async def _watch(stream: SocketStream, asked: Asked, scope: anyio.CancelScope) -> None:
    try:
        while True:
            await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        asked.left_at = anyio.current_time()
        asked.left.set()
        scope.cancel()


async def _answer(stream: SocketStream, asked: Asked) -> None:
    kind = asked.body["model"]
    if kind == "silent":
        await anyio.sleep_forever()
    if kind == "broken":
        await stream.send(BROKEN)
        return
    await stream.send(HEAD)
    if kind == "asks" and asked.body["messages"][-1]["role"] != "tool":
        await _finish(stream, "tool_calls", _question())
        return
    async for words in _words(kind, asked):
        await _send(stream, _chunk({"content": words}))
    await _finish(stream, "stop")


async def _words(kind: str, asked: Asked) -> AsyncIterator[str]:
    match kind:
        case "held":
            yield "So far. "
            await asked.go_on.wait()
            yield "The rest."
        case "slow":
            while True:
                yield "word "
                await anyio.sleep(0.01)
        case "big":
            for at in range(0, len(BIG), 100_000):
                yield BIG[at : at + 100_000]
        case "asks":
            yield f"You said: {asked.last}"
        case _:
            yield f"messages={len(asked.messages)} last={asked.last}"


def _question() -> dict[str, Any]:
    function = {"name": "ask_user", "arguments": json.dumps({"question": "Which colour?"})}
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}


async def _finish(stream: SocketStream, reason: str, delta: dict[str, Any] | None = None) -> None:
    if delta:
        await _send(stream, _chunk(delta))
    await _send(stream, _chunk({}, reason))
    await _send(stream, {"choices": [], "usage": USAGE})
    await stream.send(b"data: [DONE]\n\n")


async def _send(stream: SocketStream, value: dict[str, Any]) -> None:
    await stream.send(f"data: {json.dumps(value)}\n\n".encode())


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
