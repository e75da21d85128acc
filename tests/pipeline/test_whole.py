"""Everything round the calls of a model and its fallbacks."""

from dataclasses import replace

import anyio
import pytest

from eai_mcp.errors import Internal, Unavailable
from eai_mcp.messages import user
from eai_mcp.middleware import named
from eai_mcp.observe import ignore
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from tests.fakes import Scripted
from tests.pipeline.asking import DOWN, HELLO, REQUEST, Ears, Facts, forever, model
from tests.pipeline.clock import Clock, Hasty


class Marks:
    """A layer that adds to what is said, and notes when it goes in and out."""

    def __init__(self, mark, seen):
        self.mark, self.seen = mark, seen

    async def call(self, request, emit, go_on):
        self.seen.append(f"into {self.mark}")
        said = request.messages[-1].text + self.mark
        response = await go_on(replace(request, messages=(user(said),)), emit)
        self.seen.append(f"out of {self.mark}")
        return response


class Deaf:
    """A layer that only hears failures."""

    async def failed(self, failure):
        raise AssertionError


async def test_the_first_layer_is_the_outermost_and_each_stands_there_once():
    seen: list[str] = []
    call = Scripted([HELLO])
    layers = named([Marks("1", seen), Deaf(), Marks("2", seen)])
    assert await whole([("a", call)], layers=layers, observe=ignore)(REQUEST, Ears()) == HELLO
    assert seen == ["into 1", "into 2", "out of 2", "out of 1"]
    assert call.requests[0].messages == (user("Hello12"),)


async def test_a_layer_sees_one_call_however_often_it_is_tried_and_whoever_answers():
    """Issue 6: idempotent under retry (no piled-up edits)."""
    clock = Hasty()
    seen: list[str] = []
    table = Guards(clock=clock, sleep=clock.sleep)
    first, second = Scripted([DOWN] * 3), Scripted([DOWN, HELLO])
    links = [("a", table.guarded(model(), first)), ("b", table.guarded(model("b"), second))]
    response = await whole(links, layers=named([Marks("!", seen)]), observe=ignore)(REQUEST, Ears())

    assert (response.attempts, seen) == (5, ["into !", "out of !"])
    texts = [request.messages[0].text for request in (*first.requests, *second.requests)]
    assert texts == ["Hello!"] * 5


async def test_facts_tell_of_the_whole_call():
    """Issue 6: Facts in order, with session, turn and request ids; sizes, not texts."""
    clock, facts = Clock(), Facts()

    async def slow(request, emit):
        clock.now += 3
        return replace(HELLO, served_by="a", attempts=2)

    await whole([("a", slow)], layers=(), observe=facts, clock=clock)(REQUEST, Ears())
    assert [(fact.name, dict(fact.fields)) for fact in facts] == [
        ("call.started", {"model": "a", "messages": 1, "tools": 0}),
        (
            "call.completed",
            {
                "model": "a",
                "seconds": 3,
                "served_by": "a",
                "attempts": 2,
                "stop": "end",
                "input": 2,
                "output": 3,
            },
        ),
    ]
    assert {(fact.session, fact.turn_id, fact.request_id) for fact in facts} == {("s", "t", "r")}


@pytest.mark.parametrize(
    ("error", "code"), [(Unavailable("x"), "provider_unavailable"), (ValueError("a bug"), "internal")]
)
async def test_facts_tell_of_a_failure(error, code):
    facts = Facts()
    with pytest.raises(type(error)):
        await whole([("a", Scripted([error]))], layers=(), observe=facts, clock=Clock())(REQUEST, Ears())
    assert facts.names == ["call.started", "call.failed"]
    assert facts.of("call.failed") == [{"model": "a", "seconds": 0, "code": code}]


async def test_facts_survive_a_cancellation():
    facts = Facts()
    guarded = Guards(observe=facts).guarded(model(), forever)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await whole([("a", guarded)], layers=(), observe=facts)(REQUEST, Ears())
    assert facts.names == ["call.started", "provider.attempt", "provider.cancelled", "call.cancelled"]


async def test_an_observer_that_fails_fails_no_call():
    """Issue 6: a failing sink never fails a turn."""

    def broken(fact):
        raise ValueError("no disk")

    clock = Hasty()
    guarded = Guards(observe=broken, clock=clock, sleep=clock.sleep).guarded(model(), Scripted([DOWN, HELLO]))
    assert (await whole([("a", guarded)], layers=(), observe=broken)(REQUEST, Ears())).attempts == 2


async def test_a_layer_that_raises_never_lets_the_call_pass():
    """Issue 6: a middleware that raises fails the turn with a clear error, never silently open."""

    class Broken:
        async def call(self, request, emit, go_on):
            raise KeyError("x")

    call, facts = Scripted([HELLO]), Facts()
    with pytest.raises(Internal, match=r"middleware .*Broken"):
        await whole([("a", call)], layers=named([Broken()]), observe=facts)(REQUEST, Ears())
    assert call.requests == []
    assert facts.names == ["call.started", "call.failed"]
