"""Everybody who hears, put together; and what is sent to a collector, by a process of its own."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eai_mcp import telemetry
from eai_mcp.errors import ConfigError
from eai_mcp.observe import Fact, ignore, is_heard, tell
from eai_mcp.settings import from_environ

HEARD: list[str] = []

PROGRAM = """
import anyio
from eai_mcp import telemetry
from eai_mcp.observe import tell

async def main():
    async with telemetry.opened(otel=True) as observer:
        tell(observer, "turn.started", session="work", turn_id="t1", model="a-model")
        tell(observer, "turn.completed", session="work", turn_id="t1", model="a-model", seconds=0.5)
    print("closed")

anyio.run(main)
"""

WITHOUT_THE_SDK = """
import sys
sys.modules["opentelemetry.sdk"] = None
sys.modules["opentelemetry.exporter"] = None
import anyio
from eai_mcp import telemetry
from eai_mcp.errors import ConfigError

async def main():
    async with telemetry.opened(otel=True):
        raise AssertionError

try:
    anyio.run(main)
except ConfigError as error:
    print(error.message)
"""


def hears(fact: Fact) -> None:
    HEARD.append(fact.name)


async def test_the_log_telemetry_and_the_operators_own_all_hear():
    """Issue 6: user sinks."""
    HEARD.clear()
    log: list[Fact] = []
    async with telemetry.opened(observers=[f"{__name__}:hears"], log=log.append) as observer:
        tell(observer, "turn.started", session="work")
        assert len(observer.sinks) == 3
    assert [fact.name for fact in log] == HEARD == ["turn.started"]
    assert not observer.failures


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere", "should be like module:attribute"),
        ("no.such.module:x", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:nothing", "cannot be loaded: AttributeError"),
        (f"{__name__}:PROGRAM", "is no function of a fact, but str"),
    ],
)
async def test_an_observer_that_cannot_be_had_is_named(name, why):
    with pytest.raises(ConfigError, match=why) as caught:
        async with telemetry.opened(observers=[name], log=ignore):
            raise AssertionError
    assert name in caught.value.message


async def test_without_an_sdk_no_fact_is_made_for_telemetry():
    async with telemetry.opened(log=ignore) as observer:
        for name in ("turn.received", "turn.started", "call.started"):
            assert not is_heard(observer, name)


def test_the_environment_says_who_hears():
    chosen = from_environ({"EAI_MCP_OTEL": "1", "EAI_MCP_OBSERVERS": "a:b, c:d,"})
    assert (chosen.otel, chosen.observers) == (True, ("a:b", "c:d"))
    assert (from_environ({}).otel, from_environ({}).observers) == (False, ())


class Collector(ThreadingHTTPServer):
    """Takes what is sent; with `is_silent` it never answers."""

    daemon_threads = True

    def __init__(self, *, is_silent: bool = False) -> None:
        self.got: dict[str, bytes] = {}
        self.end = threading.Event()
        self.is_silent = is_silent
        super().__init__(("127.0.0.1", 0), Taking)


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got[self.path] = self.server.got.get(self.path, b"") + body
        if self.server.is_silent:
            self.server.end.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=[False, True], ids=["answers", "silent"])
def collector(request) -> Iterator[Collector]:
    with Collector(is_silent=request.param) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.end.set()
        server.shutdown()
        thread.join(5)


def environ(monkeypatch, port: int) -> None:
    for name, value in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "no_proxy": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)


def test_what_is_left_is_sent_at_the_end_and_nobody_waits_for_a_collector_that_is_silent(
    collector, monkeypatch
):
    """Issue 6: the SDK and exporter in extra `[otel]`; the end of a server never waits for long.

    The SDK by itself would wait for 10 s of its own limit, and 30 s of its provider's.
    """
    environ(monkeypatch, collector.server_port)
    done = subprocess.run([sys.executable, "-c", PROGRAM], timeout=8, check=True, capture_output=True)
    assert done.stdout == b"closed\n"
    assert b"Traceback" not in done.stderr
    assert b"talk" in collector.got["/v1/traces"]
    assert b"eai-mcp" in collector.got["/v1/traces"]
    assert b"eai.turn.duration" in collector.got["/v1/metrics"]


def test_a_service_keeps_the_name_that_it_was_given(collector, monkeypatch):
    environ(monkeypatch, collector.server_port)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat-of-mine")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    subprocess.run([sys.executable, "-c", PROGRAM], timeout=8, check=True, capture_output=True)
    assert b"chat-of-mine" in collector.got["/v1/traces"]
    assert [*collector.got] == ["/v1/traces"]


def test_an_extra_that_is_missing_is_named():
    program = [sys.executable, "-c", WITHOUT_THE_SDK]
    done = subprocess.run(program, timeout=8, check=True, capture_output=True)
    assert done.stdout.startswith(b"to export telemetry, run: pip install 'eai-mcp[otel]' (")
