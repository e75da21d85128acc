"""What goes wrong with turns and sessions in the Go library that this is modelled on, and does not here.

Issue 6: A table-driven test of every defect told in chit.md sections 1.3 to 1.11 showing that it does not
happen here. Those of the guards alone are in `tests.pipeline.test_defects`, those about sessions and facts in
`tests.chat.test_defects_of_sessions`; `ELSEWHERE` names the others that have a test already.
"""

import importlib
import json
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest

from eai_mcp.calls import ResourcePushed, TextDelta
from eai_mcp.catalog.entries import Breaker
from eai_mcp.errors import CircuitOpen, EaiError, Internal, SessionBusy, Unavailable
from eai_mcp.messages import ToolUseBlock, user
from eai_mcp.middleware import Ask
from eai_mcp.observe import ignore
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from eai_mcp.server import progress
from tests.chat import test_defects_of_sessions as of_sessions
from tests.chat.defects import ELSEWHERE, Rows, confirms, ended, guarded
from tests.chat.layering import RoundTool, RoundTurn, layers
from tests.chat.taking import ask, asks, begin, history, opened, outcome, texts, uses
from tests.fakes import Held, Scripted, said
from tests.pipeline import test_defects as of_guards
from tests.pipeline.asking import DOWN, Facts, model
from tests.pipeline.clock import Hasty

TABLE = Rows()
row = TABLE.row
often = partial(progress.follow, heartbeat_s=0.001)


@row("1.3", "an outcome that is none comes after 'completed' was told, and leaves the input behind")
async def _(catalog):
    async def nothing(given, go_on):
        await go_on(given)

    facts = Facts()
    async with opened(catalog, said("x"), observe=facts, layers=layers(RoundTurn(nothing))) as (registry, _):
        with pytest.raises(Internal):
            await ask(registry, "hi")
        assert await history(registry) == []
    assert [name for name in facts.names if name.startswith("turn.")] == [
        "turn.received",
        "turn.started",
        "turn.failed",
    ]


@row("1.3", "a question without a way back is accepted, and the next input is a fresh turn")
async def _(catalog):
    for wrong in (Ask(""), Ask("x", {"way": {1, 2}}), Ask("x", expires_s=float("nan"))):  # type: ignore[dict-item]  # on purpose

        async def asks_wrongly(given, go_on, wrong=wrong):
            return wrong

        async with opened(catalog, layers=layers(RoundTurn(asks_wrongly))) as (registry, _):
            with pytest.raises(Internal, match="middleware RoundTurn failed"):
                await ask(registry, "hi")
            assert (await registry.session("", "default")).question is None
            assert await history(registry) == []


@row("1.4", "doubled text: what was streamed comes once more as the whole")
async def _(catalog):
    heard: list[str] = []

    async def report(seconds, text):
        heard.append(text)

    async def streams(request, emit):
        for piece in ("par", "tial"):
            await emit(TextDelta(piece))
            await anyio.wait_all_tasks_blocked()
        return said("partial")

    async with opened(catalog, streams) as (registry, _), anyio.create_task_group() as tasks:
        turn = await begin(registry, "hi")
        tasks.start_soon(progress.follow, turn, report)
        assert (await registry.reply(turn, 5)).reply == turn.heard.text == "partial"
        assert await texts(registry) == ["hi", "partial"]
    assert "partial".startswith("".join(heard))


@row("1.4", "who listens cannot ask the chat anything: a lock is held meanwhile")
async def _(catalog):
    learnt: list[Any] = []
    held = Held("par")

    async with opened(catalog, held) as (registry, _), anyio.create_task_group() as tasks:

        async def report(seconds, text):
            learnt.append(await history(registry))
            learnt.append((await registry.session("", "default")).running is not None)
            learnt.append((await outcome(registry)).status)
            with pytest.raises(SessionBusy):
                await begin(registry, "and?")
            held.let_go.set()

        turn = await begin(registry, "hi")
        tasks.start_soon(often, turn, report)
        assert (await registry.reply(turn, 5)).reply == "pardone"
    assert learnt[:3] == [[], True, "running"]


@row("1.4", "a client that is slow to listen blocks everybody else who has to do with that chat")
async def _(catalog):
    held, listening = Held("par"), anyio.Event()

    async def blocks(seconds, text):
        listening.set()
        await anyio.sleep_forever()

    async with opened(catalog, held, said("next")) as (registry, _), anyio.create_task_group() as tasks:
        turn = await begin(registry, "hi")
        tasks.start_soon(often, turn, blocks)
        await held.reached.wait()
        await listening.wait()
        assert (await outcome(registry)).reply == "par"
        held.let_go.set()
        assert (await registry.reply(turn, 5)).reply == "pardone"
        assert (await ask(registry, "and?")).reply == "next"
        tasks.cancel_scope.cancel()


@row("1.4", "an emit that fails comes out as the turn's error, although the turn is stored as completed")
async def _(catalog):
    async def report(seconds, text):
        raise BrokenPipeError

    held = Held("par")
    async with opened(catalog, held) as (registry, _):
        turn = await begin(registry, "hi")
        await held.reached.wait()
        with pytest.raises(BrokenPipeError):
            await often(turn, report)
        held.let_go.set()
        done = await registry.reply(turn, 5)
        assert (done.status, done.reply) == ("completed", "pardone")
        assert await outcome(registry) == done
        assert await texts(registry) == ["hi", "pardone"]


@row("1.4", "what cannot be pushed fails the turn, but only once its reply is in the history")
async def _(catalog):
    async def pushes(given, go_on):
        response = await go_on(given)
        await given.emit(ResourcePushed(kind="file", uri="no scheme"))
        return response

    facts = Facts()
    layer = layers(RoundTurn(pushes))
    async with opened(catalog, said("x"), observe=facts, layers=layer) as (registry, _):
        with pytest.raises(EaiError, match="uri with a scheme"):
            await ask(registry, "hi")
        assert await history(registry) == []
    assert facts.names[-1] == "turn.failed"


@row("1.5", "all layers share one object that each may change under the others")
async def _(catalog):
    async def meddles(given, go_on):
        given.message = user("meddled")

    async with opened(catalog, said("x"), layers=layers(RoundTurn(meddles))) as (registry, call):
        with pytest.raises(Internal, match="middleware RoundTurn failed"):
            await ask(registry, "hi")
        assert call.requests == []


@row("1.5", "maps inside are shared: what a layer writes there is written everywhere")
async def _(catalog):
    async def writes(given, go_on):
        given.metadata["n"] = 2
        return await go_on(given)

    async def empties(run, go_on):
        run.input.clear()
        return await go_on(run)

    use, mine = ToolUseBlock("u1", "rm", {"path": "/x"}), {"n": 1}
    stack = layers(RoundTurn(writes), RoundTool(empties))
    async with opened(catalog, uses(use), said("ok"), layers=stack) as (registry, call):
        done = await ask(registry, "hi", metadata=mine)
        assert (done.metadata, mine) == ({"n": 1}, {"n": 1})
        asked = (ToolUseBlock("u1", "rm", {"path": "/x"}),)
        assert call.requests[1].messages[1].content == asked
        assert (await history(registry))[1].content == asked


@row("1.5", "piled-up middleware edits: each attempt, and each resume, sees the edits of those before it")
async def _(catalog):
    async def prefixes(given, go_on):
        return await go_on(replace(given, message=user(f"m{given.message.text}")))

    call, behind = guarded(DOWN, DOWN, said("ok"), DOWN, said("ok"))
    stack = layers(RoundTurn(prefixes), RoundTurn(confirms))
    async with opened(catalog, *[call] * 2, layers=stack) as (registry, _):
        await ask(registry, "x")
        await ask(registry, "yes")
        assert [one.messages[-1].text for one in behind.requests] == ["myes"] * 3
        assert (await texts(registry))[-2:] == ["myes", "ok"]


@row("1.7", "reset state on resume: each resumed turn gets a fresh breaker")
async def _(catalog):
    breaker = Breaker(failures=2, recovery_s=30)
    call, behind = guarded(DOWN, DOWN, attempts=1, breaker=breaker)
    async with opened(catalog, *[call] * 7, layers=layers(RoundTurn(confirms))) as (registry, _):
        waiting = await ask(registry, "hi")
        ends = [await ended(registry, await begin(registry, "yes")) for _ in range(6)]
        assert ends == ["provider_unavailable"] * 2 + ["circuit_open"] * 4
        assert len(behind.requests) == 2
        question = (await registry.session("", "default")).question
        assert question is not None
        assert question.turn_id == waiting.turn_id


@row("1.7", "reset state on resume: what a resumed turn learnt does not hold for a first one")
async def _(catalog):
    call, behind = guarded(DOWN, attempts=1, breaker=Breaker(failures=1, recovery_s=30))

    async def confirms_work(given, go_on):
        return Ask("sure?") if given.session == "work" and given.asked is None else await go_on(given)

    async with opened(catalog, call, call, layers=layers(RoundTurn(confirms_work))) as (registry, _):
        await ask(registry, "hi", session="work")
        assert await ended(registry, await begin(registry, "yes", session="work")) == "provider_unavailable"
        with pytest.raises(CircuitOpen):
            await ask(registry, "hi")
        assert len(behind.requests) == 1


@row("1.7", "reset state on resume: each resumed turn gets a fresh bucket")
async def _(catalog):
    clock = Hasty(0.0)
    call, _behind = guarded(*[said("ok")] * 10, clock=clock, rate=1, burst=1)

    async def confirms_all_but_the_first(given, go_on):
        is_first = given.message.text == "first"
        return Ask("sure?") if given.asked is None and not is_first else await go_on(given)

    stack = layers(RoundTurn(confirms_all_but_the_first))
    async with opened(catalog, *[call] * 10, layers=stack) as (registry, _):
        await ask(registry, "first")
        for _ in range(9):
            await ask(registry, "hi")
            assert (await ask(registry, "yes")).reply == "ok"
    assert clock.waits == pytest.approx([1.0] * 9)


@row("1.7", "a fallback on a resume takes the answer for a new question")
async def _(catalog):
    clock, second = Hasty(0.0), Scripted([said("red it is")])
    table = Guards(clock=clock, sleep=clock.sleep)
    first = Scripted([uses(asks("which?")), Unavailable("nobody is there")])
    links = [("a", table.guarded(model(attempts=1), first)), ("b", table.guarded(model("b"), second))]
    call = whole(links, observe=ignore, clock=clock)
    async with opened(catalog, call, call) as (registry, _):
        waiting = await ask(registry, "paint")
        done = await ask(registry, "red")
        assert (done.reply, done.turn_id) == ("red it is", waiting.turn_id)
        assert second.requests[0].messages == first.requests[1].messages
        assert [message.role for message in second.requests[0].messages] == ["user", "assistant", "user"]
        assert done.warnings == ("model 'a' did not answer (provider_unavailable: nobody is there); 'b' did",)


@pytest.mark.parametrize("scenario", TABLE.scenarios, ids=TABLE.ids)
async def test_it_does_not_go_wrong_here(scenario, catalog):
    await scenario(catalog)


@pytest.mark.parametrize("defect", ELSEWHERE)
def test_what_has_its_test_elsewhere_has_it_there(defect):
    """Issue 6: "every defect told in chit.md sections 1.3 to 1.11": so the list cannot rot."""
    module, _, name = ELSEWHERE[defect].partition(":")
    assert callable(getattr(importlib.import_module(f"tests.{module}"), name))


IDS = (*TABLE.ids, *of_sessions.TABLE.ids, *of_guards.IDS)


def test_every_section_has_its_rows():
    """Issue 6: "every defect told in chit.md sections 1.3 to 1.11"."""
    told = {name.partition(" ")[0] for name in (*IDS, *ELSEWHERE)}
    assert told == {f"1.{number}" for number in range(3, 12)}
    for word in (
        *("half-open storm", "cancel counted as failure", "fallback after cancel", "lost continuation"),
        *("reset state on resume", "unbounded wait", "doubled text", "piled-up middleware edits"),
    ):
        assert word in json.dumps(IDS), word
