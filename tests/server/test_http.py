import errno
import json
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from eai_mcp.errors import ConfigError
from eai_mcp.server import frames
from eai_mcp.server.address import authority, listening, unavailable
from eai_mcp.server.carrier import Interruptible
from eai_mcp.server.http import build_app
from eai_mcp.server.shutdown import Ending
from tests.e2e.echo_server import build
from tests.e2e.peer import HELLO, PINNED

BOTH = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@pytest.fixture
def anyio_backend():
    """uvicorn and the SDK's event streams run on asyncio only."""
    return "asyncio"


@asynccontextmanager
async def opened(app):
    """Runs the app's lifespan round the block, as a carrier does."""
    to_app, received = anyio.create_memory_object_stream[dict[str, str]](2)
    from_app, sent = anyio.create_memory_object_stream[dict[str, str]](2)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, to_app, received, from_app, sent:
            tasks.start_soon(app, {"type": "lifespan", "state": {}}, received.receive, from_app.send)
            await to_app.send({"type": "lifespan.startup"})
            assert (await sent.receive())["type"] == "lifespan.startup.complete"
            yield
            await to_app.send({"type": "lifespan.shutdown"})
            assert (await sent.receive())["type"] == "lifespan.shutdown.complete"


@asynccontextmanager
async def connected(address=("127.0.0.1", 8000), **options):
    """An HTTP client of the app, and what ends it."""
    ending = Ending(limit_s=None)
    app = build_app(build(), address, ending, **options)
    transport = httpx2.ASGITransport(app=app)
    base = f"http://{authority(address)}"
    async with opened(app), httpx2.AsyncClient(transport=transport, base_url=base) as client:
        yield client


async def asked(client, method, *, headers=None, **params):
    """The one message that a request on the older protocol is answered with."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    reply = await client.post("/mcp", content=json.dumps(body), headers={**BOTH, **(headers or {})})
    if reply.headers["content-type"] == "application/json":
        return reply.json()
    (event,) = [line for line in reply.text.splitlines() if line.startswith("data: {")]
    return json.loads(event.removeprefix("data: "))


async def test_a_request_stands_alone_and_what_needs_more_is_not_offered():
    async with connected() as client:
        capabilities = (await asked(client, "initialize", **HELLO))["result"]["capabilities"]
        assert capabilities["resources"] == {"subscribe": False, "listChanged": False}
        assert capabilities["tools"] == {"listChanged": False}
        answer = await asked(client, "resources/subscribe", uri="eai://models")
        assert answer["error"]["code"] == -32601


async def test_a_connection_that_lasts_offers_all_of_it():
    async with connected(stateful=True) as client:
        capabilities = (await asked(client, "initialize", **HELLO))["result"]["capabilities"]
        assert capabilities["resources"] == {"subscribe": True, "listChanged": True}


async def test_half_a_surrogate_pair_is_refused_on_the_newer_protocol_too():
    async with connected() as client:
        headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "echo"}
        arguments = {"text": "\ud800"}
        answer = await asked(
            client, "tools/call", headers=headers, name="echo", arguments=arguments, _meta=PINNED
        )
        assert answer["error"]["message"] == frames.SURROGATE


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"jsonrpc": "2.0", "id": 1.5, "method": "tools/list"}, frames.SHAPE),
        ({"jsonrpc": "2.0", "id": None, "method": "tools/list"}, frames.SHAPE),
        ([{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}], frames.BATCH),
        ("null", frames.BATCH),
        ('{"jsonrpc', "not valid JSON"),
    ],
)
async def test_a_body_that_is_no_message_is_refused_in_the_words_of_stdio(body, message):
    async with connected() as client:
        content = body if isinstance(body, str) else json.dumps(body)
        reply = await client.post("/mcp", content=content, headers=BOTH)
        assert (reply.status_code, reply.json()["id"]) == (400, None)
        assert reply.json()["error"]["message"].startswith(message)

        other = await client.post("/mcp", content="x", headers={**BOTH, "content-type": "text/plain"})
        assert "Content-Type" in other.text


async def test_a_body_that_is_too_large_is_refused_as_it_was():
    async with connected(max_body=1000) as client:
        reply = await client.post("/mcp", content=b" " * 5000, headers=BOTH)
        assert reply.status_code == 413


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        (("127.0.0.1", 8000), "localhost:8000", 200),
        (("127.0.0.1", 8000), "[::1]:8000", 200),
        (("127.0.0.1", 8000), "localhost:9000", 421),
        (("127.0.0.1", 8000), "localhost", 421),
        (("127.0.0.1", 80), "localhost", 200),
        (("127.0.0.5", 8000), "127.0.0.5:8000", 200),
        (("::1", 8000, 0, 0), "[::1]:8000", 200),
        (("127.0.0.1", 8000), "evil.example:8000", 421),
    ],
)
async def test_only_names_of_this_machine_with_the_port_are_answered(address, host, status):
    async with connected(address) as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        reply = await client.post("/mcp", json=body, headers={**BOTH, "host": host})
        assert reply.status_code == status


@pytest.mark.parametrize("origin", ["http://localhost:9000", "ftp://localhost:8000", "null", ""])
async def test_a_page_of_another_origin_is_turned_away(origin):
    async with connected() as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        reply = await client.post("/mcp", json=body, headers={**BOTH, "origin": origin})
        assert reply.status_code == 403


async def test_health_is_told_and_sse_is_not_there_unless_asked_for():
    async with connected() as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/sse")).status_code == 404
    async with connected(sse=True) as client:
        assert (await client.get("/sse", headers={"host": "evil.example"})).status_code == 421
        assert (await client.post("/sse")).status_code == 405


async def test_a_request_that_waits_is_told_that_the_server_is_ending():
    begun, ending = anyio.Event(), Ending(limit_s=None)

    async def wait(request):
        begun.set()
        await anyio.sleep_forever()

    app = Interruptible(Starlette(routes=[Route("/", wait)]), ending)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://here") as client:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:

                async def interrupt():
                    await begun.wait()
                    app.interrupt()

                tasks.start_soon(interrupt)
                assert (await client.get("/")).status_code == 503
            ending.begin("asked")
            assert (await client.get("/")).text == "The server is ending."


async def test_a_stream_that_was_begun_is_finished():
    ending = Ending(limit_s=None)

    async def text():
        yield "begun"
        app.interrupt()
        await anyio.sleep_forever()

    async def stream(request):
        return StreamingResponse(text())

    app = Interruptible(Starlette(routes=[Route("/", stream)]), ending)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://here") as client:
        with anyio.fail_after(5):
            assert (await client.get("/")).text == "begun"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "[::]", "fe80::1"])
def test_other_addresses_than_loopback_are_refused_where_nobody_says_who_calls(host):
    """Issue 8: "other addresses need `--token-file` … or OAuth …, else it refuses to start"."""
    refused = pytest.raises(ConfigError, match="needs --token-file FILE, or --issuer URL with --audience")
    with refused as caught, listening(host, 0):
        pass
    assert caught.value.details == {"host": host}


@pytest.mark.parametrize("host", ["example.com", "", "localhost.", "1.2.3", "127.0.0.1:80", "[::1", "::1]"])
def test_a_host_that_is_no_address_is_refused(host):
    with pytest.raises(ConfigError, match="is no address"), listening(host, 0, is_guarded=True):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::1]", "localhost", "LOCALHOST"])
def test_every_address_of_the_machine_can_be_had_where_callers_say_who_they_are(host):
    with listening(host, 0, is_guarded=True) as listener:
        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize(
    "path",
    [
        "mcp",
        "/",
        "/a b",
        "/{x}",
        "/sse",
        "/messages/x",
        "/healthz",
        "/.well-known/x",
        "",
        "/a/..",
        "/a/../mcp",
    ],
)
def test_a_path_that_is_none_or_is_taken_is_refused(path):
    with pytest.raises(ConfigError, match="--path takes a path like /mcp"):
        build_app(build(), ("127.0.0.1", 8000), Ending(limit_s=None), path=path)


def test_a_slash_at_the_end_of_the_path_is_named():
    with pytest.raises(ConfigError, match="without a slash at its end: '/a/mcp'"):
        build_app(build(), ("127.0.0.1", 8000), Ending(limit_s=None), path="/a/mcp/")


async def test_the_path_can_be_chosen():
    async with connected(path="/api/mcp") as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        assert (await client.post("/api/mcp", json=body, headers=BOTH)).status_code == 200
        assert (await client.post("/mcp", json=body, headers=BOTH)).status_code == 404


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_does_not_exist_is_refused(port):
    with pytest.raises(ConfigError, match=f"port {port} does not exist"), listening("127.0.0.1", port):
        pass


def test_a_port_in_use_is_refused_and_zero_is_any_free_one():
    with listening("localhost", 0) as first:
        host, port = first.getsockname()
        assert (host, port > 0) == ("127.0.0.1", True)
        refused = pytest.raises(ConfigError, match=f"port {port} is in use on 127.0.0.1")
        with refused as caught, listening("127.0.0.1", port):
            pass
        assert caught.value.details == {"port": port}


def test_what_else_keeps_a_port_from_us_is_said():
    forbidden = OSError(errno.EACCES, "Permission denied")
    assert unavailable("127.0.0.1", 80, forbidden).startswith("port 80 is for privileged programs only")
    missing = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    assert unavailable("::1", 80, missing) == "cannot listen on ::1, port 80: Cannot assign requested address"
