"""An operator's own code round each call."""

from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.errors import Internal, Refused, Unavailable
from eai_mcp.messages import user
from eai_mcp.middleware import Named
from eai_mcp.pipeline.middleware import round_call
from tests.fakes import Scripted, said
from tests.pipeline.asking import DOWN, HELLO, REQUEST, Ears, forever


@dataclass
class Layer:
    """Does what the function says."""

    do: Any

    async def call(self, request, emit, go_on):
        return await self.do(request, emit, go_on)


def layered(call, do, name="mine"):
    return round_call(call, Named(name, Layer(do)))


async def test_a_layer_may_change_the_request_and_the_response():
    async def prefix(request, emit, go_on):
        await emit(TextDelta("["))
        response = await go_on(replace(request, messages=(user("changed"),)), emit)
        return replace(response, warnings=("seen",))

    call, heard = Scripted([HELLO]), Ears()
    assert await layered(call, prefix)(REQUEST, heard) == replace(HELLO, warnings=("seen",))
    assert call.requests == [replace(REQUEST, messages=(user("changed"),))]
    assert heard == [TextDelta("["), TextDelta("Hello")]


async def test_a_layer_may_answer_or_refuse_by_itself():
    async def answer(request, emit, go_on):
        return said("from the cache")

    async def refuse(request, emit, go_on):
        raise Refused("not on Sundays")

    call = Scripted([])
    assert (await layered(call, answer)(REQUEST, Ears())).message.text == "from the cache"
    with pytest.raises(Refused, match=r"^not on Sundays$"):
        await layered(call, refuse)(REQUEST, Ears())


@pytest.mark.parametrize("bug", [ValueError("secret"), SystemExit(3)])
async def test_a_layer_that_raises_fails_the_call_and_is_named(bug, caplog):
    async def broken(request, emit, go_on):
        raise bug

    with pytest.raises(Internal, match=r"^middleware mine failed: internal error \w+") as error:
        await layered(Scripted([]), broken)(REQUEST, Ears())
    assert error.value.details["middleware"] == "mine"
    assert str(error.value.details["error_id"]) in caplog.text
    assert "secret" not in error.value.message


@pytest.mark.parametrize("answer", [None, "text", {"text": 1}])
async def test_a_layer_that_returns_no_response_fails_the_call(answer):
    async def broken(request, emit, go_on):
        await go_on(request, emit)
        return answer

    with pytest.raises(Internal, match="middleware mine"):
        await layered(Scripted([HELLO]), broken)(REQUEST, Ears())


async def test_a_layer_that_hands_on_no_request_is_named():
    async def broken(request, emit, go_on):
        return await go_on(None, emit)

    call = Scripted([])
    with pytest.raises(Internal, match="middleware mine"):
        await layered(call, broken)(REQUEST, Ears())
    assert call.requests == []


async def test_a_layer_whose_call_is_no_coroutine_is_named():
    class Plain:
        def call(self, request, emit, go_on):
            return HELLO

    with pytest.raises(Internal, match="middleware plain"):
        await round_call(Scripted([]), Named("plain", Plain()))(REQUEST, Ears())


@pytest.mark.parametrize("bug", [ValueError("inside"), ExceptionGroup("two", [DOWN, KeyError("x")])])
async def test_a_bug_inside_is_blamed_on_no_layer_and_told_once(bug, caplog):
    async def through(request, emit, go_on):
        return await go_on(request, emit)

    call = layered(layered(Scripted([bug]), through, "inner"), through, "outer")
    with pytest.raises(Internal, match=r"^internal error") as error:
        await call(REQUEST, Ears())
    assert error.value.__cause__ is bug
    assert caplog.text.count("internal error") == 1


async def test_a_bug_of_an_inner_layer_is_not_blamed_on_the_outer_one():
    async def through(request, emit, go_on):
        return await go_on(request, emit)

    async def broken(request, emit, go_on):
        raise ValueError

    call = layered(layered(Scripted([]), broken, "inner"), through, "outer")
    with pytest.raises(Internal, match=r"^middleware inner failed: internal error"):
        await call(REQUEST, Ears())


@pytest.mark.parametrize("is_grouped", [False, True])
async def test_an_error_from_inside_is_itself_after_a_layers_task_group_as_well(is_grouped):
    async def grouped(request, emit, go_on):
        if not is_grouped:
            return await go_on(request, emit)
        async with anyio.create_task_group():
            return await go_on(request, emit)

    with pytest.raises(Unavailable) as error:
        await layered(Scripted([DOWN]), grouped)(REQUEST, Ears())
    assert error.value is DOWN


async def test_cancellation_passes_a_layer():
    async def through(request, emit, go_on):
        return await go_on(request, emit)

    with anyio.CancelScope() as scope:
        scope.cancel()
        await layered(forever, through)(REQUEST, Ears())
    assert scope.cancelled_caught


async def test_a_layer_without_call_costs_nothing():
    call = Scripted([])
    assert round_call(call, Named("other", object())) is call
