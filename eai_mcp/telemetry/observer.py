"""The observer that turns facts into spans and metrics.

    talk                        a turn, below whatever span it began in: with MCP that of the request
    ├── call MODEL              a call
    │   ├── chat WIRE_MODEL     an attempt
    │   └── chat WIRE_MODEL
    └── execute_tool NAME       a run of a tool

Only OpenTelemetry's API is used, which does nothing until somebody sets an SDK up. Its span events are being
retired, so what happens in between (a retry, a wait) is counted: on the call's span, and as a metric.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import context, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, TracerProvider

import eai_mcp
from eai_mcp.observe import Fact
from eai_mcp.telemetry.meters import Meters
from eai_mcp.telemetry.naming import Attributes, attributes, ids, number
from eai_mcp.telemetry.spans import GOOD, OpenSpan, OpenTurn

# More than a process runs at once: what is older has lost its end.
MOST_OPEN = 10_000
MOST_YIELDED = 1_000

# What a call's span counts of the facts in between, and the field that is added up; None counts the facts.
COUNTED: Mapping[str, tuple[str, str | None]] = {
    "provider.retry": ("eai.retries", None),
    "provider.fallback": ("eai.fallbacks", None),
    "circuit.rejected": ("eai.circuit.rejected", None),
    "rate.rejected": ("eai.rate.rejected", None),
    "rate.waited": ("eai.rate.wait_s", "seconds"),
}


class Telemetry:
    """Spans and metrics; without providers, for those that the process has set.

    The spans of a turn, its call and its attempt are current while they are open, so that what a tool, a
    middleware or the HTTP client traces stands below them.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        most_open: int = MOST_OPEN,
    ) -> None:
        self._tracer = trace.get_tracer("eai_mcp", eai_mcp.__version__, tracer_provider)
        self._meters = Meters(meter_provider)
        self._most_open = most_open
        self._turns: OrderedDict[str, OpenTurn] = OrderedDict()
        self._yielded: OrderedDict[str, SpanContext] = OrderedDict()

    def __call__(self, fact: Fact) -> None:
        """Start, change or end a span, and count."""
        _HEARD.get(fact.name, Telemetry._happened)(self, fact)

    @property
    def open_turns(self) -> int:
        """How many turns have spans that did not end yet."""
        return len(self._turns)

    def _turn_started(self, fact: Fact) -> None:
        self._forget(fact.turn_id)
        known = {**ids(fact), **attributes(fact, "model", "metadata")}
        asked = self._yielded.pop(fact.turn_id, None)
        links = [] if asked is None else [Link(asked)]
        self._of(fact).turn = self._started("talk", known, links=links)

    def _turn_ended(self, fact: Fact) -> None:
        status, code = _ending(fact)
        open_turn = self._turns.pop(fact.turn_id, None)
        if open_turn is not None:
            if open_turn.turn is not None:
                open_turn.turn.add(attributes(fact, "model", "stop", "input", "output", "cost_usd"))
                if status == "yielded":
                    self._remember(fact.turn_id, open_turn.turn.span.get_span_context())
            open_turn.end(status, code)
        measured = {**attributes(fact, "model"), "eai.status": status, **_error(status, code)}
        self._meters.turn(fact, measured)

    def _call_started(self, fact: Fact) -> None:
        open_turn = self._of(fact)
        open_turn.end_call("lost")
        known = {**ids(fact), **attributes(fact, "model", "messages", "tools")}
        open_turn.call = self._started(f"call {fact.fields.get('model')}", known, below=open_turn.turn)

    def _call_ended(self, fact: Fact) -> None:
        open_turn = self._turns.get(fact.turn_id)
        if open_turn is not None:
            if open_turn.call is not None:
                open_turn.call.add(attributes(fact, "served_by", "attempts", "stop", "input", "output"))
            open_turn.end_call(*_ending(fact))
            self._tidy(fact)

    def _attempt_started(self, fact: Fact) -> None:
        open_turn = self._of(fact)
        open_turn.end_attempt("lost")
        measured: Attributes = {"gen_ai.operation.name": "chat", **attributes(fact, "provider", "wire_model")}
        open_turn.attempt = self._started(
            f"chat {fact.fields.get('wire_model')}",
            {**measured, **ids(fact), **attributes(fact, "model", "attempt")},
            below=open_turn.call or open_turn.turn,
            kind=SpanKind.CLIENT,
        )
        open_turn.attempt.measured = measured

    def _attempt_ended(self, fact: Fact) -> None:
        open_turn = self._turns.get(fact.turn_id)
        if open_turn is None or open_turn.attempt is None:
            return
        status, code = _ending(fact)
        attempt = open_turn.attempt
        attempt.add(
            attributes(fact, "stop", "first_chunk_s", "status", "input", "output", "cache_read", "reasoning")
        )
        open_turn.end_attempt(status, code)
        self._meters.operation(fact, {**attempt.measured, **_error(status, code)})
        self._tidy(fact)

    def _tool_started(self, fact: Fact) -> None:
        open_turn = self._of(fact)
        measured: Attributes = {"gen_ai.operation.name": "execute_tool", **attributes(fact, "name")}
        name = str(fact.fields.get("name"))
        # Tools run side by side, so none of them is the current one.
        tool = self._started(
            f"execute_tool {name}", {**measured, **ids(fact)}, below=open_turn.turn, is_current=False
        )
        tool.measured = measured
        open_turn.tools[fact.fields.get("number")] = tool

    def _tool_ended(self, fact: Fact) -> None:
        open_turn = self._turns.get(fact.turn_id)
        tool = None if open_turn is None else open_turn.tools.pop(fact.fields.get("number"), None)
        if tool is not None:
            status, code = ("failed", "tool_error") if fact.fields.get("failed") else ("completed", "")
            tool.end(status, code)
            self._meters.operation(fact, {**tool.measured, **_error(status, code)})
            self._tidy(fact)

    def _happened(self, fact: Fact) -> None:
        self._meters.happened(fact)
        open_turn = self._turns.get(fact.turn_id)
        if open_turn is not None and fact.name in COUNTED:
            name, added = COUNTED[fact.name]
            more = 1 if added is None else number(fact.fields.get(added))
            open_turn.counted[name] = open_turn.counted.get(name, 0) + more

    def _started(
        self,
        name: str,
        known: Attributes,
        *,
        below: OpenSpan | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
        is_current: bool = True,
    ) -> OpenSpan:
        parent = None if below is None else trace.set_span_in_context(below.span)
        span = self._tracer.start_span(name, parent, kind, known, links)
        if not is_current or not span.get_span_context().is_valid:
            return OpenSpan(span)
        before = context.get_current()
        context.attach(trace.set_span_in_context(span))
        return OpenSpan(span, before)

    def _of(self, fact: Fact) -> OpenTurn:
        """The open spans of the fact's turn; turns whose end never came make room for it."""
        found = self._turns.get(fact.turn_id)
        if found is None:
            while len(self._turns) >= self._most_open:
                self._forget(next(iter(self._turns)))
            found = self._turns[fact.turn_id] = OpenTurn()
        return found

    def _forget(self, turn_id: str) -> None:
        found = self._turns.pop(turn_id, None)
        if found is not None:
            found.end("lost")

    def _tidy(self, fact: Fact) -> None:
        """Keep nothing of a call that belongs to no turn, whose end would never come."""
        open_turn = self._turns.get(fact.turn_id)
        if open_turn is not None and open_turn.is_empty:
            del self._turns[fact.turn_id]

    def _remember(self, turn_id: str, asked: SpanContext) -> None:
        if asked.is_valid:
            self._yielded[turn_id] = asked
            while len(self._yielded) > MOST_YIELDED:
                self._yielded.popitem(last=False)


def _ending(fact: Fact) -> tuple[str, str]:
    code = fact.fields.get("code")
    return fact.name.partition(".")[2], str(code) if code else ""


def _error(status: str, code: str) -> Attributes:
    return {} if status in GOOD else {"error.type": code or status}


_HEARD: Mapping[str, Callable[[Telemetry, Fact], None]] = {
    "turn.started": Telemetry._turn_started,
    "turn.resumed": Telemetry._turn_started,
    "turn.completed": Telemetry._turn_ended,
    "turn.yielded": Telemetry._turn_ended,
    "turn.failed": Telemetry._turn_ended,
    "turn.cancelled": Telemetry._turn_ended,
    "call.started": Telemetry._call_started,
    "call.completed": Telemetry._call_ended,
    "call.failed": Telemetry._call_ended,
    "call.cancelled": Telemetry._call_ended,
    "provider.attempt": Telemetry._attempt_started,
    "provider.answered": Telemetry._attempt_ended,
    "provider.failed": Telemetry._attempt_ended,
    "provider.cancelled": Telemetry._attempt_ended,
    "tool.started": Telemetry._tool_started,
    "tool.completed": Telemetry._tool_ended,
}
