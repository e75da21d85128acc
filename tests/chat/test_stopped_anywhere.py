"""Answers that are interrupted, or whose store fails, at every moment there is."""

from contextlib import suppress

import anyio.lowlevel
import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.errors import NoTask, StorageFull
from eai_mcp.messages import TextBlock, ToolUseBlock, closing
from eai_mcp.middleware import Ask, ToolOutcome
from tests.chat.layering import RoundTool, RoundTurn, layers
from tests.chat.taking import Faulty, ask, asks, begin, history, opened, uses
from tests.fakes import said
from tests.store.taking import unpaired

RM = ToolUseBlock("u1", "rm", {})
KINDS = ("tool", "tools", "turn")


async def asks_first(given, go_on):
    if given.asked is None and not given.is_resumed:
        return Ask("shall I?")
    await anyio.lowlevel.checkpoint()
    outcome = await go_on(given)
    await anyio.lowlevel.checkpoint()
    return outcome


async def approves(run, go_on):
    await anyio.lowlevel.checkpoint()
    return ToolOutcome((TextBlock("ran"),)) if run.asked else Ask("may I?")


async def answers(request, emit):
    assert unpaired(request.messages) == []
    await anyio.lowlevel.checkpoint()
    await emit(TextDelta("words"))
    await anyio.lowlevel.checkpoint()
    return said("words")


def scene(kind):
    """The steps of the model up to a question of a kind and behind it, and the middleware."""
    match kind:
        case "tool":
            return [uses(asks())], layers(RoundTool(approves))
        case "tools":
            return [uses(RM)], layers(RoundTool(approves))
        case _:
            return [], layers(RoundTurn(asks_first))


async def is_sound(registry, session="default"):
    """Whether the history could be shown to a model, and the session can be talked to."""
    row = await registry.session("", session)
    assert not row.running
    messages = await history(registry)
    assert (unpaired(messages), closing(messages)) == ([], ())
    texts = [message.text for message in messages if message.role == "user" and message.text]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_is_interrupted_anywhere_leaves_a_sound_session(catalog, kind):
    """Issue 6: "`interrupt` drops it"; DESIGN section 4: pairing holds after every turn."""
    before, stack = scene(kind)
    seen: set[str] = set()
    for moment in range(25):
        async with opened(catalog, *before, answers, answers, answers, layers=stack) as (registry, _):
            assert (await ask(registry, "go")).status == "awaiting_input"
            turn = await begin(registry, "yes")
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            try:
                seen.add((await registry.interrupt("", "default")).status)
            except NoTask:
                seen.add("too late")
            await turn.done.wait()
            await is_sound(registry)
            assert (await registry.session("", "default")).question is None
    assert "interrupted" in seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["load", "said", "amend", "append", "settle"])
async def test_an_answer_whose_store_fails_anywhere_can_be_given_again(catalog, kind, place):
    """Issue 6: "a rejected or failed resume keeps the question"."""
    before, stack = scene(kind)
    store = Faulty()
    async with opened(catalog, *before, answers, answers, store=store, layers=stack) as (registry, _):
        assert (await ask(registry, "go")).status == "awaiting_input"
        store.faults[place] = [StorageFull("no space")]
        with suppress(StorageFull):
            assert (await ask(registry, "yes")).status == "completed"
        del store.faults[place]
        await registry._keeper.save_all()
        row = await registry.session("", "default")
        if row.question is not None:
            assert (await ask(registry, "yes")).reply == "words"
        await is_sound(registry)
        assert (await registry.session("", "default")).turns == 1
