"""OpenTelemetry's SDK, which sends spans and metrics by OTLP over HTTP to where the variables OTEL_* say."""

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from anyio import to_thread
from opentelemetry import trace

from eai_mcp.errors import ConfigError

try:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError as error:
    raise ConfigError(
        f"to export telemetry, run: pip install 'eai-mcp[otel]' ({error})", field="otel"
    ) from error

SERVICE = "eai-mcp"


@asynccontextmanager
async def opened(*, flush_s: float) -> AsyncIterator[tuple[TracerProvider, MeterProvider]]:
    """Who makes spans and who makes metrics; at the end the rest is sent, for at most `flush_s` seconds.

    Spans of others in this process, as of the MCP library, are sent too unless it has an SDK of its own.
    """
    # The SDK's own end at exit may wait for half a minute.
    tracer_provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    if _is_wanted("OTEL_TRACES_EXPORTER"):
        tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    readers = []
    if _is_wanted("OTEL_METRICS_EXPORTER"):
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    meter_provider = MeterProvider(readers, resource=_resource(), shutdown_on_exit=False)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(tracer_provider)
    try:
        yield tracer_provider, meter_provider
    finally:
        ends = [threading.Thread(target=end, daemon=True) for end in _ends(tracer_provider, meter_provider)]
        for thread in ends:
            thread.start()
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + flush_s):
            for thread in ends:
                await to_thread.run_sync(thread.join, flush_s, abandon_on_cancel=True)


def _ends(*providers: TracerProvider | MeterProvider) -> list[Callable[[], None]]:
    return [provider.shutdown for provider in providers]


def _is_wanted(name: str) -> bool:
    """Whether an exporter is; the SDK reads these variables only when its own command starts us."""
    return os.environ.get(name, "otlp").strip().lower() != "none"


def _resource() -> Resource:
    """What the variables say of this process, and our name where they say none."""
    found = Resource.create()
    if str(found.attributes.get("service.name", "")).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": SERVICE}))
    return found
