"""Steps that break off when some of their tools have run: these stay in the history, with their results."""

import anyio
import anyio.lowlevel
import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.errors import EaiError, Internal
from eai_mcp.messages import INTERRUPTED, Message, TextBlock, ToolUseBlock, user
from eai_mcp.middleware import Ask, ToolOutcome
from tests.chat.layering import RoundTool, layers
from tests.chat.taking import ask, asks, begin, history, opened, outcome, result, uses
from tests.fakes import said

STEP = uses(TextBlock("I will"), ToolUseBlock("u1", "rm", {}), ToolUseBlock("u2", "mv", {}))
KEPT = [
    STEP.message,
    Message("user", (result("u1", "removed"), result("u2", INTERRUPTED, failed=True))),
]


class Breaks:
    """The first tool runs; then the second one, which runs beside it, raises or waits for ever."""

    def __init__(self, error=None):
        self.error, self.removed, self.reached = error, anyio.Event(), anyio.Event()

    async def __call__(self, run, go_on):
        if run.name == "rm":
            self.removed.set()
            return ToolOutcome((TextBlock("removed"),))
        await self.removed.wait()
        await anyio.lowlevel.checkpoint()
        self.reached.set()
        if self.error:
            raise self.error
        return await anyio.sleep_forever()


async def step(request, emit):
    await emit(TextDelta("I will"))
    return STEP


async def test_an_interrupted_step_keeps_what_its_tools_did(catalog):
    """DESIGN section 4: "if tools ran ..., finished steps stay, the rest is closed as interrupted"."""
    tool = Breaks()
    async with opened(catalog, step, said("x"), layers=layers(RoundTool(tool))) as (registry, call):
        await begin(registry, "go")
        await tool.reached.wait()
        stopped = await registry.interrupt("", "default")
        assert (stopped.status, stopped.reply) == ("interrupted", "I will")
        assert (await outcome(registry, stopped.turn_id)).reply == "I will"
        assert await history(registry) == [user("go"), *KEPT]
        await ask(registry, "next")
        assert [*call.requests[1].messages] == [user("go"), *KEPT, user("next")]


async def test_a_failed_step_keeps_what_its_tools_did(catalog):
    """DESIGN section 4: as above; the model learns that it was done, and does not do it again."""
    async with opened(catalog, step, layers=layers(RoundTool(Breaks(ValueError("oops"))))) as (registry, _):
        with pytest.raises(Internal) as caught:
            await ask(registry, "go")
        assert caught.value.details["partial"] == "I will"
        with pytest.raises(EaiError) as again:
            await outcome(registry)
        assert again.value.details["partial"] == "I will"
        assert await history(registry) == [user("go"), *KEPT]


async def test_an_answer_whose_step_breaks_off_counts(catalog):
    """Issue 6: a failed resume keeps the question, unless something was done with the answer."""
    steps = [uses(asks()), step]
    async with opened(catalog, *steps, layers=layers(RoundTool(Breaks(ValueError("oops"))))) as (registry, _):
        await ask(registry, "go")
        with pytest.raises(Internal) as caught:
            await ask(registry, "red")
        assert "still open" not in caught.value.message
        answered = Message("user", (result("q1", "red"),))
        assert await history(registry) == [user("go"), uses(asks()).message, answered, *KEPT]
        assert (await registry.session("", "default")).question is None


async def test_a_step_of_which_nothing_was_done_leaves_no_trace(catalog):
    async def breaks(run, go_on):
        raise ValueError("oops")

    async def silently(request, emit):
        return STEP

    async with opened(catalog, silently, layers=layers(RoundTool(breaks))) as (registry, _):
        with pytest.raises(Internal):
            await ask(registry, "go")
        assert await history(registry) == []


@pytest.mark.parametrize("how", ["fails", "is interrupted"])
async def test_a_tool_that_ran_with_the_answer_does_not_run_again(catalog, how):
    """Issue 6: a failed resume keeps the question, unless something was done with the answer."""
    breaks, ran = Breaks(ValueError("oops") if how == "fails" else None), []

    async def asks_first(run, go_on):
        if run.answer is None:
            return Ask("sure?")
        ran.append(run.name)
        return await breaks(run, go_on)

    async with opened(catalog, step, said("ok"), layers=layers(RoundTool(asks_first))) as (registry, _):
        await ask(registry, "go")
        if how == "fails":
            with pytest.raises(Internal) as caught:
                await ask(registry, "approve")
            assert "still open" not in caught.value.message
        else:
            await begin(registry, "approve")
            await breaks.reached.wait()
            assert (await registry.interrupt("", "default")).status == "interrupted"
        assert await history(registry) == [user("go"), *KEPT]
        assert (await registry.session("", "default")).question is None
        assert (await ask(registry, "next")).reply == "ok"
    assert sorted(ran) == ["mv", "rm"]


async def test_an_answer_with_which_nothing_was_done_can_be_given_again(catalog):
    failed: list[str] = []

    async def fails_once(run, go_on):
        if run.answer is None:
            return Ask("sure?")
        if not failed:
            failed.append(run.name)
            raise ValueError("oops")
        return ToolOutcome((TextBlock("done"),))

    async with opened(catalog, step, said("ok"), layers=layers(RoundTool(fails_once))) as (registry, _):
        await ask(registry, "go")
        with pytest.raises(Internal):
            await ask(registry, "approve")
        assert (await ask(registry, "approve")).reply == "ok"
