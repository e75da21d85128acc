"""The spans of a turn that have not ended."""

from dataclasses import dataclass, field

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode

from eai_mcp.observe import Value
from eai_mcp.telemetry.naming import Attributes

GOOD = ("completed", "yielded", "answered")


@dataclass(slots=True)
class OpenSpan:
    """A span that has not ended.

    `before` is the context that its start found, None if the span did not become the current one.
    `measured` is what its metrics are told apart by.
    """

    span: Span
    before: Context | None = None
    measured: Attributes = field(default_factory=dict)

    def add(self, known: Attributes) -> None:
        """Say more of it."""
        if self.span.is_recording():
            self.span.set_attributes(known)

    def end(self, status: str, code: str = "") -> None:
        """End it with the status that the last fact of it said; `lost` if there was none.

        OpenTelemetry leaves the span of what was cancelled without a status, so it is set here.
        """
        if self.before is not None and trace.get_current_span() is self.span:
            # Not detached by a token: that is refused in any task but the one that heard of the start.
            context.attach(self.before)
        if self.span.is_recording():
            self.span.set_attribute("eai.status", status)
            if status not in GOOD:
                self.span.set_attribute("error.type", code or status)
                self.span.set_status(StatusCode.ERROR, code or status)
        self.span.end()


@dataclass(slots=True)
class OpenTurn:
    """The open spans of one turn, and what was counted during its call."""

    turn: OpenSpan | None = None
    call: OpenSpan | None = None
    attempt: OpenSpan | None = None
    tools: dict[Value, OpenSpan] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is open."""
        return not (self.turn or self.call or self.attempt or self.tools)

    def end(self, status: str, code: str = "") -> None:
        """End all of it, children first; those that nobody ended are lost if the turn itself went well."""
        below = "lost" if status in GOOD else status
        self.end_call(below)
        while self.tools:
            self.tools.popitem()[1].end(below)
        if self.turn is not None:
            self.turn.end(status, code)
            self.turn = None

    def end_call(self, status: str, code: str = "") -> None:
        """End the call, and before it its attempt."""
        self.end_attempt("lost" if status in GOOD else status)
        if self.call is not None:
            self.call.add({**self.counted})
            self.call.end(status, code)
        self.call, self.counted = None, {}

    def end_attempt(self, status: str, code: str = "") -> None:
        """End the attempt."""
        if self.attempt is not None:
            self.attempt.end(status, code)
            self.attempt = None
