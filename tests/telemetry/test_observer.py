"""Spans and metrics, as the SDK's own exporters in memory see them."""

import anyio
import pytest
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode

from eai_mcp.observe import Value, tell
from tests.chat.taking import ask, begin, opened
from tests.fakes import Held, said
from tests.telemetry.seen import Seen, attributes

ANSWER: dict[str, Value] = {
    "attempt": 1,
    "seconds": 0.25,
    "first_chunk_s": 0.1,
    "stop": "end",
    "input": 30,
    "output": 4,
    "cache_read": 20,
    "reasoning": 1,
}


@pytest.fixture(autouse=True)
def nothing_current():
    """What a test leaves open is not current in the next."""
    context.attach(Context())
    yield
    context.attach(Context())


def told(seen: Seen, name: str, /, *, turn: str = "t1", **fields: Value) -> None:
    tell(seen.telemetry, name, session="work", turn_id=turn, request_id="", space="", **fields)


def begun(seen: Seen, turn: str = "t1", *, provider: str = "bedrock") -> None:
    """A turn in the middle of an attempt."""
    told(seen, "turn.received", turn=turn, model="m", characters=5, if_busy="error")
    told(seen, "turn.started", turn=turn, model="m")
    told(seen, "call.started", turn=turn, model="m", messages=1, tools=2)
    attempted(seen, 1, turn=turn, provider=provider)


def attempted(seen: Seen, attempt: int, *, turn: str = "t1", provider: str = "bedrock") -> None:
    told(seen, "provider.attempt", turn=turn, model="m", provider=provider, wire_model="m-1", attempt=attempt)


def answered(seen: Seen, turn: str = "t1") -> None:
    told(seen, "provider.answered", turn=turn, **ANSWER)


def completed(seen: Seen) -> None:
    answered(seen)
    told(seen, "call.completed", seconds=0.3, served_by="m", attempts=1, stop="end", input=30, output=4)
    told(seen, "turn.completed", seconds=0.5, model="m", stop="end", input=30, output=4, cost_usd=0.01)


def test_a_turn_is_a_span_with_a_child_a_call_and_a_child_an_attempt():
    """Issue 6: one span a turn, a child a call, a child an attempt, with the right attributes."""
    seen = Seen()
    begun(seen)
    completed(seen)

    assert seen.tree() == {"chat m-1": "call m", "call m": "talk", "talk": None}
    attempt, call, turn = seen.spans
    assert [attempt.kind, call.kind, turn.kind] == [SpanKind.CLIENT, SpanKind.INTERNAL, SpanKind.INTERNAL]
    assert [span.status.status_code for span in seen.spans] == [StatusCode.UNSET] * 3
    assert attributes(attempt) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "m-1",
        "eai.model": "m",
        "eai.attempt": 1,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.1,
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "eai.status": "answered",
    }
    assert attributes(call) == {
        "eai.model": "m",
        "eai.messages": 1,
        "eai.tools": 2,
        "eai.served_by": "m",
        "eai.attempts": 1,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 4,
        "eai.status": "completed",
    }
    assert turn.attributes == {
        "gen_ai.conversation.id": "work",
        "eai.turn_id": "t1",
        "eai.model": "m",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 4,
        "eai.cost_usd": 0.01,
        "eai.status": "completed",
    }
    assert seen.telemetry.open_turns == 0


def test_a_turn_is_measured():
    """Issue 6: OpenTelemetry spans and metrics with `gen_ai.*` conventions."""
    seen = Seen()
    begun(seen)
    completed(seen)
    model = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "m-1",
    }
    assert seen.measured() == {
        "gen_ai.client.operation.duration": [(model, 0.25)],
        "gen_ai.client.operation.time_to_first_chunk": [(model, 0.1)],
        "gen_ai.client.token.usage": [
            ({**model, "gen_ai.token.type": "input"}, 30),
            ({**model, "gen_ai.token.type": "output"}, 4),
        ],
        "eai.turn.duration": [({"eai.model": "m", "eai.status": "completed"}, 0.5)],
    }


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai_chat", "openai"),
        ("openai_responses", "openai"),
        ("anthropic", "anthropic"),
        ("gemini", "gcp.gemini"),
        ("local", "local"),
        ("my.own:adapter", "my.own:adapter"),
    ],
)
def test_providers_have_the_names_of_the_conventions(provider, name):
    seen = Seen()
    begun(seen, provider=provider)
    completed(seen)
    assert attributes(seen.span("chat m-1"))["gen_ai.provider.name"] == name


def test_a_cancelled_turn_ends_all_its_spans_the_children_first():
    """Issue 6: … also for a cancelled turn."""
    seen = Seen()
    begun(seen)
    told(seen, "tool.started", name="ls")
    told(seen, "turn.cancelled", seconds=0.5, model="m")
    assert [span.name for span in seen.spans] == ["chat m-1", "call m", "execute_tool ls", "talk"]
    for span in seen.spans:
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "cancelled")
        assert attributes(span)["eai.status"] == attributes(span)["error.type"] == "cancelled"


def test_an_attempt_that_failed_and_one_that_was_cancelled_say_so():
    seen = Seen()
    begun(seen)
    told(seen, "provider.failed", attempt=1, seconds=0.1, code="rate_limited", status=429)
    told(seen, "provider.retry", model="m", attempt=1, wait_s=0.5, code="rate_limited")
    attempted(seen, 2)
    told(seen, "provider.cancelled", attempt=2, seconds=0.2)
    told(seen, "call.cancelled", seconds=0.4)
    told(seen, "turn.cancelled", seconds=0.5, model="m")

    first, second, call, turn = seen.spans
    assert first.parent == second.parent == call.context
    failed = attributes(first)
    assert (failed["error.type"], failed["http.response.status_code"]) == ("rate_limited", 429)
    assert first.status.description == "rate_limited"
    assert (attributes(second)["eai.attempt"], attributes(second)["error.type"]) == (2, "cancelled")
    assert attributes(call)["eai.retries"] == 1
    assert attributes(turn)["eai.status"] == "cancelled"
    measured = seen.measured()
    assert [said["error.type"] for said, _ in measured["gen_ai.client.operation.duration"]] == [
        "rate_limited",
        "cancelled",
    ]
    assert measured["eai.retries"] == [({"eai.model": "m", "error.type": "rate_limited"}, 1)]


def test_a_failed_turn_names_its_error():
    seen = Seen()
    begun(seen)
    told(seen, "provider.failed", attempt=1, seconds=0.1, code="provider_unavailable", status=None)
    told(seen, "call.failed", seconds=0.1, code="provider_unavailable")
    told(seen, "turn.failed", seconds=0.5, model="m", code="provider_unavailable")
    for span in seen.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)["error.type"] == "provider_unavailable"
        assert "http.response.status_code" not in attributes(span)
    assert seen.measured()["eai.turn.duration"] == [
        ({"eai.model": "m", "eai.status": "failed", "error.type": "provider_unavailable"}, 0.5)
    ]


def test_what_happens_in_between_is_counted_on_the_call_and_as_metrics():
    seen = Seen()
    begun(seen)
    told(seen, "rate.waited", model="m", seconds=0.5)
    told(seen, "rate.waited", model="m", seconds=0.25)
    told(seen, "rate.rejected", model="m", seconds=60)
    for name in ("opened", "half_open", "closed", "rejected"):
        told(seen, f"circuit.{name}", model="m", provider="gemini")
    told(seen, "provider.fallback", **{"from": "m", "to": "n", "code": "circuit_open"})
    told(seen, "resource.pushed", kind="table", uri="eai://x", bytes=12)
    completed(seen)

    call = attributes(seen.span("call m"))
    assert [
        call[f"eai.{name}"] for name in ("rate.wait_s", "rate.rejected", "circuit.rejected", "fallbacks")
    ] == [
        0.75,
        1,
        1,
        1,
    ]
    measured = seen.measured()
    assert measured["eai.rate.wait"] == [({"eai.model": "m"}, 0.75)]
    assert measured["eai.rate.rejected"] == [({"eai.model": "m"}, 1)]
    assert measured["eai.resources.pushed"] == [({}, 1)]
    for name in ("opened", "half_open", "closed", "rejected"):
        assert measured[f"eai.circuit.{name}"] == [
            ({"eai.model": "m", "gen_ai.provider.name": "gcp.gemini"}, 1)
        ]
    assert measured["eai.fallbacks"] == [
        ({"eai.fallback.from": "m", "eai.fallback.to": "n", "error.type": "circuit_open"}, 1)
    ]


def test_tools_that_run_side_by_side_are_spans_of_the_turn():
    seen = Seen()
    told(seen, "turn.started", model="m")
    for number, name in enumerate(("ls", "cat", "ls"), 1):
        told(seen, "tool.started", name=name, number=number)
    told(seen, "tool.completed", name="cat", number=2, seconds=0.1, failed=True)
    told(seen, "tool.completed", name="ls", number=3, seconds=0.2, failed=True)
    told(seen, "tool.completed", name="ls", number=1, seconds=0.3, failed=False)
    told(seen, "tool.completed", name="never started", number=4, seconds=0.3, failed=False)
    told(seen, "turn.completed", seconds=1, model="m")

    cat, second, first, turn = seen.spans
    assert [attributes(span)["eai.status"] for span in (second, first)] == ["failed", "completed"]
    assert seen.tree() == {"execute_tool cat": "talk", "execute_tool ls": "talk", "talk": None}
    assert [span.name for span in seen.spans].count("execute_tool ls") == 2
    assert attributes(cat) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "cat",
        "eai.status": "failed",
        "error.type": "tool_error",
    }
    assert attributes(turn)["eai.status"] == "completed"


def test_a_resumed_turn_is_a_span_of_its_own_that_leads_to_the_one_that_asked():
    seen = Seen()
    told(seen, "turn.started", model="m")
    told(seen, "turn.yielded", seconds=0.1, model="m")
    told(seen, "turn.resumed", model="m")
    told(seen, "turn.completed", seconds=0.1, model="m")

    asked, answered = seen.spans
    assert asked.status.status_code is StatusCode.UNSET
    assert attributes(asked)["eai.status"] == "yielded"
    assert [link.context for link in answered.links] == [asked.context]
    assert asked.attributes is not None
    assert answered.attributes is not None
    assert answered.attributes["eai.turn_id"] == asked.attributes["eai.turn_id"]


def test_turns_whose_end_never_comes_are_given_up_at_some_point():
    seen = Seen(most_open=2)
    for turn in ("t1", "t2", "t3"):
        begun(seen, turn)
    assert seen.telemetry.open_turns == 2
    assert [span.name for span in seen.spans] == ["chat m-1", "call m", "talk"]
    assert {attributes(span)["eai.status"] for span in seen.spans} == {"lost"}


def test_a_start_that_is_told_twice_leaves_nothing_open():
    seen = Seen()
    begun(seen)
    begun(seen)
    told(seen, "call.started", model="n", messages=1, tools=0)
    completed(seen)
    assert seen.telemetry.open_turns == 0
    assert [span.name for span in seen.spans].count("talk") == 2
    assert [span.name for span in seen.spans].count("call m") == 2


def test_ends_without_a_start_make_no_spans():
    seen = Seen()
    completed(seen)
    told(seen, "tool.completed", name="ls", seconds=0.1, failed=False)
    assert seen.spans == ()
    assert seen.telemetry.open_turns == 0
    assert [*seen.measured()] == ["eai.turn.duration"]


def test_a_call_outside_of_a_turn_is_a_span_by_itself_and_leaves_nothing_behind():
    seen = Seen()
    told(seen, "call.started", turn="", model="m", messages=1, tools=0)
    attempted(seen, 1, turn="")
    answered(seen, "")
    told(seen, "call.completed", turn="", seconds=0.3, served_by="m", attempts=1)
    assert seen.tree() == {"chat m-1": "call m", "call m": None}
    attempted(seen, 1, turn="")
    answered(seen, "")
    assert seen.telemetry.open_turns == 0


async def test_a_real_turn_stands_below_the_span_that_it_began_in(catalog):
    """Issue 6: an OpenTelemetry in-memory exporter sees one span a turn."""
    seen = Seen()
    tracer = seen.tracers.get_tracer("the server's")
    async with opened(catalog, said("hello"), observe=seen.telemetry) as (registry, _):
        with tracer.start_as_current_span("tools/call talk"):
            done = await ask(registry, "hi", session="work")
    turn = seen.span("talk")
    assert seen.tree() == {"talk": "tools/call talk", "tools/call talk": None}
    assert turn.attributes is not None
    assert turn.attributes["eai.turn_id"] == done.turn_id
    assert turn.attributes["gen_ai.conversation.id"] == "work"
    assert turn.attributes["eai.status"] == "completed"


async def test_a_real_turn_that_is_interrupted_is_a_cancelled_span(catalog):
    """Issue 6: … also for a cancelled turn."""
    seen, held = Seen(), Held("half")
    async with opened(catalog, held, observe=seen.telemetry) as (registry, _):
        await begin(registry, "hi")
        await held.reached.wait()
        await registry.interrupt("", "default")
    turn = seen.span("talk")
    assert attributes(turn)["eai.status"] == "cancelled"
    assert turn.status.status_code is StatusCode.ERROR
    assert seen.telemetry.open_turns == 0


async def test_spans_are_current_while_they_are_open_even_when_they_are_cancelled():
    """Of two turns side by side one is cancelled; what is traced inside stands below its own attempt."""
    seen = Seen()
    tracer = seen.tracers.get_tracer("an HTTP client")
    inside = anyio.Event()

    async def runs(turn: str, *, is_held: bool) -> None:
        before = context.get_current()
        begun(seen, turn)
        try:
            with tracer.start_as_current_span(f"POST of {turn}"):
                if is_held:
                    inside.set()
                    await anyio.sleep_forever()
                await inside.wait()
            answered(seen, turn)
            told(seen, "call.completed", turn=turn, seconds=0.1)
            told(seen, "turn.completed", turn=turn, seconds=0.1)
        except BaseException:
            told(seen, "provider.cancelled", turn=turn, seconds=0.1)
            told(seen, "call.cancelled", turn=turn, seconds=0.1)
            told(seen, "turn.cancelled", turn=turn, seconds=0.1)
            raise
        finally:
            assert context.get_current() == before

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: runs("t1", is_held=False))
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as held:
                    held.start_soon(lambda: runs("t2", is_held=True))
                    await inside.wait()
                    scope.cancel()

    for turn in ("t1", "t2"):
        client = seen.span(f"POST of {turn}")
        assert client.parent is not None
        [attempt] = [
            span for span in seen.spans if span.context and span.context.span_id == client.parent.span_id
        ]
        assert attempt.name == "chat m-1"
        assert attempt.attributes is not None
        assert attempt.attributes["eai.turn_id"] == turn


async def test_an_end_that_another_task_tells_disturbs_nobody():
    seen = Seen()
    begun(seen)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def ends() -> None:
                completed(seen)
                assert trace.get_current_span() is trace.INVALID_SPAN

            tasks.start_soon(ends)
    assert [span.name for span in seen.spans] == ["chat m-1", "call m", "talk"]
