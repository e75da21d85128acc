"""The loop of steps: tools side by side, limits, and what is left when it is stopped."""

import anyio
import anyio.lowlevel
import pytest

from eai_mcp.chat.limits import Limits
from eai_mcp.chat.toolbox import steps as limits_of_steps
from eai_mcp.chat.toolbox.steps import Budget, cut
from eai_mcp.errors import Internal, LimitExceeded, StorageFull
from eai_mcp.messages import INTERRUPTED, ImageBlock, TextBlock, ToolUseBlock, Usage, line, user
from eai_mcp.middleware import ToolOutcome
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.layering import RoundTool, layers
from tests.chat.taking import (
    Faulty,
    ask,
    asks,
    begin,
    history,
    opened,
    process,
    result,
    results_in,
    told,
    uses,
)
from tests.chat.toolbox.boxes import Held, box, echo, tool
from tests.fakes import said
from tests.store.taking import unpaired

A, B = ToolUseBlock("u1", "a", {"word": "1"}), ToolUseBlock("u2", "b", {"word": "2"})


async def test_tools_of_a_step_run_at_once_and_their_results_stand_in_order(catalog):
    """Issue 7: "tool calls of one step run in parallel, results in order"."""
    first, second = Held(), Held()
    toolbox = box(tool("a", first), tool("b", second))
    async with opened(catalog, uses(A, B), said("ok"), toolbox=toolbox) as (registry, _):
        turn = await begin(registry, "go")
        await first.reached.wait()
        await second.reached.wait()
        second.go.set()
        first.go.set()
        await registry.reply(turn, 5)
        assert (await history(registry))[2] == user(
            (result("u1", '{"said": "1"}'), result("u2", '{"said": "2"}'))
        )


async def test_an_interrupt_hits_all_tools_of_a_step(catalog):
    """Issue 7: interrupt "while two tools run in parallel": "history valid, next turn clean"."""
    first, second = Held(), Held()
    toolbox = box(tool("a", first), tool("b", second), tool("c", echo))
    step = uses(TextBlock("I will"), A, ToolUseBlock("u3", "c", {}), B)
    async with opened(catalog, step, said("next"), toolbox=toolbox) as (registry, call):
        await begin(registry, "go")
        await first.reached.wait()
        await second.reached.wait()
        stopped = await registry.interrupt("", "default")
        assert (stopped.status, stopped.stop_reason) == ("interrupted", "interrupted")
        kept = await history(registry)
        assert kept[1] == step.message
        first_result, third, second_result = results_in(kept[2])
        assert [first_result, second_result] == [result(u, INTERRUPTED, failed=True) for u in ("u1", "u2")]
        assert third.tool_use_id == "u3"
        assert (await ask(registry, "on")).reply == "next"
        assert unpaired(call.requests[1].messages) == []


async def test_what_a_turn_began_ends_when_it_is_interrupted(catalog):
    ended: list[str] = []
    held = Held()

    async def begins(given, use):
        async def end():
            ended.append(given.word)

        use.kit.begun.ends[given.word] = end
        return {"status": "begun"}

    toolbox = box(tool("a", begins), tool("b", held))
    step = [uses(A), uses(ToolUseBlock("u3", "a", {"word": "3"}), B)]
    async with opened(catalog, *step, said("ok"), toolbox=toolbox) as (registry, _):
        await begin(registry, "go")
        await held.reached.wait()
        await registry.interrupt("", "default")
        assert sorted(ended) == ["1", "3"]


async def test_what_a_turn_began_goes_on_when_it_has_answered(catalog):
    ended: list[str] = []

    async def begins(given, use):
        async def end():
            ended.append(given.word)

        use.kit.begun.ends[given.word] = end
        return {"status": "begun"}

    async with opened(catalog, uses(A), said("ok"), toolbox=box(tool("a", begins))) as (registry, _):
        assert (await ask(registry, "go")).reply == "ok"
    assert ended == []


async def test_a_process_that_dies_while_a_tool_runs_leaves_a_trace(catalog, tmp_path):
    """DESIGN section 4: "if tools ran ..., finished steps stay, the rest is closed as interrupted"."""
    held, path = Held(), tmp_path / "s.db"
    dying = SqliteStore(path)
    async with opened(catalog, uses(A), store=dying, toolbox=box(tool("a", held))) as (here, _):
        await begin(here, "go")
        await held.reached.wait()
        async with process(catalog, path, said("next")) as (there, call):
            await dying.aclose()
            assert (await ask(there, "on")).reply == "next"
            closed = user((result("u1", INTERRUPTED, failed=True),))
            assert call.requests[0].messages == (user("go"), uses(A).message, closed, user("on"))


async def test_the_models_message_is_kept_before_its_tools_run(catalog):
    held = Held()
    store = Faulty()
    async with opened(catalog, uses(A), said("ok"), store=store, toolbox=box(tool("a", held))) as (
        registry,
        _,
    ):
        turn = await begin(registry, "go")
        await held.reached.wait()
        assert store.calls["append"] == 1
        held.go.set()
        await registry.reply(turn, 5)
        assert store.calls["append"] == 2


async def test_no_tool_runs_whose_step_cannot_be_kept(catalog):
    held = Held()
    store = Faulty(append=StorageFull("disk full"))
    async with opened(catalog, uses(A), store=store, toolbox=box(tool("a", held))) as (registry, _):
        with pytest.raises(StorageFull):
            await ask(registry, "go")
        assert not held.reached.is_set()
        assert await history(registry) == []


async def test_results_that_cannot_be_kept_at_once_are_kept_with_the_end(catalog):
    store = Faulty(append=[None, StorageFull("disk full")])
    async with opened(catalog, uses(A), store=store, toolbox=box(tool("a", echo))) as (registry, _):
        with pytest.raises(StorageFull):
            await ask(registry, "go")
        kept = await history(registry)
        assert kept == [user("go"), uses(A).message, user((result("u1", '{"said": "1"}'),))]


async def test_the_model_is_told_to_wrap_up_before_its_steps_are_over(catalog):
    """Issue 7: "a soft "wrap up now" message before the hard limit"."""
    toolbox = box(tool("a", echo))
    steps = [uses(ToolUseBlock(f"u{n}", "a", {})) for n in range(5)]
    limits = Limits(turn_steps=5)
    async with opened(catalog, *steps, said("x"), limits=limits, toolbox=toolbox) as (registry, call):
        with pytest.raises(LimitExceeded, match="asked for tools 5 times without an answer"):
            await ask(registry, "go")
        urged = [
            [block.text for block in request.messages[-1].content if isinstance(block, TextBlock)]
            for request in call.requests
        ]
        wrap = (
            "[Only {} more rounds of tools left in this turn: finish what must be finished, and answer now.]"
        )
        assert urged == [["go"], [], [wrap.format(3)], [wrap.format(2)], [wrap.format(1)]]
        assert not any("Only" in message.text for message in await history(registry))


async def test_the_model_is_told_to_wrap_up_before_its_time_is_over():
    results = user((result("u1", "x"),))
    now = anyio.current_time()
    assert Budget(50, now + 60, limit_s=100).urging(results) is results
    urged = Budget(50, now + 9.6, limit_s=100).urging(results)
    note = TextBlock("[Only 10 s left in this turn: finish what must be finished, and answer now.]")
    assert urged.content == (*results.content, note)


def test_a_long_text_loses_its_middle():
    assert cut("abc", 3) == "abc"
    assert cut("a" * 10 + "b" * 10, 4) == "aa\n[… 16 characters left out …]\nbb"


async def test_what_tools_say_is_bounded(catalog):
    """Issue 7: "limits on ... output per tool and per turn"."""
    most, whole = limits_of_steps.MOST_OUTPUT, limits_of_steps.MOST_OUTPUT_OF_TURN

    async def much(given, use):
        return ToolOutcome((TextBlock("x" * (3 * most)),))

    count = whole // most + 1
    many = [ToolUseBlock(f"u{n}", "a", {}) for n in range(count)]
    async with opened(catalog, uses(*many), said("ok"), toolbox=box(tool("a", much))) as (registry, _):
        await ask(registry, "go")
        said_ = [told(one) for one in results_in((await history(registry))[2])]
        assert all(len(text) < most + 100 for text in said_)
        assert sum(map(len, said_)) < whole + 200
        assert any(text.startswith("[left out: the tools of this turn") for text in said_)


async def test_pictures_of_a_turn_are_bounded(catalog):
    picture = ImageBlock("image/png", "A" * (limits_of_steps.MOST_MEDIA_OF_TURN // 2))

    async def shows(given, use):
        return ToolOutcome((picture,))

    many = [ToolUseBlock(f"u{n}", "a", {}) for n in range(3)]
    async with opened(catalog, uses(*many), said("ok"), toolbox=box(tool("a", shows))) as (registry, _):
        await ask(registry, "go")
        kinds = [one.content[0].type for one in results_in((await history(registry))[2])]
        assert sorted(kinds) == ["image", "image", "text"]


async def test_a_turn_that_fails_while_tools_run_ends_what_they_began(catalog):
    """What it began would go on with nobody who knows of it."""
    ended, began = [], anyio.Event()

    async def begins(given, use):
        async def end():
            ended.append(given.word)

        use.kit.begun.ends["1"] = end
        began.set()
        await anyio.sleep_forever()

    async def breaks(run, go_on):
        if run.name == "b":
            await began.wait()
            raise ValueError("oops")
        return await go_on(run)

    toolbox = box(tool("a", begins), tool("b", echo))
    async with opened(catalog, uses(A, B), toolbox=toolbox, layers=layers(RoundTool(breaks))) as (
        registry,
        _,
    ):
        with pytest.raises(Internal):
            await ask(registry, "go")
        assert ended == ["1"]


async def test_what_tools_spend_counts(catalog):
    async def asks_a_model(given, use):
        use.kit.begun.spend(Usage(100, 10))
        return {}

    async with opened(catalog, uses(A), said("ok"), toolbox=box(tool("a", asks_a_model))) as (registry, _):
        assert (await ask(registry, "go")).usage == Usage(104, 16)
        assert (await registry.session("", "default")).usage == Usage(104, 16)


async def test_what_tools_did_before_a_question_counts_once(catalog):
    async def works(given, use):
        use.kit.begun.spend(Usage(100, 10))
        use.kit.begun.history = [line(user("short"), turn_id="t0")]
        use.kit.begun.ends["1"] = anyio.lowlevel.checkpoint
        return {}

    steps = [uses(A), uses(asks()), said("ok")]
    async with opened(catalog, *steps, toolbox=box(tool("a", works))) as (registry, _):
        await ask(registry, "go")
        assert (await ask(registry, "red")).usage == Usage(2, 3)
        row = await registry.session("", "default")
        assert (row.usage, row.revision) == (Usage(106, 19), 2)
        assert (await history(registry))[0] == user("short")
