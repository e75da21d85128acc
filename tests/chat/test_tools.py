"""Tools that the model asks for and that there are not: it is told, and goes on."""

import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.chat.limits import Limits
from eai_mcp.errors import LimitExceeded, TurnFailed, Unavailable
from eai_mcp.messages import Message, TextBlock, ToolUseBlock, Usage, assistant, user
from tests.chat.taking import ask, history, opened, outcome, result, uses
from tests.fakes import said
from tests.store.taking import unpaired

MOST_STEPS = Limits().turn_steps
LOOK = ToolUseBlock("u1", "look", {"at": "the sea"})
HEAR = ToolUseBlock("u2", "hear", {})
TOLD = user(
    (
        result("u1", "there is no tool named 'look'", failed=True),
        result("u2", "there is no tool named 'hear'", failed=True),
    )
)


async def test_the_model_hears_that_there_is_no_such_tool_and_goes_on(catalog):
    step = uses(TextBlock("Let me look. "), LOOK, HEAR)
    async with opened(catalog, step, said("I cannot look.")) as (registry, call):
        done = await ask(registry, "a")
        assert (done.reply, done.stop_reason, done.usage) == ("I cannot look.", "end", Usage(4, 6))
        assert call.requests[1].messages == (user("a"), step.message, TOLD)
        assert await history(registry) == [user("a"), step.message, TOLD, assistant("I cannot look.")]
        assert await outcome(registry) == done


async def test_warnings_of_all_steps_are_told_once(catalog):
    step = said("", message=Message("assistant", (LOOK,)), warnings=("seed was not sent", "slow"))
    last = said("ok", warnings=("seed was not sent",))
    async with opened(catalog, step, last) as (registry, _):
        assert (await ask(registry, "a")).warnings == ("seed was not sent", "slow")


async def test_a_failure_after_a_finished_step_keeps_the_step(catalog):
    """Issue 4: all-or-nothing history; tool pairing always valid."""

    async def breaks_off(request, emit):
        await emit(TextDelta("half"))
        raise Unavailable("broke off")

    for steps, partial in (([Unavailable("503")], ()), ([breaks_off], (assistant("half", partial=True),))):
        async with opened(catalog, uses(LOOK, HEAR), *steps) as (registry, _):
            with pytest.raises(Unavailable):
                await ask(registry, "a")
            step = Message("assistant", (LOOK, HEAR))
            assert await history(registry) == [user("a"), step, TOLD, *partial]
            assert (await registry.session("", "default")).usage == Usage(2, 3)


async def test_a_model_that_asks_for_tools_without_end_is_stopped(catalog):
    async with opened(catalog, *[uses(LOOK)] * (MOST_STEPS + 5), said("no more")) as (registry, call):
        with pytest.raises(LimitExceeded, match=f"asked for tools {MOST_STEPS} times without an answer"):
            await ask(registry, "a")
        assert len(call.requests) == MOST_STEPS
        kept = await history(registry)
        assert len(kept) == 1 + 2 * MOST_STEPS
        assert unpaired(kept) == []
        with pytest.raises(TurnFailed) as again:
            await outcome(registry)
        assert again.value.code == "limit_exceeded"
        call.steps = [said("well")]
        assert (await ask(registry, "b")).reply == "well"
