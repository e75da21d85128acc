"""Word of changed resources, in both protocol generations."""

from typing import Any

import anyio
import anyio.lowlevel
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from eai_mcp.calls import ResourcePushed
from eai_mcp.observe import Fact, Observers
from tests.fakes import said
from tests.server.calling import call
from tests.server.learnt import LEARNT

OLDER = pytest.mark.parametrize("era", ["legacy"])
NEWER = pytest.mark.parametrize("era", ["2026-07-28"])
# What is there on the older protocol only is called deprecated by the SDK.
pytestmark = pytest.mark.filterwarnings(f"ignore::{MCPDeprecationWarning.__module__}.MCPDeprecationWarning")
WORK = "eai://sessions/work"


LISTS = "notifications/resources/list_changed"


class Mailbox:
    """The notices that a client got, in order: URIs, or the names of those that have none."""

    def __init__(self, *, lists=False):
        self.send, self.receive = anyio.create_memory_object_stream[str](10_000)
        self._lists = lists

    async def __call__(self, message):
        if isinstance(message, types.ResourceUpdatedNotification):
            self.send.send_nowait(str(message.params.uri))
        elif self._lists:
            self.send.send_nowait(message.method)

    async def until(self, wanted):
        """Wait until something was told; all that came before it."""
        told: list[str] = []
        while not told or told[-1] != wanted:
            told.append(await self.receive.receive())
        return told


async def push(request, emit):
    await emit(ResourcePushed(kind="log", uri="file:///out/log", payload="x"))
    return said("Look.")


@OLDER
async def test_on_the_older_protocol_who_subscribed_hears_of_turns_and_pushes(connected):
    """Issue 6: resources pushed during a turn arrive as resource-updated notices."""
    box = Mailbox()
    async with connected(push, said("1"), client={"message_handler": box}) as (client, _):
        with box.send, box.receive:
            await call(client, "ensure_session", chat_session="work")
            await client.subscribe_resource("file:///out/log")
            await client.subscribe_resource(WORK)
            await call(client, "talk", content="go", chat_session="work")
            assert {await box.receive.receive(), await box.receive.receive()} == {"file:///out/log", WORK}
            await client.unsubscribe_resource("file:///out/log")
            await client.unsubscribe_resource("file:///never/subscribed")
            await call(client, "talk", content="again", chat_session="work")
            assert await box.receive.receive() == WORK


@NEWER
async def test_on_the_newer_protocol_who_listens_hears_of_turns_and_pushes(connected):
    """Issue 6: resources pushed during a turn arrive as resource-updated notices."""
    async with connected(push) as (client, _):
        await call(client, "ensure_session", chat_session="work")
        wanted = ["file:///out/log", WORK]
        async with client.listen(resource_subscriptions=wanted) as heard:
            assert heard.honored.model_dump(exclude_none=True) == {"resource_subscriptions": wanted}
            await call(client, "talk", content="go", chat_session="work")
            events = [await anext(heard), await anext(heard)]
    assert {event.uri for event in events} == set(wanted)
    assert all(isinstance(event, ResourceUpdated) for event in events)


@pytest.mark.parametrize("era", ["legacy", "auto"])  # which asks what is offered by the newer protocol
async def test_what_is_offered_is_what_is_there(connected):
    """Issue 8: list_changed and resource-updated in both eras. The tools never change."""
    async with connected() as (client, _):
        offered = client.server_capabilities
    assert offered.resources.model_dump() == {"subscribe": True, "list_changed": True}
    assert offered.prompts.list_changed is True
    assert offered.tools.list_changed is False


@OLDER
async def test_on_the_older_protocol_every_connection_hears_of_sessions_that_come_and_go(connected):
    """Issue 8: list_changed in both eras."""
    box = Mailbox(lists=True)
    async with connected(client={"message_handler": box}) as (client, _):
        with box.send, box.receive:
            for tool in ("ensure_session", "close_session"):
                await call(client, tool, chat_session="work")
                assert await box.receive.receive() == LISTS


@NEWER
async def test_on_the_newer_protocol_who_listens_hears_of_sessions_that_come_and_go(connected):
    """Issue 8: list_changed in both eras, acknowledged as it is told."""
    async with connected() as (client, _):
        asked = {"resources_list_changed": True, "prompts_list_changed": True, "tools_list_changed": True}
        async with client.listen(**asked) as heard:
            assert heard.honored.model_dump(exclude_none=True) == {
                "resources_list_changed": True,
                "prompts_list_changed": True,
            }
            for tool in ("ensure_session", "close_session"):
                await call(client, tool, chat_session="work")
                assert await anext(heard) == ResourcesListChanged()


@NEWER
async def test_who_listens_for_nothing_hears_nothing(connected):
    async with connected() as (client, _), client.listen() as heard:
        assert heard.honored.model_dump(exclude_none=True) == {}
        await call(client, "ensure_session", chat_session="work")
        with anyio.move_on_after(0.2) as waited:
            await anext(heard)
    assert waited.cancelled_caught


@OLDER
async def test_a_history_that_was_replaced_is_told(connected):
    """Issue 8: resource-updated."""
    box = Mailbox()
    async with connected(client={"message_handler": box}) as (client, _):
        with box.send, box.receive:
            await client.subscribe_resource("eai://sessions")
            for told in ({"content": LEARNT}, {"content": LEARNT[:1]}, {"revision": 1}):
                await call(client, "replace_history", chat_session="work", **told)
                await box.until("eai://sessions")
            await client.subscribe_resource(WORK)
            await call(client, "replace_history", chat_session="work", content=LEARNT)
            await box.until(WORK)


@OLDER
async def test_sessions_that_were_restored_are_told_each(connected, tmp_path):
    """Issue 8: resource-updated."""
    box, facts = Mailbox(), list[Fact]()
    options = {
        "client": {"message_handler": box},
        "exports": tmp_path,
        "observers": Observers([facts.append]),
    }
    async with connected(**options) as (client, _):
        with box.send, box.receive:
            for name in ("work", "play"):
                await call(client, "ensure_session", chat_session=name)
            await call(client, "snapshot", file_path="all")
            await call(client, "close_session", chat_session="play")
            await call(client, "ensure_session", chat_session="more")
            await client.subscribe_resource("eai://sessions/more")
            facts.clear()
            await call(client, "restore", file_path="all", mode="replace")
            assert await box.receive.receive() == "eai://sessions/more"
    assert [(fact.name, fact.session) for fact in facts] == [
        ("session.replaced", "default"),
        ("session.opened", "play"),
        ("session.replaced", "work"),
        ("session.closed", "more"),
    ]


@OLDER
async def test_who_leaves_is_forgotten(connected):
    observers = Observers(())
    async with connected(observers=observers) as (client, _):
        await client.subscribe_resource(WORK)
        notices: Any = observers.sinks[0]
        assert len(notices._subscribers) == len(notices._wanting) == 1
    assert not notices._subscribers
    assert not notices._wanting
    assert not notices._connections


@NEWER
async def test_who_ends_a_subscription_is_forgotten(connected):
    observers = Observers(())
    async with connected(observers=observers) as (client, _):
        async with client.listen(resource_subscriptions=[WORK]):
            notices: Any = observers.sinks[0]
            assert len(notices._subscribers) == len(notices._wanting) == 1
            assert notices.hears("turn.completed")
        with anyio.fail_after(5):
            while notices._subscribers:
                await anyio.lowlevel.checkpoint()
        assert not notices._wanting
        assert not notices.hears("turn.completed")
        assert not notices.hears("session.opened")


@OLDER
async def test_a_name_of_a_session_may_be_written_in_other_ways(connected):
    box, observers = Mailbox(), Observers(())
    async with connected(client={"message_handler": box}, observers=observers) as (client, _):
        with box.send, box.receive:
            await client.subscribe_resource("eai://sessions/%61%40b")
            observers(Fact("turn.completed", "a@b"))
            assert await box.receive.receive() == "eai://sessions/%61%40b"


@OLDER
async def test_nobody_subscribes_without_end(connected):
    async with connected() as (client, _):
        with pytest.raises(MCPError, match="at most 1000 resources of up to 4096 characters"):
            await client.subscribe_resource("x:" + "y" * 4096)


FOREIGN = ["eai://nope", "eai://nope/x", "eai://models/a/b", "eai://sessions/", "eai://sessions/a/pushed/t/0"]


@OLDER
@pytest.mark.parametrize("uri", FOREIGN)
async def test_on_the_older_protocol_what_could_never_be_here_cannot_be_subscribed_to(connected, uri):
    """Issue 8: unknown -> -32602."""
    async with connected() as (client, _):
        with pytest.raises(MCPError, match=f"no resource {uri}") as caught:
            await client.subscribe_resource(uri)
    assert caught.value.code == -32602


@NEWER
async def test_on_the_newer_protocol_only_what_could_be_here_is_acknowledged_and_once(connected):
    """Issue 8: resource-updated in both eras. What a turn pushes may have any URI."""
    ours = [
        *("eai://models", "eai://models/none", "eai://cards/x", "eai://prompts/x", "eai://providers"),
        *("eai://sessions", WORK, f"{WORK}/pushed/t/1", "file:///out/log"),
    ]
    async with (
        connected() as (client, _),
        client.listen(resource_subscriptions=[*ours, *FOREIGN, WORK]) as heard,
    ):
        assert heard.honored.resource_subscriptions == ours
