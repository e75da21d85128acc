"""How the server stands, as a resource and over HTTP."""

import json
from dataclasses import replace

import anyio
import httpx2
import pytest

from eai_mcp.errors import StorageUnavailable
from eai_mcp.pipeline.guards import Standing
from eai_mcp.server import status
from eai_mcp.server.http import build_app
from eai_mcp.server.shutdown import Ending
from tests.e2e.echo_server import build

OPEN = Standing(
    provider="openai_chat",
    model="plain-1",
    names=("plain",),
    circuit="open",
    failures=5,
    open_for_s=12.5,
    tokens=None,
    waiting=0,
    under_way=1,
    rate=None,
    concurrency=4,
)
TOLD = {
    "provider": "openai_chat",
    "model": "plain-1",
    "names": ["plain"],
    "circuit": "open",
    "failures": 5,
    "open_for_s": 12.5,
    "tokens": None,
    "waiting": 0,
    "under_way": 1,
    "rate": None,
    "concurrency": 4,
}


async def test_a_resource_shows_the_guards_of_each_model(connected):
    """Issue 6: a resource shows breaker and bucket states."""
    async with connected(standings=[OPEN]) as (client, _):
        listed = {str(one.uri): one for one in (await client.list_resources()).resources}
        (contents,) = (await client.read_resource("eai://providers")).contents
    assert listed["eai://providers"].mime_type == "application/json"
    assert json.loads(contents.text) == {"models": [TOLD]}


async def test_a_model_that_was_deleted_is_not_shown_any_more(connected, tmp_path):
    """Issue 8: catalog files that change on disk are reloaded."""
    gone = replace(OPEN, names=("gone",))
    both = replace(OPEN, names=("gone", "plain"), model="two")
    async with connected(standings=[OPEN, gone, both]) as (client, _):
        (contents,) = (await client.read_resource("eai://providers")).contents
    assert json.loads(contents.text) == {"models": [TOLD, {**TOLD, "model": "two"}]}


class Standings:
    """As much of an app as readiness needs: `read` is what its sessions do when they are read."""

    def __init__(self, read):
        self.registry = self
        self._read = read

    async def session(self, space, name):
        await self._read()

    def standing(self):
        return [OPEN]


def app_that(read):
    return Standings(read)


async def here():
    pass


async def damaged():
    raise StorageUnavailable("the file is damaged")


async def test_an_open_circuit_does_not_make_the_server_unready():
    """Issue 6: `/readyz` shows breaker and bucket states."""
    is_ready, told = await status.readiness(app_that(here))
    assert is_ready
    assert json.loads(json.dumps(told)) == {"status": "ready", "store": "ok", "models": [TOLD]}


async def test_a_store_that_cannot_be_read_does():
    assert await status.readiness(app_that(damaged)) == (
        False,
        {"status": "not_ready", "store": "storage_unavailable"},
    )


async def test_a_store_that_does_not_answer_is_not_waited_for():
    app = app_that(anyio.sleep_forever)
    with anyio.fail_after(5):
        assert await status.readiness(app, limit_s=0.01) == (
            False,
            {"status": "not_ready", "store": "timeout"},
        )


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("is_ready", "code"), [(True, 200), (False, 503)])
@pytest.mark.parametrize(
    ("headers", "is_all"),
    [({}, True), ({"host": "10.1.2.3:8000"}, False), ({"origin": "http://evil.example"}, False)],
)
async def test_readyz_says_it_in_the_words_of_http(is_ready, code, headers, is_all):
    """Issue 6: `/readyz`; a balancer has no name of ours, and pages of others hear of no model."""

    async def ready():
        return is_ready, {"status": "told", "models": []}

    app = build_app(build(), ("127.0.0.1", 8000), Ending(limit_s=None), ready=ready)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        reply = await client.get("/readyz", headers=headers)
        assert (await client.head("/readyz", headers=headers)).status_code == code
        assert (await client.post("/readyz", headers=headers)).status_code == (
            405 if is_all else 421 if "host" in headers else 403
        )
    assert reply.status_code == code
    assert reply.json() == ({"status": "told", "models": []} if is_all else {"status": "told"})


async def test_readyz_is_not_there_where_nobody_knows():
    app = build_app(build(), ("127.0.0.1", 8000), Ending(limit_s=None))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8000"
    ) as client:
        assert (await client.get("/readyz")).status_code == 404
