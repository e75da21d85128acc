"""Middleware that does not keep to the rules: what it breaks is its own turn, and nothing else."""

import anyio
import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.chat.limits import Limits
from eai_mcp.errors import CallTimeout, Internal, Refused, TurnOver, Unavailable
from eai_mcp.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock, assistant, user
from eai_mcp.middleware import Ask, ToolOutcome
from tests.chat.layering import RoundTool, RoundTurn, layers
from tests.chat.taking import ask, asks, begin, history, opened, process, result, texts, uses
from tests.fakes import said

RM = ToolUseBlock("u1", "rm", {"path": "/tmp/x", "flags": ["-r"]})


class Listener:
    """Hears of failures, and does `play` about it."""

    def __init__(self, play):
        self.play = play

    async def failed(self, failure):
        await self.play()


async def test_who_goes_on_when_the_turn_is_over_asks_no_model(catalog):
    """Issue 6: "emit after close is an error"; so is going on."""
    kept = []

    async def keeps(given, go_on):
        kept.append((given, go_on))
        return said("mine")

    async with opened(catalog, said("x"), layers=layers(RoundTurn(keeps))) as (registry, call):
        assert (await ask(registry, "hi")).reply == "mine"
        given, go_on = kept[0]
        with pytest.raises(TurnOver, match="cannot be asked in it any more"):
            await go_on(given)
        assert call.requests == []


@pytest.mark.parametrize("error", [Unavailable("503"), Refused("no")])
async def test_an_error_is_itself_behind_a_layers_task_group(catalog, error):
    async def grouped(given, go_on):
        async with anyio.create_task_group():
            return await go_on(given)

    async with opened(catalog, error, layers=layers(RoundTurn(grouped), RoundTurn(grouped))) as (registry, _):
        with pytest.raises(type(error), match=error.message):
            await ask(registry, "hi")


async def test_a_layer_goes_on_in_a_task_of_its_own(catalog):
    async def apart(given, go_on):
        outcomes = []

        async def inside():
            outcomes.append(await go_on(given))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(inside)
        return outcomes[0]

    async with opened(catalog, said("x"), layers=layers(RoundTurn(apart))) as (registry, _):
        assert (await ask(registry, "hi")).reply == "x"


async def test_a_listener_to_failures_cannot_end_the_process(catalog, caplog):
    """Issue 6: "Error handler hooks"."""

    async def leaves():
        raise SystemExit(3)

    steps = [Unavailable("503"), said("x")]
    async with opened(catalog, *steps, layers=layers(Listener(leaves))) as (registry, _):
        with pytest.raises(Unavailable):
            await ask(registry, "hi")
        assert (await ask(registry, "hi")).reply == "x"
    assert "tried to end the process" in caplog.text


async def test_a_slow_listener_to_failures_does_not_keep_the_turn_from_being_over(catalog):
    """Issue 6: "a rejected or failed resume keeps the question ... `interrupt` drops it"."""
    listening = anyio.Event()

    async def hangs():
        listening.set()
        await anyio.sleep_forever()

    steps = [uses(asks()), Unavailable("503"), said("x")]
    async with opened(catalog, *steps, layers=layers(Listener(hangs))) as (registry, _):
        await ask(registry, "hi")
        with pytest.raises(Unavailable):
            await ask(registry, "red")
        await listening.wait()
        assert (await registry.interrupt("", "default")).status == "interrupted"


@pytest.mark.parametrize(
    "wrong",
    [
        Message("assistant", (TextBlock("I will"), RM)),
        Message("assistant", (ToolResultBlock("u1", ()),)),
        user("as if the user had said it"),
    ],
)
async def test_a_response_that_no_history_can_end_with_fails_its_turn(catalog, wrong):
    """DESIGN section 4: pairing of tool use and tool result holds after every turn."""

    async def answers(given, go_on):
        return said("", message=wrong)

    async with opened(catalog, layers=layers(RoundTurn(answers))) as (registry, _):
        with pytest.raises(Internal, match="middleware RoundTurn failed"):
            await ask(registry, "hi")
        assert await history(registry) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": {"x": float("nan")}},
        {"state": {"x": "y" * 2**20}},
        {"state": {"x": object()}},
        {"state": [1]},
        {"question": " "},
        {"question": None},
        {"expires_s": "5"},
        {"expires_s": float("inf")},
    ],
)
async def test_a_question_that_cannot_be_stored_fails_its_turn(catalog, wrong):
    async def asks_it(given, go_on):
        return Ask(**{"question": "sure?", **wrong})

    async with opened(catalog, layers=layers(RoundTurn(asks_it))) as (registry, _):
        with pytest.raises(Internal, match="middleware RoundTurn failed"):
            await ask(registry, "hi")
        assert await history(registry) == []


async def test_what_a_layer_does_to_a_tools_input_is_not_in_the_history(catalog):
    async def changes(run, go_on):
        run.input["path"] = "/"
        run.input["flags"].append("-f")
        return ToolOutcome((TextBlock("done"),))

    async with opened(catalog, uses(RM), said("x"), layers=layers(RoundTool(changes))) as (registry, call):
        await ask(registry, "hi")
        unchanged = ToolUseBlock("u1", "rm", {"path": "/tmp/x", "flags": ["-r"]})
        assert (await history(registry))[1].content == call.requests[1].messages[1].content == (unchanged,)


@pytest.mark.parametrize("error", [Unavailable("closed"), ValueError("closed")])
@pytest.mark.parametrize("is_grouped", [False, True])
async def test_what_breaks_while_a_turn_is_stopped_does_not_make_it_a_failure(catalog, error, is_grouped):
    """DESIGN section 4: "Interrupt is real"."""
    reached = anyio.Event()

    async def breaks():
        reached.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    async def step(request, emit):
        await emit(TextDelta("half"))
        if not is_grouped:
            await breaks()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaks)
        raise AssertionError

    async with opened(catalog, step, said("x")) as (registry, _):
        await begin(registry, "hi")
        await reached.wait()
        stopped = await registry.interrupt("", "default")
        assert (stopped.status, stopped.reply) == ("interrupted", "half")
        assert (await ask(registry, "again")).reply == "x"
        assert await texts(registry) == ["hi", "half", "again", "x"]


async def test_a_layer_that_does_not_end_is_ended_by_the_turns_limit(catalog):
    async def hangs(given, go_on):
        await anyio.sleep_forever()

    limits = Limits(turn_s=0.01)
    async with opened(catalog, limits=limits, layers=layers(RoundTurn(hangs))) as (registry, _):
        with pytest.raises(CallTimeout, match=r"limit of 0.01 s"):
            await ask(registry, "hi")
        assert await history(registry) == []


async def test_an_error_that_is_raised_again_and_again_says_nothing_of_other_turns(catalog):
    """An error may be a constant of a middleware or an adapter."""
    refusal = Refused("not here")

    async def refuses(given, go_on):
        if given.is_resumed:
            raise refusal
        return Ask("sure?")

    async with opened(catalog, layers=layers(RoundTurn(refuses))) as (registry, _):
        for session in ("a", "b"):
            await ask(registry, "hi", session=session)
        for session in ("a", "b", "a"):
            with pytest.raises(Refused) as caught:
                await ask(registry, "yes", session=session)
            assert caught.value.details["chat_session"] == session
            assert caught.value.message.count("the question is still open") == 1
    assert (refusal.message, refusal.details) == ("not here", {})


async def test_a_tool_may_ask_fifty_times_with_a_restart_behind_each(catalog, tmp_path):
    """Issue 6: "chained yields", over restarts."""

    async def again(run, go_on):
        count = int(run.asked.state["count"]) if run.asked else 0
        return Ask("again?", {"count": count + 1}) if count < 50 else ToolOutcome((TextBlock("done"),))

    path, stack = tmp_path / "sessions.db", layers(RoundTool(again))
    for number in range(51):
        steps = [uses(RM)] if number == 0 else [said("x")]
        async with process(catalog, path, *steps, layers=stack) as (registry, _):
            told = await ask(registry, f"answer {number}")
    assert (told.status, told.reply) == ("completed", "x")
    async with process(catalog, path) as (registry, _):
        done = Message("user", (result("u1", "done"),))
        asked = Message("assistant", (RM,))
        assert await history(registry) == [user("answer 0"), asked, done, assistant("x")]
        assert (await registry.session("", "default")).turns == 1
