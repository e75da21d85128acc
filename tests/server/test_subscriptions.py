"""Word of changed resources, in both protocol generations."""

from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.subscriptions import ResourceUpdated

from eai_mcp.calls import ResourcePushed
from eai_mcp.observe import Fact, Observers
from eai_mcp.server.subscriptions import MOST_SUBSCRIBERS, MOST_URIS, SETTLED, Notices, Subscriber
from tests.fakes import said
from tests.server.calling import call

OLDER = pytest.mark.parametrize("era", ["legacy"])
NEWER = pytest.mark.parametrize("era", ["2026-07-28"])
# What is there on the older protocol only is called deprecated by the SDK.
pytestmark = pytest.mark.filterwarnings(f"ignore::{MCPDeprecationWarning.__module__}.MCPDeprecationWarning")
WORK = "eai://sessions/work"


class Mailbox:
    """The notices that a client got, in order."""

    def __init__(self):
        self.send, self.receive = anyio.create_memory_object_stream[str](100)

    async def __call__(self, message):
        if isinstance(message, types.ResourceUpdatedNotification):
            self.send.send_nowait(str(message.params.uri))


async def nobody(uri):
    pass


async def push(request, emit):
    await emit(ResourcePushed(kind="log", uri="file:///out/log", payload="x"))
    return said("Look.")


@OLDER
async def test_on_the_older_protocol_who_subscribed_hears_of_turns_and_pushes(connected):
    """Issue 6: resources pushed during a turn arrive as resource-updated notices."""
    box = Mailbox()
    async with connected(push, said("1"), client={"message_handler": box}) as (client, _):
        with box.send, box.receive:
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
        wanted = ["file:///out/log", WORK]
        async with client.listen(resource_subscriptions=wanted, tools_list_changed=True) as heard:
            assert heard.honored.resource_subscriptions == wanted
            assert heard.honored.tools_list_changed is None
            await call(client, "talk", content="go", chat_session="work")
            events = [await anext(heard), await anext(heard)]
    assert {event.uri for event in events} == set(wanted)
    assert all(isinstance(event, ResourceUpdated) for event in events)


@pytest.mark.parametrize("era", ["legacy", "auto"])  # which asks what is offered by the newer protocol
async def test_subscribing_is_offered_and_lists_that_change_are_not(connected):
    """Issue 6: both eras; nothing is promised that is not there."""
    async with connected() as (client, _):
        offered = client.server_capabilities
    assert offered.resources.model_dump() == {"subscribe": True, "list_changed": False}
    assert offered.tools.list_changed is False


@OLDER
async def test_who_leaves_is_forgotten(connected):
    observers = Observers(())
    async with connected(observers=observers) as (client, _):
        await client.subscribe_resource(WORK)
        observe: Any = observers.sinks[0]
        notices = observe.__self__
        assert len(notices._subscribers) == 1
    assert not notices._subscribers
    assert not notices._connections


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
    subscriber = Subscriber(nobody)
    for number in range(MOST_URIS):
        subscriber.want(f"x:{number}")
    subscriber.want("x:0")  # is there already
    with pytest.raises(MCPError, match="at most 1000 resources"):
        subscriber.want("x:more")


@pytest.mark.parametrize("name", SETTLED)
async def test_each_end_of_a_turn_is_told(name):
    """Issue 6: resource-updated notices, when a turn of this process settles."""
    assert await heard(Fact(name, "work")) == [WORK]


@pytest.mark.parametrize("name", ["turn.started", "output.delta", "provider.attempt", "session.opened"])
async def test_other_facts_change_nothing(name):
    assert await heard(Fact(name, "work"), Fact("turn.completed", "else")) == []


async def test_a_circuit_that_changes_changes_how_the_providers_stand():
    """Issue 6: a resource shows breaker and bucket states."""
    assert await heard(Fact("circuit.opened")) == ["eai://providers"]


async def heard(*facts):
    """What somebody hears of facts who wants to hear of the session work and the providers."""
    told: list[str] = []

    async def tell(uri):
        told.append(uri)

    notices, subscriber = Notices(), Subscriber(tell)
    for uri in (WORK, "eai://providers"):
        subscriber.want(uri)
    notices._join(subscriber)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(subscriber.run)
            for fact in facts:
                notices.observe(fact)
            await anyio.wait_all_tasks_blocked()
            subscriber.scope.cancel()
    return told


async def test_a_slow_subscriber_is_told_once_of_what_changed_often_and_delays_nobody():
    """Issue 6: a slow listener slows only its own turn."""
    told, reading, go_on = [], anyio.Event(), anyio.Event()

    async def tell(uri):
        told.append(uri)
        reading.set()
        await go_on.wait()
        if len(told) == 3:
            slow.scope.cancel()

    notices, slow = Notices(), Subscriber(tell)
    for name in ("a", "b"):
        slow.want(f"eai://sessions/{name}")
    notices._join(slow)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow.run)
            notices.observe(Fact("turn.completed", "a"))
            await reading.wait()
            for _ in range(10_000):
                notices.observe(Fact("turn.completed", "a"))
                notices.observe(Fact("turn.completed", "b"))
            assert len(slow._changed) == 2
            go_on.set()
    assert told == ["eai://sessions/a", "eai://sessions/a", "eai://sessions/b"]


async def test_clients_do_not_subscribe_without_end():
    notices = Notices()
    for _ in range(MOST_SUBSCRIBERS):
        notices._join(Subscriber(nobody))
    with pytest.raises(MCPError, match="1000 clients subscribe already"):
        notices._join(Subscriber(nobody))
