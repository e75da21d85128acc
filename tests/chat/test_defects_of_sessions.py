"""What goes wrong with sessions and signals in the Go library that this is modelled on, and does not here.

Issue 6: A table-driven test of every defect told in chit.md sections 1.3 to 1.11 showing that it does not
happen here: sections 1.8 to 1.11. See `tests.chat.test_defects` for the others.
"""

from collections import Counter
from typing import Any

import anyio
import pytest

from eai_mcp.calls import ResourcePushed, TextDelta
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import CallTimeout, Refused, SessionBusy, TurnOver
from eai_mcp.messages import ToolUseBlock, assistant, user
from eai_mcp.middleware import Ask, Refuse
from eai_mcp.observe import Observers, ignore
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from tests.chat.defects import Rows, confirms, ended
from tests.chat.layering import RoundTurn, layers
from tests.chat.taking import ask, asks, begin, history, opened, texts, uses
from tests.fakes import Held, Scripted, said
from tests.pipeline.asking import DOWN, Facts, model

TABLE = Rows()
row = TABLE.row


@row("1.8", "doubled user message: what failed once is sent twice by the next")
async def _(catalog):
    async with opened(catalog, DOWN, DOWN, said("ok")) as (registry, call):
        for _ in range(2):
            assert await ended(registry, await begin(registry, "a")) == "provider_unavailable"
        await ask(registry, "a")
        assert [one.messages for one in call.requests] == [(user("a"),)] * 3
        assert await texts(registry) == ["a", "ok"]


@row("1.8", "lost continuation: the answer that failed stays, the question goes, and the next is a new turn")
async def _(catalog):
    layer = RoundTurn(confirms)
    async with opened(catalog, DOWN, said("ok"), layers=layers(layer)) as (registry, call):
        waiting = await ask(registry, "hello")
        assert await ended(registry, await begin(registry, "yes")) == "provider_unavailable"
        assert (await registry.session("", "default")).question is not None
        assert (await ask(registry, "yes!")).turn_id == waiting.turn_id
        shown = (user("hello"), assistant("sure?"), user("yes!"))
        assert call.requests[1].messages == shown
        assert [*shown, assistant("ok")] == await history(registry)
    assert [given.asked is not None for given in layer.given] == [False, True, True]


@row("1.8", "one answer that middleware rejects costs the whole flow")
async def _(catalog):
    async def wizard(given, go_on):
        if given.asked is None:
            return Ask("name?", {"known": []})
        if len(given.message.text) > 9:
            return Refuse("too long")
        known = [*given.asked.state["known"], given.message.text]
        return Ask("and?", {"known": known}) if len(known) < 3 else said(" ".join(known))

    async with opened(catalog, layers=layers(RoundTurn(wizard))) as (registry, _):
        for text in ("go", "a", "b"):
            await ask(registry, text)
        with pytest.raises(Refused, match="too long"):
            await ask(registry, "much too long")
        assert (await ask(registry, "c")).reply == "a b c"
        assert await texts(registry) == ["go", "name?", "a", "and?", "b", "and?", "c", "a b c"]


@row("1.9", "interleaved history: three at once run at once, and their messages mix")
async def _(catalog):
    steps = [said(name) for name in "ABC"]
    async with opened(catalog, *steps) as (registry, call):
        ends: Counter[str] = Counter()

        async def talk(text, if_busy):
            try:
                ends[(await ask(registry, text, if_busy=if_busy)).status] += 1
            except SessionBusy:
                ends["busy"] += 1

        for if_busy in ("wait", "error"):
            async with anyio.create_task_group() as tasks:
                for text in "abc":
                    tasks.start_soon(talk, text, if_busy)
            if if_busy == "wait":
                assert [len(one.messages) for one in call.requests] == [1, 3, 5]
                call.steps.append(said("D"))
        roles = [message.role for message in await history(registry)]
        assert roles == ["user", "assistant"] * 4
        assert ends == {"completed": 4, "busy": 2}


@row("1.9", "a second input while a continuation runs is a new turn")
async def _(catalog):
    held, layer = Held("par"), RoundTurn(confirms)
    async with opened(catalog, held, layers=layers(layer)) as (registry, call):
        await ask(registry, "hello")
        turn = await begin(registry, "yes")
        await held.reached.wait()
        with pytest.raises(SessionBusy) as caught:
            await ask(registry, "yes")
        assert caught.value.details["turn_id"] == turn.turn_id
        held.let_go.set()
        assert (await registry.reply(turn, 5)).reply == "pardone"
        assert (len(call.requests), len(layer.given)) == (1, 2)


@row("1.9", "overlapping yields: the last one wins, and the other's question can never be answered")
async def _(catalog):
    async with opened(catalog, said("ok"), layers=layers(RoundTurn(confirms))) as (registry, _):
        turns: list[TurnResult | SessionBusy] = []

        async def talk(text):
            try:
                turns.append(await ask(registry, text))
            except SessionBusy as busy:
                turns.append(busy)

        async with anyio.create_task_group() as tasks:
            for text in "ab":
                tasks.start_soon(talk, text)
        (waiting,) = [one for one in turns if not isinstance(one, SessionBusy)]
        assert (len(turns), waiting.status) == (2, "awaiting_input")
        assert (await ask(registry, "yes")).turn_id == waiting.turn_id
        assert len(await texts(registry)) == 4


@row("1.10", "walk-away time-out: what was left goes on, and speaks in a later turn")
async def _(catalog):
    kept: list[Any] = []

    async def deaf(request, emit):
        kept.append(emit)
        await emit(TextDelta("half"))
        await anyio.sleep_forever()

    held = Held("new ")
    async with opened(catalog, deaf, held, limits=Limits(turn_s=0.01)) as (registry, _):
        with pytest.raises(CallTimeout, match="longer than its limit"):
            await ask(registry, "a")
        turn = await begin(registry, "b", model="hasty")
        await held.reached.wait()
        with pytest.raises(TurnOver):
            await kept[0](TextDelta("late"))
        held.let_go.set()
        assert (await registry.reply(turn, 5)).reply == "new done"
        assert await texts(registry) == ["a", "half", "b", "new done"]


@row("1.10", "fallback after cancel: whoever stops a turn gets the answer of another model")
async def _(catalog):
    second, held = Scripted([said("late")]), Held()
    links = [("a", Guards().guarded(model(), held)), ("b", second)]
    async with opened(catalog, whole(links, observe=ignore)) as (registry, _):
        turn = await begin(registry, "hi")
        await held.reached.wait()
        assert (await registry.interrupt("", "default")).status == "interrupted"
        assert (await registry.reply(turn, 5)).reply == ""
        assert (second.requests, await history(registry)) == ([], [])


@row("1.11", "raw text in signals, and none at all of what was pushed")
async def _(catalog):
    async def pushes(given, go_on):
        await given.emit(ResourcePushed(kind="note", uri="a:b", payload="secret payload"))
        return await go_on(given)

    facts = Facts()
    tool = ToolUseBlock("u1", "rm", {"path": "/secret/path"})
    steps = [uses(tool, asks("secret question?")), said("secret reply"), RuntimeError("secret bug")]
    async with opened(catalog, *steps, observe=facts, layers=layers(RoundTurn(pushes))) as (registry, _):
        await ask(registry, "secret input")
        await ask(registry, "secret answer")
        await ended(registry, await begin(registry, "secret input"))
    assert "secret" not in repr(list(facts))
    assert facts.of("turn.received")[0] == {"model": "plain", "characters": len("secret input")}
    assert facts.of("resource.pushed") == [{"kind": "note", "uri": "a:", "bytes": len("secret payload")}] * 3


@row("1.11", "no signal says whose it is, and none comes in order: overlapping turns cannot be told apart")
async def _(catalog):
    facts = Facts()
    steps = [Held("a"), Held("b")]
    async with opened(catalog, *steps, observe=Observers([facts])) as (registry, _):
        turns = [await begin(registry, "hi", session=name, request_id=f"r-{name}") for name in "xy"]
        for held in reversed(steps):
            await held.reached.wait()
            held.let_go.set()
        for turn in turns:
            await registry.reply(turn, 5)
    for name, turn in zip("xy", turns, strict=True):
        own = [fact for fact in facts if fact.request_id == f"r-{name}"]
        assert [fact.name for fact in own] == ["turn.received", "turn.started", "turn.completed"]
        assert {(fact.session, fact.turn_id) for fact in own} == {(name, turn.turn_id)}
    numbers = [fact.seq for fact in facts]
    assert numbers == sorted(set(numbers))
    assert 0 not in numbers


@row("1.11", "a turn that is cancelled leaves no trace at all")
async def _(catalog):
    facts, held = Facts(), Held("secret")
    call = whole([("a", Guards(observe=facts).guarded(model(), held))], observe=facts)
    async with opened(catalog, call, observe=facts) as (registry, _):
        await begin(registry, "hi", request_id="r")
        await held.reached.wait()
        await registry.interrupt("", "default")
    assert facts.names[1:] == [
        "turn.received",
        "turn.started",
        "call.started",
        "provider.attempt",
        "provider.cancelled",
        "call.cancelled",
        "turn.cancelled",
    ]
    assert {fact.request_id for fact in facts[1:]} == {"r"}


@row("1.11", "a listener that is behind blocks the sender")
async def _(catalog):
    sending, receiving = anyio.create_memory_object_stream[Any](1)
    facts = Facts()
    observers = Observers([sending.send_nowait, facts])
    with sending, receiving:
        async with opened(catalog, *[said("x")] * 30, observe=observers) as (registry, _):
            for _ in range(30):
                await ask(registry, "hi")
    assert len(facts.of("turn.completed")) == 30
    assert sum(observers.failures.values()) == len(facts) - 1


@row("1.11", "one instance for the whole process hears everybody")
async def _(catalog):
    here, there = Facts(), Facts()
    async with opened(catalog, said("x"), observe=here) as (registry, _):
        async with opened(catalog, said("y"), observe=there) as (other, _):
            await ask(other, "hi")
        assert here == []
        await ask(registry, "hi")
    assert not {fact.turn_id for fact in here} & {fact.turn_id for fact in there if fact.turn_id}


@pytest.mark.parametrize("scenario", TABLE.scenarios, ids=TABLE.ids)
async def test_it_does_not_go_wrong_here(scenario, catalog):
    await scenario(catalog)
