"""HTTP and SSE with a real process: both protocols, who is turned away, and every way to end."""

import json
import signal
import socket
import subprocess
import time
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp_types import TextContent

from eai_mcp.server.address import listening
from eai_mcp.server.carrier import serve_app
from eai_mcp.server.http import build_app
from eai_mcp.server.shutdown import Ending
from tests.e2e.echo_server import build
from tests.e2e.peer import ECHO, PINNED

BOTH = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
MODERN = {**BOTH, "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call"}
TRANSPORTS = [("http",), ("http", "--stateful"), ("sse",)]


class Carried:
    """A server process that answers at `url`."""

    def __init__(self, process, url):
        self.process, self.url, self.base = process, url, url.removesuffix("/mcp")
        self.noted = ""

    def body(self, tool="echo", *, meta=None, **arguments):
        params = {"name": tool, "arguments": arguments, **({"_meta": meta} if meta else {})}
        return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})

    async def end(self, number=signal.SIGTERM):
        """Exit code and seconds."""
        begun = time.perf_counter()
        self.process.send_signal(number)
        out, errors = await anyio.to_thread.run_sync(self.process.communicate)
        self.noted = errors.decode()
        assert out == b""
        return self.process.returncode, time.perf_counter() - begun


def launched(command):
    piped = subprocess.PIPE
    return subprocess.Popen([*ECHO, *command], stdin=subprocess.DEVNULL, stdout=piped, stderr=piped)


@asynccontextmanager
async def carried(*command):
    process = launched(command)
    try:
        with anyio.fail_after(15):
            assert process.stderr is not None
            url = await anyio.to_thread.run_sync(process.stderr.readline)
            yield Carried(process, url.decode().strip())
    finally:
        process.kill()
        process.communicate()


def text_of(result):
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
@pytest.mark.parametrize("command", TRANSPORTS, ids=" ".join)
async def test_the_sdks_client_over_streamable_http(command, mode):
    heard = []

    async def listen(done, total, text):
        heard.append(text)

    async with carried(*command) as server, Client(server.url, mode=mode) as client:
        assert text_of(await client.call_tool("steps", {"text": "hi"}, progress_callback=listen)) == "hi"
        assert heard == ["step 1", "step 2", "step 3"]


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
async def test_the_sdks_client_over_sse(mode):
    async with carried("sse") as server, Client(sse_client(f"{server.base}/sse"), mode=mode) as client:
        assert text_of(await client.call_tool("echo", {"text": "hi"})) == "hi"
        assert (client.server_capabilities.tools is None) == (mode == "2026-07-28")


async def test_both_protocols_by_hand():
    async with carried("http") as server, httpx2.AsyncClient() as client:
        reply = await client.post(server.url, content=server.body(text="hi"), headers=BOTH)
        (event,) = [line for line in reply.text.splitlines() if line.startswith("data: {")]
        assert json.loads(event[6:])["result"]["content"][0]["text"] == "hi"
        asked = {**MODERN, "mcp-name": "echo"}
        reply = await client.post(server.url, content=server.body(meta=PINNED, text="hi"), headers=asked)
        assert reply.json()["result"]["content"][0]["text"] == "hi"
        assert (await client.get(f"{server.base}/healthz")).json() == {"status": "ok"}
        assert (await client.get(f"{server.base}/sse")).status_code == 404


async def test_what_needs_a_way_back_is_only_offered_where_there_is_one():
    async with carried("sse") as server:
        async with Client(server.url, mode="legacy") as client:
            resources = client.server_capabilities.resources
            assert resources is not None
            assert (resources.subscribe, resources.list_changed) == (False, False)
        async with Client(sse_client(f"{server.base}/sse"), mode="legacy") as client:
            resources = client.server_capabilities.resources
            assert resources is not None
            assert (resources.subscribe, resources.list_changed) == (True, True)


@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages/"])
async def test_pages_of_other_sites_are_turned_away(path):
    async with carried("sse") as server, httpx2.AsyncClient() as client:
        method = "GET" if path == "/sse" else "POST"
        for header, status in (({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403)):
            headers = {**BOTH, **header}
            reply = await client.request(method, server.base + path, content=server.body(), headers=headers)
            assert reply.status_code == status


async def test_a_body_over_the_limit_is_refused_and_the_next_one_answered():
    async with carried("http") as server, httpx2.AsyncClient() as client:
        body = server.body(text="x" * 2 * 1024 * 1024)
        assert (await client.post(server.url, content=body, headers=BOTH)).status_code == 413
        assert (await client.post(server.url, content=server.body(), headers=BOTH)).status_code == 200


async def hang(where, mode, begun):
    """Call and wait until the server ends, which is an error of some kind to the SDK's client."""

    async def listen(done, total, text):
        begun.set()

    with pytest.raises(ExceptionGroup):
        async with Client(where, mode=mode) as client:
            await client.call_tool("hang", progress_callback=listen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", TRANSPORTS, ids=" ".join)
async def test_it_ends_soon_and_cleanly_with_calls_and_streams_open(command, number):
    async with carried(*command) as server:
        asked = [(server.url, "legacy"), (server.url, "2026-07-28")]
        if command == ("sse",):
            asked.append((sse_client(f"{server.base}/sse"), "legacy"))
        async with anyio.create_task_group() as tasks:
            begun = [anyio.Event() for _ in asked]
            for (where, mode), event in zip(asked, begun, strict=True):
                tasks.start_soon(hang, where, mode, event)
            for event in begun:
                await event.wait()
            code, took = await server.end(number)
    print(f"{' '.join(command)}, {number.name}: {took:.2f} s")
    assert (code, took < 5) == (0, True)
    assert server.noted.count("hang ended") == len(asked)
    assert server.noted.endswith("cleaning up\ncleaned up\nleft\n")


async def test_it_ends_soon_though_a_client_stopped_reading_in_the_middle_of_an_answer():
    async with carried("http") as server, httpx2.AsyncClient() as client:
        body = server.body("long", meta=PINNED, size=30 * 1024 * 1024)
        headers = {**MODERN, "mcp-name": "long"}
        async with client.stream("POST", server.url, content=body, headers=headers):
            code, took = await server.end()
    print(f"unread answer: {took:.2f} s")
    assert (code, took < 5) == (0, True)


async def test_a_second_signal_ends_it_in_the_middle_of_its_cleaning_up():
    async with carried("http", "--cleanup", "60", "--closing", "60") as server:
        server.process.send_signal(signal.SIGTERM)
        assert await anyio.to_thread.run_sync(server.process.stderr.readline) == b"cleaning up\n"
        assert (await server.end())[0] == 130


async def test_a_port_in_use_is_said_in_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*ECHO, "http", "--port", str(port)]
        with anyio.fail_after(15):
            done = await anyio.run_process(command, check=False)
    assert done.returncode == 2
    assert f"port {port} is in use on 127.0.0.1; choose another with --port".encode() in done.stderr


async def test_cancelled_from_outside_it_lets_the_port_go():
    ending, ready = Ending(limit_s=None), anyio.Event()
    with anyio.fail_after(10), listening("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        app = build_app(build(), address, ending)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve_app, app, listener, ending, ready.set)
            await ready.wait()
            tasks.cancel_scope.cancel()
    with listening(*address):
        pass
