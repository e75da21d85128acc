"""`eai-mcp serve --otel` as a process: what a collector gets, and what becomes of it when none is there."""

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.e2e.silent_provider import asking, heard, told
from tests.e2e.wire import LEGACY, MODERN, served

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
# The one of the tests: it has the extra `otel`, which the one with the built wheel has not.
EAI_MCP = str(Path(sys.executable).with_name("eai-mcp"))
TRACE, ABOVE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDS_WITHIN_S = 5
"""Well below the 10 s and 30 s that the SDK would wait by itself."""
FLAKY = """
provider = "scripted"
model = "flaky-1"
reliability = { attempts = 2, backoff_first_s = 0.01 }

[[quirks.replies]]
text = "Hello again."
fail = { code = "provider_unavailable", times = 1 }
"""
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


class Collector(ThreadingHTTPServer):
    """Takes spans and the names of metrics by OTLP over HTTP; with `is_silent` it never answers."""

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.metrics: set[str] = set()
        self.is_silent = False
        self.let_go = threading.Event()
        super().__init__(("127.0.0.1", 0), Taking)

    def took(self, path: str, body: bytes) -> None:
        if path == "/v1/metrics":
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics |= {metric.name for scope in measured.scope_metrics for metric in scope.metrics}
            return
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services.add(attributes(part.resource)["service.name"])
            self.spans += [span for scope in part.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Span]:
        """The spans of that name, in the order in which they began."""
        return sorted(
            (span for span in self.spans if span.name == name), key=lambda span: span.start_time_unix_nano
        )

    def lineage(self, span: Span) -> list[str]:
        """The names of the span and of those above it, which began and ended round it."""
        by_id = {span.span_id: span for span in self.spans}
        names = [span.name]
        while span.parent_span_id in by_id:
            above = by_id[span.parent_span_id]
            assert above.trace_id == span.trace_id
            assert above.start_time_unix_nano <= span.start_time_unix_nano
            span = above
            names.append(span.name)
        return names


class Taking(BaseHTTPRequestHandler):
    server: Collector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert self.headers["Content-Type"] == "application/x-protobuf"
        self.server.took(self.path, self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.is_silent:
            self.server.let_go.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.let_go.set()
        server.shutdown()
        thread.join(5)


def attributes(span: Any) -> dict[str, Any]:
    """What a span, or a resource, says of itself."""
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    return found


def observed(house, port, *options, era=LEGACY, **environment):
    """A server that sends to that port of this machine."""
    variables = {
        **house.environment,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "no_proxy": "127.0.0.1",
        **environment,
    }
    (house.folder / "models" / "flaky.toml").write_text(FLAKY, encoding="utf-8")
    return served([EAI_MCP, *house.command[1:], "--otel", *options], variables, era=era)


@ERAS
async def test_a_turn_is_a_span_with_a_call_and_its_attempts_below_the_clients_own(house, collector, era):
    """Issue 6: "one span a turn, a child a call, a child an attempt, with the right attributes"."""
    meta = {"traceparent": f"00-{TRACE}-{ABOVE}-01"}
    call = {"name": "talk", "arguments": {"content": "hi", "model": "flaky", "request_id": "r1"}}
    async with observed(house, collector.server_port, era=era) as wire:
        done = (await wire.ask("tools/call", **call, _meta=meta))["structuredContent"]
        with anyio.fail_after(ENDS_WITHIN_S):
            await wire.leave()
    assert (done["status"], done["reply"]) == ("completed", "Hello again.")
    (turn,), (whole,), (first, second) = map(collector.named, ("talk", "call flaky", "chat flaky-1"))
    assert (
        collector.lineage(second)[:3]
        == collector.lineage(first)[:3]
        == [
            "chat flaky-1",
            "call flaky",
            "talk",
        ]
    )
    (server,) = [span for span in collector.spans if span.span_id == turn.parent_span_id]
    assert (server.name, server.kind) == ("tools/call talk", Span.SPAN_KIND_SERVER)
    assert (turn.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, ABOVE)
    ids = {"gen_ai.conversation.id": "default", "eai.turn_id": done["turn_id"], "eai.request_id": "r1"}
    for span in (turn, whole, first, second):
        assert ids.items() <= attributes(span).items()
    assert attributes(turn)["eai.status"] == "completed"
    assert attributes(whole).items() >= {"eai.retries": 1, "eai.attempts": 2}.items()
    assert first.kind == second.kind == Span.SPAN_KIND_CLIENT
    assert attributes(first).items() >= {"error.type": "provider_unavailable", "eai.attempt": 1}.items()
    assert first.status.code == Status.STATUS_CODE_ERROR
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "flaky-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "eai.attempt": 2,
    }
    assert attributes(second).items() >= said.items()
    assert second.status.code == Status.STATUS_CODE_UNSET
    assert collector.services == {"eai-mcp"}
    assert {"eai.turn.duration", "gen_ai.client.operation.duration", "eai.retries"} <= collector.metrics
    assert "Hello again" not in str(collector.spans)


async def test_a_turn_that_is_interrupted_is_a_span_too(house, collector):
    """Issue 6: "one span a turn, a child a call, a child an attempt ... also for a cancelled turn"."""
    async with observed(house, collector.server_port) as wire:
        await asking(house, wire, content="hi", model="held")
        await heard(wire)
        await told(wire, "interrupt", chat_session="default")
        with anyio.fail_after(ENDS_WITHIN_S):
            await wire.leave()
    for name in ("talk", "call held", "chat held"):
        (span,) = collector.named(name)
        assert attributes(span)["eai.status"] == "cancelled", name
        assert span.status.code == Status.STATUS_CODE_ERROR
    assert collector.lineage(collector.named("chat held")[0])[:3] == ["chat held", "call held", "talk"]
    assert "So far" not in str(collector.spans)


async def end(wire, way):
    if way == "SIGTERM":
        wire.process.send_signal(signal.SIGTERM)
        await wire.process.wait()
    else:
        await wire.leave()


@pytest.mark.parametrize("way", ["end of input", "SIGTERM"])
async def test_what_was_not_sent_yet_is_sent_at_the_end_whichever_way_it_comes(house, collector, way):
    """Issue 6: "an OpenTelemetry ... exporter sees one span a turn ... also for a cancelled turn"."""
    async with observed(house, collector.server_port) as wire:
        await told(wire, "talk", content="hello")
        await asking(house, wire, content="hi", model="held", chat_session="work")
        await heard(wire, "work")
        assert collector.named("talk") == []
        with anyio.fail_after(ENDS_WITHIN_S):
            await end(wire, way)
    assert wire.process.returncode == 0
    first, second = map(attributes, collector.named("talk"))
    assert (first["eai.status"], first["gen_ai.conversation.id"]) == ("completed", "default")
    assert (second["eai.status"], second["gen_ai.conversation.id"]) == ("cancelled", "work")
    assert "eai.turn.duration" in collector.metrics


@pytest.mark.parametrize("way", ["end of input", "SIGTERM"])
@pytest.mark.parametrize("fault", ["silent", "dead"])
async def test_a_collector_that_is_silent_or_dead_holds_nobody_up_and_says_nothing_on_stdout(
    house, collector, fault, way, record_property
):
    """Issue 6: "A failing sink never fails a turn". `Wire` sees that standard output holds messages alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobodys = free.getsockname()[1]
    collector.is_silent = fault == "silent"
    port = collector.server_port if collector.is_silent else nobodys
    hasty = {"OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_METRIC_EXPORT_INTERVAL": "10"}
    async with observed(house, port, **hasty) as wire:
        for _ in range(3):
            assert (await told(wire, "talk", content="hello"))["status"] == "completed"
        await asking(house, wire, content="hi", model="held", chat_session="work")
        await heard(wire, "work")
        begun_at = anyio.current_time()
        with anyio.fail_after(ENDS_WITHIN_S):
            await end(wire, way)
        took = anyio.current_time() - begun_at
    print(f"{fault}, {way}: {took:.2f} s", wire.errors)
    record_property("seconds", took)
    assert wire.process.returncode == 0
    assert "internal error" not in wire.errors


async def test_without_its_extra_the_server_does_not_start_and_names_it(installed, environment, tmp_path):
    """Issue 6: "the SDK and exporter in extra `[otel]`".

    The environment may have the extra, so a finder in front of all others says that it is not there, as
    Python's own does where it was never installed.
    """
    (tmp_path / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    command = [str(installed / "eai-mcp"), "serve", "--otel"]
    variables = {**environment, "PYTHONPATH": str(tmp_path)}
    with anyio.fail_after(30):
        done = await anyio.run_process(command, env=variables, check=False)
        plain = await anyio.run_process(command[:2], env=variables, check=False)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n")) == (2, b"", 1), said
    assert said.startswith("eai-mcp: to export telemetry, run: pip install 'eai-mcp[otel]' (")
    assert (plain.returncode, plain.stdout) == (0, b""), plain.stderr
