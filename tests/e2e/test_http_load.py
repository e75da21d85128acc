"""Those who open connections to HTTP and then say nothing, little, or too much."""

import json
import signal
import subprocess
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest

from eai_mcp.server.address import listening
from eai_mcp.server.carrier import serve_app
from eai_mcp.server.connections import LEAST, Watched
from eai_mcp.server.http import build_app
from eai_mcp.server.shutdown import Ending
from tests.e2e.echo_server import build
from tests.e2e.peer import ECHO, HELLO
from tests.e2e.test_http import BOTH

BODY = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 9999\r\n\r\n{"
INITIALIZE = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Hasty(Watched):
    patience_s = 0.2


@asynccontextmanager
async def carried(protocol=Watched):
    """A server in this process: its port."""
    ending, ready = Ending(limit_s=None), anyio.Event()
    with anyio.fail_after(15), listening("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        app = build_app(build(), address, ending, sse=True)
        async with anyio.create_task_group() as tasks:

            async def serve():
                await serve_app(app, listener, ending, ready.set, protocol=protocol)

            tasks.start_soon(serve)
            await ready.wait()
            yield address[1]
            while app._open:  # cancelled, the SDK would leave parts of its event streams unclosed
                await anyio.lowlevel.checkpoint()
            ending.begin("done")


@asynccontextmanager
async def streamed(port):
    """The stream of an SSE client, and where it posts."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
        heard = b""
        while b"session_id=" not in heard or not heard.endswith(b"\r\n"):
            heard += await stream.receive()
        where = heard.split(b"data: ")[1].split()[0].decode()
        yield stream, f"http://127.0.0.1:{port}{where}"


async def rest(stream):
    """All that still comes, until the other side closes."""
    heard = b""
    try:
        while True:
            heard += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return heard


async def test_who_is_slow_to_say_what_they_want_is_left_and_who_listens_is_not():
    """Issue 8: "slow reader", "memory bounded": no connection is held by half a request."""
    async with carried(Hasty) as port, streamed(port) as (events, where):
        for said, answer in (
            (b"", b""),
            (b"GET /heal", b"HTTP/1.1 408"),
            (BODY % port, b"HTTP/1.1 408"),
            (BODY.replace(b"127.0.0.1", b"evil") % port, b"HTTP/1.1 421"),
            (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /", b"HTTP/1.1 200"),
        ):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                if said:
                    await stream.send(said)
                assert (await rest(stream)).startswith(answer)
        async with httpx2.AsyncClient() as client:
            assert (await client.post(where, json=INITIALIZE)).status_code == 202
        assert b"serverInfo" in await events.receive()


async def test_a_body_that_comes_slowly_but_steadily_is_waited_for():
    listing = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    body = listing[:-1] + b" " * 20_000 + b"}"

    class Watchful(Watched):
        """Looks at the connection as if its time was over, whenever enough has come."""

        def data_received(self, data):
            super().data_received(data)
            if self._awaited == "body" and self._came >= LEAST:
                self._look()

    async def pieces():
        for at in range(0, len(body), 2_000):
            yield body[at : at + 2_000]
            await anyio.wait_all_tasks_blocked()

    async with carried(Watchful) as port, httpx2.AsyncClient() as client:
        reply = await client.post(f"http://127.0.0.1:{port}/mcp", content=pieces(), headers=BOTH)
        assert reply.status_code == 200


async def test_who_asks_without_reading_the_answers_is_stopped_until_they_read():
    """Issue 8: "slow reader", "memory bounded"."""
    async with carried() as port, streamed(port) as (events, where), httpx2.AsyncClient() as client:

        async def asked(number):
            body = {"jsonrpc": "2.0", "id": number, "method": "tools/call"}
            reply = await client.post(where, json={**body, "params": {"name": "long", "arguments": LONG}})
            return reply.status_code

        LONG = {"size": 200_000}
        await client.post(where, json=INITIALIZE)
        number = 1
        while await asked(number) == 202:
            number += 1
        assert 256 <= number < 512
        notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 10_000}}
        assert (await client.post(where, json=notice)).status_code == 202
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rest, events)
            while await asked(number) != 202:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()


async def test_more_connections_than_descriptors_and_idle_clients_leave_it_alive_and_able_to_end():
    """Issue 8: "graceful stop", "memory bounded": it ends within its limit, however many there are."""
    limited = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh", *ECHO, "http", "--stateful", "--closing", "2"]
    piped = subprocess.PIPE
    process = await anyio.to_thread.run_sync(
        lambda: subprocess.Popen(limited, stdin=subprocess.DEVNULL, stdout=piped, stderr=piped)
    )
    try:
        with anyio.fail_after(20):
            assert process.stderr is not None
            url = (await anyio.to_thread.run_sync(process.stderr.readline)).decode().strip()
            await crowd(httpx2.URL(url).port)
            async with httpx2.AsyncClient() as client:
                while (await client.post(url, json=INITIALIZE, headers=BOTH)).status_code == 200:
                    pass
            process.send_signal(signal.SIGTERM)
            _, errors = await anyio.to_thread.run_sync(process.communicate)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in errors
    assert errors.count(b"\n") < 20


async def crowd(port):
    """Open more than there is room for: some are closed at once, the others answered."""
    silent = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(150)]
    try:
        left = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def wait(stream):
                assert await rest(stream) == b""
                left.set()

            for stream in silent[64:]:
                tasks.start_soon(wait, stream)
            await left.wait()
            tasks.cancel_scope.cancel()
        await silent[0].send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await silent[0].receive()).startswith(b"HTTP/1.1 200")
    finally:
        for stream in silent:
            await stream.aclose()
