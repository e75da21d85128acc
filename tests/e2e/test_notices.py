"""Word of changes from a real server, on every transport and in both protocol generations."""

import json
from contextlib import asynccontextmanager

import anyio
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from tests.e2e.silent_provider import told
from tests.e2e.wire import LEGACY, MODERN

UPDATED = "notifications/resources/updated"
LISTS = ("notifications/resources/list_changed", "notifications/prompts/list_changed")
NEW = "eai://cards/new"
WORK = "eai://sessions/work"
# What is there on the older protocol only is called deprecated by the SDK.
pytestmark = pytest.mark.filterwarnings(f"ignore::{MCPDeprecationWarning.__module__}.MCPDeprecationWarning")


def add_card(house, title="New"):
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": title, "description": "A card."}}
    (house.folder / "cards" / "new.json").write_text(json.dumps(card), encoding="utf-8")


async def test_over_stdio_on_the_older_protocol(house):
    """Issue 8: list_changed and resource-updated; catalog files that change on disk are announced."""
    async with house.server(era=LEGACY) as wire:
        await wire.ask("resources/subscribe", uri=NEW)
        add_card(house)
        assert await wire.notified(UPDATED) == {"uri": NEW}
        for method in LISTS:
            await wire.notified(method)
        (contents,) = (await wire.ask("resources/read", uri=NEW))["contents"]
        assert json.loads(contents["text"])["title"] == "New"
        add_card(house, "Newer")
        await wire.notified(UPDATED)
        await told(wire, "ensure_session", chat_session="work")
        await wire.notified(LISTS[0])


async def test_over_stdio_on_the_newer_protocol(house):
    """Issue 8: list_changed and resource-updated; catalog files that change on disk are announced."""
    async with house.server(era=MODERN) as wire:
        wanted = {"resourceSubscriptions": [NEW], "resourcesListChanged": True, "promptsListChanged": True}
        number = await wire.begin("subscriptions/listen", notifications=wanted | {"toolsListChanged": True})
        acknowledged = await wire.notified("notifications/subscriptions/acknowledged")
        assert acknowledged["notifications"] == wanted
        add_card(house)
        for method in (UPDATED, *LISTS):
            meta = (await wire.notified(method))["_meta"]
            assert meta["io.modelcontextprotocol/subscriptionId"] == number
        offered = (await wire.ask("server/discover"))["capabilities"]
        assert [offered[name]["listChanged"] for name in ("resources", "prompts", "tools")] == [
            True,
            True,
            False,
        ]


async def test_who_asked_for_nothing_hears_nothing_on_the_newer_protocol(house):
    async with house.server(era=MODERN) as wire:
        await told(wire, "ensure_session", chat_session="work")
        add_card(house)
        await told(wire, "list_catalog", kind="cards")
        assert wire.notifications == []


@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_a_session_that_another_process_changed(house, era):
    """Issue 8: resource-updated. Several servers may share one file with sessions."""
    async with house.server(era=era) as wire, house.server() as other:
        if era == LEGACY:
            await wire.ask("resources/subscribe", uri=WORK)
        else:
            await wire.begin("subscriptions/listen", notifications={"resourceSubscriptions": [WORK]})
            await wire.notified("notifications/subscriptions/acknowledged")
        await told(other, "talk", chat_session="work", content="hello")
        assert (await wire.notified(UPDATED))["uri"] == WORK


class Heard:
    """The notices that a client of the older protocol got."""

    def __init__(self):
        self.send, self.receive = anyio.create_memory_object_stream[str](100)

    async def __call__(self, message):
        if isinstance(message, types.ResourceUpdatedNotification):
            self.send.send_nowait(message.params.uri)
        elif isinstance(message, types.Notification):
            self.send.send_nowait(message.method)

    async def all_of(self, *wanted):
        """Wait until each was told."""
        missing = set(wanted)
        while missing:
            missing.discard(await self.receive.receive())


@asynccontextmanager
async def connected(house, transport, *options, mode, hear=None):
    async with house.carried(transport, *options) as url:
        where = sse_client(url) if transport == "sse" else url
        with anyio.fail_after(20):
            async with Client(where, mode=mode, message_handler=hear) as client:
                yield client


@pytest.mark.parametrize("transport", [("sse",), ("http", "--stateful")], ids=" ".join)
async def test_over_connections_that_last_on_the_older_protocol(house, transport):
    """Issue 8: legacy subscribe and list_changed, over stdio, SSE, HTTP."""
    hear = Heard()
    with hear.send, hear.receive:
        async with connected(house, *transport, mode="legacy", hear=hear) as client:
            offered = client.server_capabilities
            assert (offered.resources.subscribe, offered.resources.list_changed) == (True, True)
            assert (offered.prompts.list_changed, offered.tools.list_changed) == (True, False)
            await client.subscribe_resource(WORK)
            await client.call_tool("talk", {"chat_session": "work", "content": "hello"})
            await hear.all_of(WORK, LISTS[0])
            add_card(house)
            await hear.all_of(*LISTS)


@pytest.mark.parametrize("transport", [("http",), ("http", "--stateful")], ids=" ".join)
async def test_over_http_on_the_newer_protocol(house, transport):
    """Issue 8: modern `subscriptions/listen`; it needs no connection that lasts."""
    async with connected(house, *transport, mode="2026-07-28") as client:
        asked = {
            "resource_subscriptions": [NEW],
            "resources_list_changed": True,
            "prompts_list_changed": True,
        }
        async with client.listen(**asked) as heard:
            add_card(house)
            events = {await anext(heard) for _ in range(3)}
    assert events == {ResourceUpdated(NEW), ResourcesListChanged(), PromptsListChanged()}


async def test_where_each_request_stands_alone_it_is_said_not_to_exist(house):
    """DESIGN section 11: on legacy stateless HTTP subscriptions and list_changed do not exist."""
    async with connected(house, "http", mode="legacy") as client:
        offered = client.server_capabilities
        assert (offered.resources.subscribe, offered.resources.list_changed) == (False, False)
        assert (offered.prompts.list_changed, offered.tools.list_changed) == (False, False)
        with pytest.raises(MCPError) as caught:
            await client.subscribe_resource(WORK)
        assert caught.value.code == types.METHOD_NOT_FOUND
