"""Spans and metrics that stay in memory, for tests to look at."""

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import DataPointT, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from eai_mcp.telemetry.observer import Telemetry


class Seen:
    """A `telemetry` of its own, and what came out of it."""

    def __init__(self, **fields: Any) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=meters, **fields)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that ended, in that order."""
        return self.exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """The one of that name."""
        [found] = [span for span in self.spans if span.name == name]
        return found

    def tree(self) -> dict[str, str | None]:
        """Each span's name, and that of the one above it."""
        names = {span.context.span_id: span.name for span in self.spans if span.context}
        return {span.name: span.parent and names.get(span.parent.span_id) for span in self.spans}

    def measured(self) -> dict[str, list[tuple[dict[str, Any], float]]]:
        """By metric: the attributes and the sum of each of its series."""
        data = self.reader.get_metrics_data()
        scopes = [scope for part in (data.resource_metrics if data else ()) for scope in part.scope_metrics]
        return {
            metric.name: [(dict(point.attributes or {}), _sum(point)) for point in metric.data.data_points]
            for scope in scopes
            for metric in scope.metrics
        }


def _sum(point: DataPointT) -> float:
    if isinstance(point, NumberDataPoint):
        return point.value
    return point.sum or 0


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """What the span says of itself, without what each of a turn says."""
    said = dict(span.attributes or {})
    return {
        name: value for name, value in said.items() if name not in ("eai.turn_id", "gen_ai.conversation.id")
    }
