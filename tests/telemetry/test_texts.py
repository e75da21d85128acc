"""What was said never leaves by way of the facts: neither in the log, nor as an attribute."""

import json

from eai_mcp.calls import ResourcePushed
from eai_mcp.chat.layers import Layers
from eai_mcp.errors import EaiError, Rejected, Unavailable
from eai_mcp.messages import TextBlock, ToolUseBlock
from eai_mcp.middleware import Ask, Refuse, ToolOutcome, named
from eai_mcp.observe import Observers, as_object
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from tests.chat.taking import ask, asks, opened, uses
from tests.fakes import Scripted, said
from tests.pipeline.asking import Facts, model
from tests.pipeline.clock import Hasty
from tests.telemetry.seen import Seen

SECRET = "swordfish"


class Talkative:
    """Puts the word wherever middleware can put words."""

    async def turn(self, given, go_on):
        await given.emit(ResourcePushed(kind="note", uri=f"data:text/plain,{SECRET}", payload=SECRET))
        if given.message.text == f"refuse {SECRET}":
            return Refuse(SECRET)
        if given.message.text == f"ask {SECRET}" and not given.is_resumed:
            return Ask(SECRET, {"state": SECRET})
        return await go_on(given)

    async def tool(self, run, go_on):
        return await go_on(run) if SECRET in run.name else ToolOutcome((TextBlock(SECRET),))


STEPS = (
    said(SECRET),
    Unavailable(SECRET, status=503),
    uses(ToolUseBlock("u1", "look", {"at": SECRET}), ToolUseBlock("u2", f"tell {SECRET}", {})),
    uses(asks(SECRET)),
    said(SECRET),
    said(SECRET),
    Rejected(SECRET, status=400),
)


async def talked(catalog, observe):
    """Turns of every kind, with the word in all that is said."""
    guards = Guards(observe=observe, sleep=Hasty().sleep)
    call = guards.guarded(model("a", attempts=2), Scripted([*STEPS]))
    layers = Layers(named([Talkative()]))
    whole_call = whole([("a", call)], observe=observe)
    async with opened(catalog, *[whole_call] * len(STEPS), observe=observe, layers=layers) as (registry, _):
        statuses: list[str] = [
            (await ask(registry, f"{word} {SECRET}")).status for word in ("say", "look", "answer")
        ]
        statuses += [(await ask(registry, f"{word} {SECRET}")).status for word in ("ask", "answer")]
        for word in ("refuse", "reject"):
            try:
                await ask(registry, f"{word} {SECRET}")
            except EaiError as error:
                statuses.append(error.code)
    return statuses


async def test_no_fact_span_or_metric_holds_what_was_said(catalog):
    """Issue 6: "sizes not texts"; chit.md section 2: nothing that was said is in what is told of it."""
    seen, facts = Seen(), Facts()
    observe = Observers([facts, seen.telemetry])
    statuses = await talked(catalog, observe)
    assert statuses == [
        "completed",
        "awaiting_input",
        "completed",
        "awaiting_input",
        "completed",
        "refused",
        "provider_rejected",
    ]
    assert {"tool.completed", "turn.yielded", "turn.resumed", "turn.failed", "resource.pushed"} <= {
        *facts.names
    }
    assert not [fact for fact in facts if SECRET in json.dumps(as_object(fact))]
    assert not [span.name for span in seen.spans if SECRET in span.to_json()]
    assert SECRET not in str(seen.measured())
    assert not observe.failures
    assert seen.telemetry.open_turns == 0


async def test_what_a_caller_gives_as_metadata_is_told_with_the_turn(catalog):
    """DESIGN section 5: metadata is "stored with the turn and its facts": it is there to find turns by."""
    seen = Seen()
    async with opened(catalog, said("hello"), observe=Observers([seen.telemetry])) as (registry, _):
        await ask(registry, "hi", metadata={"ticket": 7})
    assert (seen.span("talk").attributes or {})["eai.metadata"] == '{"ticket": 7}'
