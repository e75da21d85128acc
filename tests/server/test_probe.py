from contextlib import asynccontextmanager

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest

from eai_mcp.server.probe import Probing
from tests.e2e.echo_server import build

PINNED = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Peer:
    """Says one thing after the other and hears the answers."""

    def __init__(self, send, receive):
        self._send, self._receive = send, receive
        self._last = 0

    async def ask(self, method, **params):
        self._last += 1
        request = JSONRPCRequest(jsonrpc="2.0", id=self._last, method=method, params=params)
        await self._send.send(SessionMessage(request))
        answer = (await self._receive.receive()).message
        assert answer.id == self._last
        return answer.model_dump(by_alias=True, exclude_unset=True)

    async def tell(self, method):
        await self._send.send(SessionMessage(JSONRPCNotification(jsonrpc="2.0", method=method)))

    async def discover(self, **meta):
        return await self.ask("server/discover", _meta={**PINNED, **meta})

    async def initialize(self):
        answer = await self.ask("initialize", **HELLO)
        await self.tell("notifications/initialized")
        return answer["result"]["protocolVersion"]

    async def call(self, **params):
        answer = await self.ask("tools/call", name="echo", arguments={"text": "hello"}, **params)
        return answer["result"]["content"][0]["text"]


@asynccontextmanager
async def connected(*, probing=True):
    """A peer of a server that stands behind the relay, or bare to compare."""
    server = build()
    send, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](4)
    outgoing, receive = anyio.create_memory_object_stream[SessionMessage](4)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, receive, incoming, outgoing:
            options = server.create_initialization_options()
            heard = Probing(incoming, outgoing, server) if probing else incoming
            tasks.start_soon(server.run, heard, outgoing, options)
            async with send:
                yield Peer(send, receive)


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"io.modelcontextprotocol/protocolVersion": "1999-01-01"},
        {"io.modelcontextprotocol/protocolVersion": 5},
    ],
)
async def test_the_answer_is_the_servers_own(meta):
    async with connected(probing=False) as peer:
        bare = await peer.discover(**meta)
    async with connected() as peer:
        assert await peer.discover(**meta) == bare


async def test_discover_without_an_envelope_is_answered_as_the_older_protocol_does():
    async with connected() as peer:
        assert (await peer.ask("server/discover"))["error"]["code"] == -32601
        assert await peer.initialize() == "2025-11-25"


async def test_a_client_that_discovers_may_still_shake_hands_the_old_way():
    async with connected() as peer:
        assert "2026-07-28" in (await peer.discover())["result"]["supportedVersions"]
        assert await peer.initialize() == "2025-11-25"
        assert await peer.call() == "hello"


async def test_it_may_discover_and_shake_hands_twice():
    async with connected() as peer:
        await peer.discover()
        await peer.discover()
        assert await peer.initialize() == "2025-11-25"
        assert await peer.initialize() == "2025-11-25"
        assert await peer.call() == "hello"


async def test_after_discovering_twice_it_may_call_in_the_newer_way():
    async with connected() as peer:
        await peer.discover()
        await peer.discover()
        assert await peer.call(_meta=PINNED) == "hello"
        assert "result" in await peer.discover()


async def test_a_notification_decides_nothing():
    async with connected() as peer:
        await peer.tell("notifications/cancelled")
        await peer.discover()
        assert await peer.initialize() == "2025-11-25"


async def test_once_the_old_way_is_chosen_the_question_is_the_connections_own():
    async with connected() as peer:
        await peer.initialize()
        assert (await peer.discover())["error"]["code"] == -32600


async def test_a_client_that_is_gone_before_its_answer_is_no_error():
    server = build()
    send, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](4)
    outgoing, receive = anyio.create_memory_object_stream[SessionMessage](0)
    receive.close()
    request = JSONRPCRequest(jsonrpc="2.0", id=1, method="server/discover", params={"_meta": PINNED})
    with anyio.fail_after(5):
        async with send, incoming, outgoing:
            await send.send(SessionMessage(request))
            send.close()
            options = server.create_initialization_options()
            await server.run(Probing(incoming, outgoing, server), outgoing, options)
