"""Who is told of what, how often, and how many they may be."""

from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.server.connection import Connection
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated

from eai_mcp.observe import Fact
from eai_mcp.server.changes import SETTLED, Changed, List
from eai_mcp.server.principal import SPACE
from eai_mcp.server.subscribers import MOST_URIS, Subscriber
from eai_mcp.server.subscriptions import (
    MOST_IN_SPACE,
    MOST_SUBSCRIBERS,
    MOST_URIS_IN_SPACE,
    Notices,
)

WORK = "eai://sessions/work"
RESOURCES: tuple[List, ...] = ("resources",)
LIST = "eai://sessions"


async def nobody(event):
    pass


async def test_a_client_does_not_subscribe_without_end():
    subscriber = Subscriber("", nobody)
    for number in range(MOST_URIS):
        subscriber.want(f"x:{number}")
    subscriber.want("x:0")  # is there already
    with pytest.raises(MCPError, match="at most 1000 resources"):
        subscriber.want("x:more")


@pytest.mark.parametrize("name", [*SETTLED, "session.replaced"])
async def test_each_end_of_a_turn_is_told(name):
    """Issue 6: resource-updated notices, when a turn of this process settles."""
    assert await heard(Fact(name, "work")) == [WORK, LIST]


@pytest.mark.parametrize("name", ["session.opened", "session.closed"])
async def test_a_session_that_comes_or_goes_is_told_in_the_list_too(name):
    """Issue 8: list_changed."""
    assert await heard(Fact(name, "work")) == [WORK, LIST, ResourcesListChanged()]
    assert await heard(Fact(name, "else")) == [LIST, ResourcesListChanged()]


@pytest.mark.parametrize("name", ["turn.started", "turn.resumed"])
async def test_a_turn_that_begins_makes_a_session_busy_and_is_not_in_its_history(name):
    assert await heard(Fact(name, "work")) == [LIST]


@pytest.mark.parametrize("name", ["turn.received", "output.delta", "provider.attempt", "circuit.rejected"])
async def test_other_facts_change_nothing(name):
    assert await heard(Fact(name, "work"), Fact(name, "else")) == []


@pytest.mark.parametrize("name", ["circuit.opened", "circuit.half_open", "circuit.closed"])
async def test_a_circuit_that_changes_changes_how_the_providers_stand_for_all(name):
    """Issue 6: a resource shows breaker and bucket states."""
    assert await heard(Fact(name, "else", space="bob")) == ["eai://providers"]


async def test_nobody_hears_of_what_happens_in_another_space():
    """Issue 8: no principal can subscribe to another's."""
    names = [*SETTLED, "session.opened", "session.closed", "session.replaced", "turn.started"]
    pushed = Fact("resource.pushed", "work", fields={"uri": WORK}, space="bob")
    assert await heard(*(Fact(name, "work", space="bob") for name in names), pushed) == []
    assert await heard(Fact("session.replaced", space="bob")) == []


async def test_very_many_sessions_that_were_restored_are_told_as_one():
    assert set(await heard(Fact("session.replaced", fields={"sessions": 501}))) == {
        WORK,
        LIST,
        ResourcesListChanged(),
    }


async def test_changed_lists_are_told_to_those_who_want_them():
    told: list[Any] = []
    async with telling(told, lists=("prompts",)) as notices:
        notices.tell(Changed(lists=("prompts", "resources", "tools")))
    assert told == [PromptsListChanged()]


@asynccontextmanager
async def telling(told, *wanted, space="", lists=()):
    """Notices with one subscriber, whose events are gathered until the end."""

    async def tell(event):
        told.append(event.uri if isinstance(event, ResourceUpdated) else event)

    notices, subscriber = Notices(), Subscriber(space, tell, lists=lists)
    notices._join(subscriber)
    for uri in wanted:
        await notices._want(subscriber, uri)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(subscriber.run)
            yield notices
            await anyio.wait_all_tasks_blocked()
            subscriber.scope.cancel()


async def heard(*facts):
    """What somebody hears of facts who wants to hear of the session work, all sessions and the providers."""
    told: list[Any] = []
    async with telling(told, WORK, LIST, "eai://providers", lists=RESOURCES) as notices:
        for fact in facts:
            if notices.hears(fact.name):
                notices(fact)
    return told


async def test_a_slow_subscriber_is_told_once_of_what_changed_often_and_delays_nobody():
    """Issue 8: coalesced. Issue 6: a slow listener slows only its own turn."""
    told, reading, go_on = [], anyio.Event(), anyio.Event()

    async def tell(event):
        told.append(event.uri)
        reading.set()
        await go_on.wait()
        if len(told) == 3:
            slow.scope.cancel()

    notices, slow = Notices(), Subscriber("", tell)
    notices._join(slow)
    for name in ("a", "b"):
        await notices._want(slow, f"eai://sessions/{name}")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow.run)
            notices(Fact("turn.completed", "a"))
            await reading.wait()
            for _ in range(10_000):
                notices(Fact("turn.completed", "a"))
                notices(Fact("turn.completed", "b"))
            assert len(slow._untold) == 2
            go_on.set()
    assert told == ["eai://sessions/a", "eai://sessions/a", "eai://sessions/b"]


async def test_a_fast_subscriber_is_told_at_most_every_100_ms():
    """Issue 8: coalesced."""
    times = []

    async def tell(event):
        times.append(anyio.current_time())
        notices.tell(Changed(lists=RESOURCES))
        if len(times) == 3:
            subscriber.scope.cancel()

    notices, subscriber = Notices(), Subscriber("", tell, lists=RESOURCES)
    notices._join(subscriber)
    notices.tell(Changed(lists=RESOURCES))
    with anyio.fail_after(5):
        await subscriber.run()
    assert all(later - sooner >= 0.1 for sooner, later in pairwise(times))


async def test_what_is_forgotten_is_not_told_any_more():
    told: list[Any] = []
    async with telling(told, WORK, LIST) as notices:
        (subscriber,) = notices._subscribers
        notices(Fact("turn.completed", "work"))
        notices._unwant(subscriber, subscriber.forget(WORK))
        notices(Fact("turn.completed", "work"))
    assert told == [LIST]


async def test_clients_do_not_subscribe_without_end():
    notices = Notices()
    for number in range(MOST_SUBSCRIBERS):
        notices._check_room(f"p{number // 100}")
        notices._join(Subscriber(f"p{number // 100}", nobody, is_asked=True))
    with pytest.raises(MCPError, match="1000 clients subscribe already"):
        notices._check_room("another")


async def test_one_principal_does_not_use_up_what_is_there_for_all():
    notices = Notices()
    for _ in range(MOST_IN_SPACE):
        notices._join(Subscriber("greedy", nobody, is_asked=True))
    with pytest.raises(MCPError, match="250 clients of yours subscribe already"):
        notices._check_room("greedy")
    notices._check_room("modest")


async def test_connections_that_ask_for_nothing_leave_room_for_those_that_do():
    notices = Notices()
    for _ in range(MOST_SUBSCRIBERS):
        notices._join(Subscriber("", nobody, lists=RESOURCES))
    notices._check_room("")


async def test_the_resources_of_a_space_have_a_limit_too():
    notices = Notices()
    for number in range(MOST_URIS_IN_SPACE // MOST_URIS):
        subscriber = Subscriber("", nobody, is_asked=True)
        notices._join(subscriber)
        for uri in range(MOST_URIS):
            subscriber.want(f"x:{number}/{uri}")
    other = Subscriber("", nobody, is_asked=True)
    notices._join(other)
    with pytest.raises(MCPError, match="10000 resources are subscribed to already"):
        await notices._want(other, "x:more")


class Broken:
    """A look-out that fails the first time."""

    def __init__(self):
        self.looks = 0

    def begin(self):
        pass

    async def look(self, wanted):
        self.looks += 1
        if self.looks == 1:
            raise AssertionError("a bug")
        return [Changed(lists=RESOURCES)]


async def test_a_bug_in_looking_ends_neither_the_looking_nor_the_server(caplog):
    told, broken = list[Any](), Broken()
    watch: Any = broken

    async def tell(event):
        told.append(event)
        subscriber.scope.cancel()

    notices, subscriber = Notices(watch), Subscriber("", tell, lists=RESOURCES)
    server: Any = None
    with anyio.fail_after(5):
        async with notices.lifespan(server), notices.lifespan(server):  # as with two connections over SSE
            notices._join(subscriber)
            await subscriber.run()
    assert (told, broken.looks) == ([ResourcesListChanged()], 2)
    assert "internal error" in caplog.text


class Nowhere:
    """An outbound channel into the void."""

    async def notify(self, method, params, opts=None):
        pass


def over_http(connection, space):
    """The context of a request that a principal sent over a connection."""
    request: Any = SimpleNamespace(scope={SPACE: space})
    session: Any = SimpleNamespace(_connection=connection)
    context: Any = SimpleNamespace(session=session, request=request, lifespan_context=NO_TASKS)
    return context


NO_TASKS = SimpleNamespace(start_soon=lambda run: None)


async def test_nobody_subscribes_over_the_connection_of_another():
    """Issue 8: no principal can subscribe to another's."""
    outbound: Any = Nowhere()
    connection, notices = Connection.for_loop(outbound), Notices()
    work = types.SubscribeRequestParams(uri=WORK)
    await notices.on_initialized(over_http(connection, "alice"), types.NotificationParams())
    await notices.on_subscribe(over_http(connection, "alice"), work)
    with pytest.raises(MCPError, match="somebody else's"):
        await notices.on_subscribe(over_http(connection, "bob"), work)
    await notices.on_unsubscribe(over_http(connection, "bob"), types.UnsubscribeRequestParams(uri=WORK))
    assert [subscriber.space for subscriber in notices._wanting[WORK]] == ["alice"]
    await connection.exit_stack.aclose()
    assert not notices._wanting


async def test_what_stands_alone_is_not_taken_for_a_connection():
    """DESIGN section 11: on legacy stateless HTTP list_changed does not exist."""
    notices = Notices()
    alone = Connection.from_envelope("2025-11-25", None, None)
    await notices.on_initialized(over_http(alone, ""), types.NotificationParams())
    assert not notices.hears("session.opened")
