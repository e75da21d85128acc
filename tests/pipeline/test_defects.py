"""What goes wrong in the Go library that these guards are modelled on, and does not here.

Issue 6: A table-driven test of every defect told in chit.md sections 1.3 to 1.11 showing that it does not
happen here (half-open storm, cancel counted as failure, fallback after cancel, lost continuation, reset state
on resume, unbounded wait, doubled text, piled-up middleware edits). Here are those that are about guards.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest

from eai_mcp.calls import AttemptFailed, TextDelta
from eai_mcp.catalog.entries import Breaker
from eai_mcp.chat.layers import Layers
from eai_mcp.errors import CallTimeout, CircuitOpen, RateLimited, Rejected, Throttled, TurnOver, Unavailable
from eai_mcp.messages import user
from eai_mcp.middleware import named
from eai_mcp.observe import ignore
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from tests.fakes import Scripted, said
from tests.pipeline.asking import DOWN, HELLO, REQUEST, Ears, Facts, Gate, forever, model
from tests.pipeline.clock import Clock, Hasty, settle

ROWS: list[Callable[[], Awaitable[None]]] = []
IDS: list[str] = []
TWICE = Breaker(failures=2, recovery_s=30)


def row(section: str, name: str) -> Callable[[Callable[[], Awaitable[None]]], None]:
    def add(scenario: Callable[[], Awaitable[None]]) -> None:
        ROWS.append(scenario)
        IDS.append(f"{section} {name}")

    return add


def guards(clock, **fields):
    return Guards(clock=clock, sleep=clock.sleep, chance=lambda: 0.5, **fields)


async def opened(table, **fields):
    """The guarded call of a model whose circuit has just opened."""
    a = model(attempts=1, breaker=TWICE, **fields)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await table.guarded(a, Scripted([DOWN]))(REQUEST, Ears())
    return a


async def cancelled(call, request=REQUEST):
    """Ask, and be cancelled while the call is under way."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, request, Ears())
            await settle()
            scope.cancel()
    assert scope.cancelled_caught


@row("1.4", "doubled text: a retry after half a reply leaves both halves with the listener")
async def _():
    async def half(request, emit):
        await emit(TextDelta("half"))
        raise Unavailable("broke off", partial="half")

    heard, clock = Ears(), Hasty()
    table = guards(clock)
    links = [("a", table.guarded(model(), half)), ("b", table.guarded(model("b"), Scripted([HELLO])))]
    with pytest.raises(Unavailable):
        await whole(links, layers=(), observe=ignore, clock=clock)(REQUEST, heard)
    assert heard == [TextDelta("half")]


@row("1.4", "a slow listener holds up others: what guards share is not held while it listens")
async def _():
    clock, listening = Clock(), anyio.Event()
    table = guards(clock)
    guarded = table.guarded(model(rate=5, concurrency=2), Scripted([HELLO, HELLO]))

    async def slow(event):
        await listening.wait()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guarded, REQUEST, slow)
            await settle()
            assert await guarded(REQUEST, Ears()) == HELLO
            assert table.standing()[0].under_way == 1
            listening.set()


@row("1.5", "piled-up middleware edits: each attempt sees the edits of those before it")
async def _():
    class Prefix:
        async def call(self, request, emit, go_on):
            first = user(f"m{request.messages[0].text}")
            return await go_on(replace(request, messages=(first,)), emit)

    call, clock = Scripted([DOWN, DOWN, HELLO]), Hasty()
    guarded = guards(clock).guarded(model(), call)
    request = replace(REQUEST, messages=(user("x"),))
    await whole([("a", guarded)], layers=named([Prefix()]), observe=ignore, clock=clock)(request, Ears())
    assert [one.messages[0].text for one in call.requests] == ["mx"] * 3
    assert request.messages == (user("x"),)


@row("1.5", "nothing can be done to a result by middleware")
async def _():
    class Sign:
        async def call(self, request, emit, go_on):
            return replace(await go_on(request, emit), warnings=("signed",))

    response = await whole([("a", Scripted([HELLO]))], layers=named([Sign()]), observe=ignore)(
        REQUEST, Ears()
    )
    assert response == replace(HELLO, warnings=("signed",))


@row("1.6", "the order of options decides what they mean")
async def _():
    """The limit is each attempt's, and the breaker counts attempts, whatever the file says first."""
    clock, call = Hasty(), Scripted([DOWN] * 9)
    a = model(attempts=9, attempt_timeout_s=7, breaker=Breaker(failures=3))
    with pytest.raises(CircuitOpen):
        await guards(clock).guarded(a, call)(REQUEST, Ears())
    assert [request.deadline for request in call.requests] == [1007, 1007.5, 1008.5]


@row("1.7", "reset state on resume: each resumed turn gets a fresh breaker")
async def _():
    clock = Hasty()
    table = guards(clock)
    a = await opened(table)
    resumed = Scripted([])
    for _ in range(6):
        with pytest.raises(CircuitOpen):
            await table.guarded(a, resumed)(REQUEST, Ears())
    assert resumed.requests == []


@row("1.7", "reset state on resume: each resumed turn gets a fresh bucket")
async def _():
    clock = Hasty()
    table = guards(clock)
    for _ in range(10):
        await table.guarded(model(rate=1, burst=1), Scripted([HELLO]))(REQUEST, Ears())
    assert clock.waits == pytest.approx([1.0] * 9)


@row("1.7", "a fallback on a resumed turn asks something else")
async def _():
    clock, second = Hasty(), Scripted([HELLO])
    table = guards(clock)
    links = [("a", table.guarded(model(attempts=1), Scripted([DOWN]))), ("b", second)]
    request = replace(REQUEST, messages=(user("q"), said("Which?").message, user("red")))
    await whole(links, layers=(), observe=ignore, clock=clock)(request, Ears())
    assert second.requests == [request]


@row("1.9", "overlapping attempts: a retry begins while the last attempt still works")
async def _():
    gate = Gate()

    async def stubborn(request, emit):
        if request.attempt > 1:
            assert gate.inside == 0
            return HELLO
        return await gate(request, emit)

    table = Guards(sleep=Hasty().sleep, chance=lambda: 0.5)
    with anyio.fail_after(5):
        response = await table.guarded(model(attempt_timeout_s=0.01), stubborn)(REQUEST, Ears())
    assert (response.attempts, gate.calls) == (2, 1)


@row("1.10", "every error is worth a retry, without a pause")
async def _():
    clock, call = Hasty(), Scripted([Rejected("wrong", status=400)])
    with pytest.raises(Rejected):
        await guards(clock).guarded(model(), call)(REQUEST, Ears())
    assert len(call.requests) == 1


@row("1.10", "backoff knows no cap and no wish of the provider")
async def _():
    clock = Hasty()
    steps = [DOWN, RateLimited("busy", retry_after_s=7), DOWN, DOWN, HELLO]
    a = model(attempts=5, backoff_first_s=1, backoff_longest_s=3)
    await guards(clock).guarded(a, Scripted(steps))(REQUEST, Ears())
    assert clock.waits == [1, 7, 3, 3]


@row("1.10", "walk-away time-out: what was left still speaks to the client, late")
async def _():
    kept = []

    async def deaf(request, emit):
        kept.append(emit)
        return await forever(request, emit)

    heard = Ears()
    with anyio.fail_after(5), pytest.raises(CallTimeout):
        await Guards().guarded(model(attempts=1, attempt_timeout_s=0.01), deaf)(REQUEST, heard)
    with pytest.raises(TurnOver):
        await kept[0](TextDelta("late"))
    assert heard == []


@row("1.10", "half-open storm: all who wait are let through at once")
async def _():
    clock, gate = Clock(), Gate()
    table = guards(clock)
    a = await opened(table)
    clock.now += 30
    refused = 0
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(table.guarded(a, gate), REQUEST, Ears())
            await settle()
            for _ in range(4):
                with pytest.raises(CircuitOpen):
                    await table.guarded(a, gate)(REQUEST, Ears())
                refused += 1
            gate.let_go.set()
    assert (gate.calls, refused) == (1, 4)


@row("1.10", "cancel counted as failure: clients who leave open the circuit")
async def _():
    table = guards(Clock())
    guarded = table.guarded(model(breaker=TWICE), forever)
    for _ in range(3):
        await cancelled(guarded)
    (standing,) = table.standing()
    assert (standing.circuit, standing.failures) == ("closed", 0)


@row("1.10", "an open circuit says neither that it is one nor for how long")
async def _():
    clock = Hasty()
    table = guards(clock)
    a = await opened(table)
    clock.now += 12
    with pytest.raises(CircuitOpen, match=r"'a'.*try again in 18 s") as error:
        await table.guarded(a, forever)(REQUEST, Ears())
    assert error.value.retry_after_s == 18


@row("1.10", "calls from before the opening put the reopening off")
async def _():
    clock, gate = Clock(), Gate()
    table = guards(clock)

    async def slow(request, emit):
        await gate(request, emit)
        raise DOWN

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def fail():
                with pytest.raises(Unavailable):
                    await table.guarded(model(attempts=1, breaker=TWICE), slow)(REQUEST, Ears())

            tasks.start_soon(fail)
            await settle()
            await opened(table)
            clock.now += 20
            gate.let_go.set()
    assert table.standing()[0].open_for_s == 10


@row("1.10", "open breaker retried pointlessly until attempts run out")
async def _():
    clock, facts = Hasty(), Facts()
    table = guards(clock, observe=facts)
    a = await opened(table)
    facts.clear()
    with pytest.raises(CircuitOpen):
        await table.guarded(replace(a, reliability=model(attempts=9).reliability), forever)(REQUEST, Ears())
    assert facts.names == ["provider.attempt", "circuit.rejected", "provider.failed"]
    assert clock.waits == []


@row("1.10", "unbounded wait for a token")
async def _():
    clock = Hasty()
    guarded = guards(clock).guarded(model(rate=0.001, burst=1), Scripted([HELLO]))
    await guarded(REQUEST, Ears())
    with pytest.raises(Throttled) as error:
        await guarded(REQUEST, Ears())
    assert error.value.retry_after_s == pytest.approx(1000)
    assert clock.waits == []


@row("1.10", "one bucket for each chat: no limit for a provider")
async def _():
    clock = Hasty()
    table = guards(clock)
    for session in "abc":
        guarded = table.guarded(model(rate=2, burst=1), Scripted([HELLO]))
        await guarded(replace(REQUEST, session=session), Ears())
    assert clock.waits == pytest.approx([0.5, 0.5])


@row("1.10", "fallback after cancel")
async def _():
    second = Scripted([HELLO])
    table = guards(Clock())
    links = [("a", table.guarded(model(), forever)), ("b", second)]
    await cancelled(whole(links, layers=(), observe=ignore))
    assert second.requests == []


@row("1.10", "fallback after the deadline, whose answer then counts as success")
async def _():
    second = Scripted([HELLO])
    links = [("a", Guards().guarded(model(), forever)), ("b", second)]
    request = replace(REQUEST, deadline=anyio.current_time() + 0.01)
    with anyio.fail_after(5), pytest.raises(CallTimeout):
        await whole(links, layers=(), observe=ignore)(request, Ears())
    assert second.requests == []


@row("1.10", "any error leads to the fallback")
async def _():
    second = Scripted([HELLO])
    with pytest.raises(Rejected):
        await whole([("a", Scripted([Rejected("wrong")])), ("b", second)], layers=(), observe=ignore)(
            REQUEST, Ears()
        )
    assert second.requests == []


@row("1.10", "only the last error is kept")
async def _():
    links = [("a", Scripted([Unavailable("a is down")])), ("b", Scripted([RateLimited("b is busy")]))]
    with pytest.raises(Unavailable, match="a is down; then 'b': rate_limited") as error:
        await whole(links, layers=(), observe=ignore)(REQUEST, Ears())
    assert error.value.details["tried"] == ("a: provider_unavailable", "b: rate_limited")


@row("1.10", "an error handler cannot tell attempts apart, and may change what failed")
async def _():
    seen = []

    class Handler:
        async def failed(self, failure):
            seen.append((failure.place, failure.attempt))
            raise ValueError("its own trouble")

    clock, heard, hear = Hasty(), Ears(), Layers(named([Handler()])).hear
    guarded = guards(clock, failed=hear).guarded(model(), Scripted([DOWN, DOWN, HELLO]))
    assert (await guarded(REQUEST, heard)).attempts == 3
    assert seen == [("attempt", 1), ("attempt", 2)]
    assert heard[:2] == [AttemptFailed("nobody is there")] * 2


@row("1.11", "signals hold what the user said, and are lost with a cancelled call")
async def _():
    facts = Facts()
    guarded = guards(Clock(), observe=facts).guarded(model(), forever)
    secret = replace(REQUEST, messages=(user("my secret"),))
    await cancelled(whole([("a", guarded)], layers=(), observe=facts), secret)
    assert facts.names == ["call.started", "provider.attempt", "provider.cancelled", "call.cancelled"]
    assert "secret" not in repr(list(facts))


@pytest.mark.parametrize("scenario", ROWS, ids=IDS)
async def test_it_does_not_go_wrong_here(scenario):
    await scenario()
