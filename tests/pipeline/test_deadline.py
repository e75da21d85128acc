"""The limit of an attempt."""

from dataclasses import replace

import anyio
import pytest

from eai_mcp.calls import TextDelta, ThinkingDelta
from eai_mcp.errors import CallTimeout, TurnOver, Unavailable
from eai_mcp.pipeline.deadline import Deadline
from tests.fakes import Scripted
from tests.pipeline.asking import DOWN, HELLO, REQUEST, Ears, forever
from tests.pipeline.clock import Clock

AT_ONCE = 0.01


async def test_a_model_that_never_answers_is_left_and_what_it_said_is_kept():
    async def half(request, emit):
        await emit(TextDelta("half "))
        await emit(ThinkingDelta("hm"))
        await emit(TextDelta("a reply"))
        return await forever(request, emit)

    heard = Ears()
    with (
        anyio.fail_after(5),
        pytest.raises(CallTimeout, match=r"'a' did not finish .*attempt") as late,
    ):
        await Deadline(half, "a", limit_s=AT_ONCE)(REQUEST, heard)

    assert late.value.partial == "half a reply"
    assert late.value.details == {"model": "a", "limit_s": AT_ONCE}
    assert heard == [TextDelta("half "), ThinkingDelta("hm"), TextDelta("a reply")]


async def test_the_turns_own_deadline_ends_an_attempt_as_well():
    request = replace(REQUEST, deadline=anyio.current_time() + AT_ONCE)
    with anyio.fail_after(5), pytest.raises(CallTimeout, match="what the turn had left"):
        await Deadline(forever, "a", limit_s=600)(request, Ears())


async def test_a_turn_without_time_costs_no_request():
    clock = Clock()
    call = Scripted([])
    with pytest.raises(CallTimeout):
        await Deadline(call, "a", limit_s=9, clock=clock)(replace(REQUEST, deadline=clock.now), Ears())
    assert call.requests == []


@pytest.mark.parametrize(("turns", "seen"), [(None, 1010.0), (1003.0, 1003.0), (1050.0, 1010.0)])
async def test_what_is_inside_sees_the_earlier_of_both_limits(turns, seen):
    call = Scripted([HELLO])
    assert (
        await Deadline(call, "a", limit_s=10, clock=Clock())(replace(REQUEST, deadline=turns), Ears())
        == HELLO
    )
    assert call.requests == [replace(REQUEST, deadline=seen)]


async def test_an_adapter_that_keeps_the_deadline_itself_says_what_it_has():
    async def careful(request, emit):
        with anyio.CancelScope(deadline=request.deadline):
            await anyio.sleep_forever()
        raise CallTimeout("its own words", partial="its own text")

    with anyio.fail_after(5), pytest.raises(CallTimeout, match="its own words") as late:
        await Deadline(careful, "a", limit_s=AT_ONCE)(REQUEST, Ears())
    assert late.value.partial == "its own text"


async def test_cancellation_from_outside_is_no_time_out():
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Deadline(forever, "a", limit_s=600)(REQUEST, Ears())
    assert scope.cancelled_caught


@pytest.mark.parametrize("ending", ["answers", "fails", "is late"])
async def test_what_is_said_after_the_attempt_is_an_error_and_is_not_heard(ending):
    kept = []

    async def call(request, emit):
        kept.append(emit)
        await emit(TextDelta("in time"))
        if ending == "fails":
            raise DOWN
        return HELLO if ending == "answers" else await forever(request, emit)

    heard = Ears()
    try:
        with anyio.fail_after(5):
            await Deadline(call, "a", limit_s=AT_ONCE)(REQUEST, heard)
    except (CallTimeout, Unavailable):
        assert ending != "answers"

    with pytest.raises(TurnOver):
        await kept[0](TextDelta("too late"))
    assert heard == [TextDelta("in time")]


async def test_a_lone_error_out_of_a_task_group_comes_out_by_itself():
    async def grouped(request, emit):
        async with anyio.create_task_group(), anyio.create_task_group():
            raise DOWN

    with pytest.raises(Unavailable) as error:
        await Deadline(grouped, "a", limit_s=9)(REQUEST, Ears())
    assert error.value is DOWN


@pytest.mark.parametrize("error", [SystemExit(3), BaseExceptionGroup("one", [SystemExit(3)])])
async def test_an_adapter_cannot_end_the_process(error):
    async def leaves(request, emit):
        raise error

    with pytest.raises(RuntimeError, match="the adapter of a tried to end the process"):
        await Deadline(leaves, "a", limit_s=9)(REQUEST, Ears())


@pytest.mark.parametrize("errors", [[DOWN, Unavailable("two")], [ValueError("a bug")], [DOWN, KeyError("x")]])
async def test_other_groups_stay_as_they_are(errors):
    async def grouped(request, emit):
        raise ExceptionGroup("several", errors)

    with pytest.raises(ExceptionGroup) as group:
        await Deadline(grouped, "a", limit_s=9)(REQUEST, Ears())
    assert list(group.value.exceptions) == errors
