"""Middleware round turns and tools: what it sees, changes, refuses, and what its mistakes cost."""

from dataclasses import replace

import anyio
import pytest

from eai_mcp.calls import ResourcePushed, TextDelta
from eai_mcp.chat.layers import Layers
from eai_mcp.errors import Conflict, EaiError, Internal, Refused, TurnOver, Unavailable
from eai_mcp.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock, assistant, user
from eai_mcp.middleware import Ask, Failure, Named, Refuse, ToolOutcome, named
from tests.chat.layering import RoundTool, RoundTurn, layers
from tests.chat.taking import ask, begin, history, opened, outcome, process, texts, uses
from tests.fakes import Held, said

WEATHER = ToolUseBlock("u1", "weather", {"city": "Oslo"})


async def test_what_a_middleware_changes_is_what_the_model_sees_and_the_history_keeps(catalog):
    """Issue 6: "see and change the request"."""

    async def redacts(given, go_on):
        return await go_on(replace(given, message=user(given.message.text.replace("Bond", "X"))))

    layer = RoundTurn(redacts)
    async with opened(catalog, said("hello"), said("again"), layers=layers(layer)) as (registry, call):
        done = await ask(registry, "I am Bond", model="other", metadata={"n": 1}, request_id="r")
        await ask(registry, "and?")
        assert call.requests[0].messages == (user("I am X"),)
        assert await texts(registry) == ["I am X", "hello", "and?", "again"]
    given = layer.given[0]
    assert (given.session, given.turn_id, given.request_id) == ("default", done.turn_id, "r")
    assert (given.model, given.metadata, given.message) == ("other", {"n": 1}, user("I am Bond"))
    assert (given.is_resumed, given.asked) == (False, None)


async def test_the_first_middleware_is_the_outermost(catalog):
    order: list[str] = []

    def noting(name):
        async def notes(given, go_on):
            order.append(f"{name} in")
            response = await go_on(given)
            order.append(f"{name} out")
            return response

        return RoundTurn(notes)

    async with opened(catalog, said("x"), layers=layers(noting("a"), noting("b"))) as (registry, _):
        await ask(registry, "hi")
    assert order == ["a in", "b in", "b out", "a out"]


async def test_a_middleware_refuses_with_a_reason_and_nothing_is_kept(catalog):
    """Issue 6: "refuse it with a reason"."""

    async def refuses(given, go_on):
        return Refuse("no card numbers, please")

    async with opened(catalog, said("x"), layers=layers(RoundTurn(refuses))) as (registry, call):
        with pytest.raises(Refused, match="no card numbers, please") as caught:
            await ask(registry, "4111 1111")
        assert (caught.value.code, caught.value.retryable, call.requests) == ("refused", False, [])
        assert await texts(registry) == []


async def test_a_middleware_sees_and_changes_the_response(catalog):
    """Issue 6: "see the response"."""

    async def shouts(given, go_on):
        response = await go_on(given)
        return replace(response, message=assistant(response.message.text.upper()), warnings=("shouted",))

    async with opened(catalog, said("hello"), layers=layers(RoundTurn(shouts))) as (registry, _):
        done = await ask(registry, "hi")
        assert (done.reply, done.warnings) == ("HELLO", ("shouted",))
        assert done.usage is not None
        assert done.usage.output == 3
        assert await texts(registry) == ["hi", "HELLO"]


async def test_a_middleware_may_answer_itself(catalog):
    async def answers(given, go_on):
        return said("from the cache")

    async with opened(catalog, layers=layers(RoundTurn(answers))) as (registry, call):
        assert (await ask(registry, "hi")).reply == "from the cache"
        assert call.requests == []
        assert await texts(registry) == ["hi", "from the cache"]


async def test_a_reply_that_is_refused_after_all_is_told_nowhere(catalog):
    """Issue 6: "never silently open"."""

    async def refuses(given, go_on):
        await go_on(given)
        return Refuse("not for your eyes")

    async with opened(catalog, said("the secret"), layers=layers(RoundTurn(refuses))) as (registry, _):
        with pytest.raises(Refused) as caught:
            await ask(registry, "hi")
        assert "partial" not in caught.value.details
        with pytest.raises(EaiError) as again:
            await outcome(registry)
        assert (again.value.code, "partial" in again.value.details) == ("refused", False)
        assert await texts(registry) == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("bug", [ValueError("secret"), SystemExit(3), KeyError("x")])
async def test_a_middleware_that_raises_fails_the_turn_with_a_clear_error(catalog, caplog, when, bug):
    """Issue 6: "a middleware that raises fails the turn with a clear error, never silently open"."""

    async def raises(given, go_on):
        if when == "after":
            await go_on(given)
        raise bug

    steps = [said("the reply"), said("ok")]
    layer = RoundTurn(raises)
    async with opened(catalog, *steps, layers=layers(layer)) as (registry, call):
        with pytest.raises(Internal, match=r"^middleware RoundTurn failed: internal error") as caught:
            await ask(registry, "hi")
        assert (caught.value.details["middleware"], "secret" in caught.value.message) == ("RoundTurn", False)
        assert (len(call.requests), await texts(registry)) == (int(when == "after"), [])
        layer.play = lambda given, go_on: go_on(given)
        assert (await ask(registry, "hi")).status == "completed"
    assert "internal error" in caplog.text


@pytest.mark.parametrize("wrong", [None, "text", {"text": "x"}, ToolOutcome(())])
async def test_what_a_middleware_returns_must_be_an_outcome(catalog, wrong):
    async def returns(given, go_on):
        return wrong

    async with opened(catalog, said("x"), layers=layers(RoundTurn(returns))) as (registry, _):
        with pytest.raises(Internal, match="middleware RoundTurn failed"):
            await ask(registry, "hi")


@pytest.mark.parametrize("wrong", [assistant("x"), Message("user", ()), Message("user", (WEATHER,)), "text"])
async def test_what_a_middleware_lets_the_user_say_must_be_a_message(catalog, wrong):
    async def says(given, go_on):
        return await go_on(replace(given, message=wrong))

    async with opened(catalog, said("x"), layers=layers(RoundTurn(says))) as (registry, call):
        with pytest.raises(Internal, match="middleware RoundTurn failed"):
            await ask(registry, "hi")
        assert (call.requests, await history(registry)) == ([], [])


async def test_an_error_of_what_is_inside_is_blamed_on_nobody_else(catalog):
    async def passes(given, go_on):
        return await go_on(given)

    async def breaks(request, emit):
        raise ZeroDivisionError

    steps = [Unavailable("nobody is there"), breaks]
    async with opened(catalog, *steps, layers=layers(RoundTurn(passes), RoundTurn(passes))) as (registry, _):
        with pytest.raises(Unavailable, match="nobody is there"):
            await ask(registry, "hi")
        with pytest.raises(Internal, match=r"^internal error"):
            await ask(registry, "hi")


async def test_a_middleware_cannot_ask_the_model_twice_in_a_turn(catalog):
    async def doubles(given, go_on):
        await go_on(given)
        return await go_on(given)

    async with opened(catalog, said("x"), said("y"), layers=layers(RoundTurn(doubles))) as (registry, call):
        with pytest.raises(Internal, match="middleware RoundTurn failed"):
            await ask(registry, "hi")
        assert len(call.requests) == 1


async def test_an_interrupt_passes_through_every_middleware(catalog):
    left: list[str] = []

    async def waits(given, go_on):
        try:
            return await go_on(given)
        finally:
            left.append(given.session)

    held = Held("so far")
    async with opened(catalog, held, said("next"), layers=layers(RoundTurn(waits))) as (registry, _):
        await begin(registry, "hi")
        await held.reached.wait()
        stopped = await registry.interrupt("", "default")
        assert (stopped.status, stopped.reply, left) == ("interrupted", "so far", ["default"])
        assert (await ask(registry, "again")).reply == "next"


async def test_a_turn_that_was_changed_and_stopped_keeps_nothing_of_what_was_said_first(catalog):
    """Issue 6: never silently open."""

    async def redacts(given, go_on):
        return await go_on(replace(given, message=user("I am X")))

    held = Held("par")
    async with opened(catalog, held, layers=layers(RoundTurn(redacts))) as (registry, _):
        await begin(registry, "I am Bond")
        await held.reached.wait()
        await registry.interrupt("", "default")
        assert await texts(registry) == ["I am X", "par"]


async def test_tools_are_changed_answered_and_blocked(catalog):
    """Issue 6: "tool middleware may allow, change or block each tool run"."""

    async def plays(run, go_on):
        match run.name:
            case "weather":
                return ToolOutcome((TextBlock(f"rain in {run.input['city']}"),))
            case "rm":
                return Refuse("deletes files")
            case _:
                return await go_on(replace(run, name="other"))

    tool = RoundTool(plays)
    asked = uses(WEATHER, ToolUseBlock("u2", "rm", {}), ToolUseBlock("u3", "clock", {}))
    async with opened(catalog, asked, said("done"), layers=layers(tool)) as (registry, call):
        done = await ask(registry, "go")
        assert done.reply == "done"
        results = call.requests[1].messages[-1].content
    told = [
        (one.tool_use_id, one.content[0], one.failed) for one in results if isinstance(one, ToolResultBlock)
    ]
    assert told == [
        ("u1", TextBlock("rain in Oslo"), False),
        ("u2", TextBlock("refused: deletes files"), True),
        ("u3", TextBlock("there is no tool named 'other'"), True),
    ]
    assert [(run.session, run.turn_id) for run in tool.runs] == [("default", done.turn_id)] * 3


async def test_a_tool_middleware_that_raises_fails_the_turn(catalog):
    async def raises(run, go_on):
        raise ValueError("oops")

    async with opened(catalog, uses(WEATHER), layers=layers(RoundTool(raises))) as (registry, _):
        with pytest.raises(Internal, match="middleware RoundTool failed"):
            await ask(registry, "go")
        assert await history(registry) == []


async def test_failures_are_heard_and_go_on_as_they_were(catalog, caplog):
    """Issue 6: "Error handler hooks"."""

    class Hears:
        def __init__(self) -> None:
            self.heard: list[Failure] = []
            self.event = anyio.Event()

        async def failed(self, failure):
            self.heard.append(failure)
            self.event.set()
            raise RuntimeError("the pager is down")

    hears = Hears()
    async with opened(catalog, Unavailable("503"), said("x"), layers=layers(hears)) as (registry, _):
        with pytest.raises(Unavailable, match="503") as caught:
            await ask(registry, "hi", request_id="r9")
        await hears.event.wait()
        await ask(registry, "hi")
    (failure,) = hears.heard
    turn_id = str(caught.value.details["turn_id"])
    assert failure == Failure(
        place="turn", session="default", turn_id=turn_id, request_id="r9", model="plain", error=caught.value
    )
    assert "internal error" in caplog.text


async def test_who_takes_too_long_to_hear_of_a_failure_does_not_keep_it_from_others():
    heard: list[Failure] = []

    class Hangs:
        async def failed(self, failure):
            await anyio.sleep_forever()

    class Leaves:
        async def failed(self, failure):
            raise SystemExit(3)

    class Hears:
        async def failed(self, failure):
            heard.append(failure)

    failure = Failure(
        place="attempt", session="s", turn_id="t", request_id="", model="m", error=Unavailable("503")
    )
    with anyio.fail_after(5):
        await Layers(named([Hangs(), Leaves(), Hears()]), hearing_s=0.01).hear(failure)
    assert heard == [failure]


async def test_what_is_pushed_is_in_the_result_once_and_told_again(catalog, tmp_path):
    """Issue 6: "resources pushed during a turn (type, uri, payload, metadata) arrive"; "emitted twice"."""
    first = ResourcePushed(kind="table", uri="eai://t/1", payload="a,b", mime_type="text/csv")
    binary = ResourcePushed(kind="image", uri="eai://t/2", payload=b"\x89\x00", metadata={"width": 1})

    async def pushes(request, emit):
        await emit(first)
        await emit(binary)
        await emit(replace(first, payload="a,b,c"))
        return said("look")

    path = tmp_path / "sessions.db"
    expected = (replace(first, payload="a,b,c"), binary)
    async with process(catalog, path, pushes, said("x")) as (here, _):
        done = await ask(here, "a", request_id="r")
        assert done.resources == expected
        assert (await ask(here, "b")).resources == ()
    async with process(catalog, path) as (there, _):
        assert (await outcome(there, done.turn_id)).resources == expected


async def test_nothing_can_be_said_or_pushed_in_a_turn_that_has_ended(catalog):
    """Issue 6: "emit after close is an error"."""
    kept = []

    async def keeps(given, go_on):
        kept.append(given.emit)
        return await go_on(given)

    async with opened(catalog, said("x"), layers=layers(RoundTurn(keeps))) as (registry, _):
        done = await ask(registry, "hi")
        for late in (TextDelta("late"), ResourcePushed(kind="file", uri="file:///x")):
            with pytest.raises(TurnOver):
                await kept[0](late)
        assert await outcome(registry) == done


@pytest.mark.parametrize(
    ("pushed", "reason"),
    [
        (ResourcePushed(kind="file", uri="no scheme"), "uri with a scheme"),
        (ResourcePushed(kind="file", uri="a:" + "b" * 2000), "uri with a scheme"),
        (ResourcePushed(kind="", uri="a:b"), "kind"),
        (ResourcePushed(kind="file", uri="a:b", metadata={"x": float("nan")}), "JSON"),
        (ResourcePushed(kind="file", uri="a:b", payload=b"x" * (4 * 2**20 + 1)), "4,194,304 bytes"),
    ],
)
async def test_what_cannot_be_told_cannot_be_pushed(catalog, pushed, reason):
    async def pushes(request, emit):
        await emit(pushed)
        return said("x")

    async with opened(catalog, pushes, said("y")) as (registry, _):
        with pytest.raises(EaiError, match=reason):
            await ask(registry, "hi")
        assert (await ask(registry, "hi")).reply == "y"


async def test_a_turn_takes_a_hundred_resources(catalog):
    async def pushes(request, emit):
        for number in range(101):
            await emit(ResourcePushed(kind="file", uri=f"file:///{number}"))
        return said("x")

    async with opened(catalog, pushes) as (registry, _):
        with pytest.raises(EaiError, match="100 pushed resources"):
            await ask(registry, "hi")


def test_each_middleware_has_a_name_of_its_own():
    one = RoundTurn(None)
    assert [layer.name for layer in named([one, RoundTurn(None), Named("a:b", one)])] == [
        "RoundTurn",
        "RoundTurn#2",
        "a:b",
    ]
    with pytest.raises(EaiError, match="middleware object has none of the methods turn, call, tool, failed"):
        named([object()])


async def test_a_middleware_that_asked_and_is_gone_keeps_its_question(catalog, tmp_path):
    async def asks(given, go_on):
        return await go_on(given) if given.asked else Ask("sure?")

    path = tmp_path / "sessions.db"
    async with process(catalog, path, layers=layers(RoundTurn(asks))) as (here, _):
        assert (await ask(here, "hi")).status == "awaiting_input"
    async with process(catalog, path, said("x")) as (there, call):
        with pytest.raises(Conflict, match="middleware RoundTurn, which is gone"):
            await ask(there, "yes")
        assert call.requests == []
    async with process(catalog, path, said("x"), layers=layers(RoundTurn(asks))) as (there, _):
        assert (await ask(there, "yes")).reply == "x"
