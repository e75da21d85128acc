"""Spans of real turns through real guards."""

from eai_mcp.errors import Unavailable
from eai_mcp.observe import Observers
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from tests.chat.taking import ask, begin, opened
from tests.fakes import Held, Scripted, said
from tests.pipeline.asking import model
from tests.pipeline.clock import Hasty
from tests.telemetry.seen import Seen, attributes


def guarded(seen: Seen, *steps, **reliability):
    """A call through every guard, and who hears of it and of its turn."""
    observe = Observers([seen.telemetry])
    guards = Guards(observe=observe, sleep=Hasty().sleep)
    call = guards.guarded(model("a", **reliability), Scripted([*steps]))
    return whole([("a", call)], observe=observe), observe


async def test_a_turn_that_is_tried_again_has_a_span_an_attempt(catalog):
    """Issue 6: one span a turn, a child a call, a child an attempt."""
    seen = Seen()
    call, observe = guarded(seen, Unavailable("nobody is there", status=503), said("hello"), attempts=2)
    async with opened(catalog, call, observe=observe) as (registry, _):
        assert (await ask(registry, "hi")).reply == "hello"

    assert not observe.failures
    assert [span.name for span in seen.spans] == ["chat a-1", "chat a-1", "call a", "talk"]
    assert seen.tree() == {"chat a-1": "call a", "call a": "talk", "talk": None}
    first, second, whole_call, _ = map(attributes, seen.spans)
    assert (first["error.type"], first["http.response.status_code"]) == ("provider_unavailable", 503)
    assert (second["eai.attempt"], second["eai.status"]) == (2, "answered")
    assert (whole_call["eai.retries"], whole_call["eai.attempts"]) == (1, 2)
    assert {"eai.retries", "eai.turn.duration", "gen_ai.client.token.usage"} <= {*seen.measured()}
    assert seen.telemetry.open_turns == 0


async def test_a_turn_that_is_interrupted_leaves_no_span_open(catalog):
    """Issue 6: … also for a cancelled turn."""
    seen, held = Seen(), Held("half")
    call, observe = guarded(seen, held)
    async with opened(catalog, call, observe=observe) as (registry, _):
        await begin(registry, "hi")
        await held.reached.wait()
        await registry.interrupt("", "default")

    assert not observe.failures
    assert [span.name for span in seen.spans] == ["chat a-1", "call a", "talk"]
    assert {attributes(span)["eai.status"] for span in seen.spans} == {"cancelled"}
    assert seen.telemetry.open_turns == 0
