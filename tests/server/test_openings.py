"""How many connections of the older protocol one caller may leave open."""

import httpx2
import pytest

from eai_mcp.server.http import UNGUARDED
from eai_mcp.server.openings import Openings
from eai_mcp.server.principal import SPACE
from tests.e2e.echo_server import build
from tests.e2e.peer import HELLO
from tests.server.test_http import BOTH, opened

INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_one_caller_cannot_take_the_connections_of_all():
    """Issue 8: "per-principal sessions, limits and rate"."""
    server = build()
    app = server.streamable_http_app(transport_security=UNGUARDED)
    openings = Openings(app, server.session_manager, "/mcp", each=2)
    space = "ann"

    async def owned(scope, receive, send):
        await openings({**scope, SPACE: space}, receive, send)

    transport = httpx2.ASGITransport(app=owned)
    async with opened(app), httpx2.AsyncClient(transport=transport, base_url="http://here") as client:

        async def initialized():
            return await client.post("/mcp", json=INITIALIZE, headers=BOTH)

        first, second, third = [await initialized() for _ in range(3)]
        assert [reply.status_code for reply in (first, second, third)] == [200, 200, 429]
        assert "retry-after" in third.headers
        session = {**BOTH, "mcp-session-id": second.headers["mcp-session-id"]}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        assert (await client.post("/mcp", json=listing, headers=session)).status_code == 200
        space = "bob"
        assert (await initialized()).status_code == 200
        space = "ann"
        assert (await client.delete("/mcp", headers=session)).status_code == 200
        assert [(await initialized()).status_code for _ in range(2)] == [200, 429]
