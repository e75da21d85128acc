import fcntl
import json
import logging
import os
import re
import subprocess
import sys
from datetime import datetime

import anyio
import pytest
from anyio import to_thread

from eai_mcp.cli.logs import Aside, JsonLines, format_named
from eai_mcp.errors import ConfigError
from eai_mcp.observe import Fact


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing  # the end that is written to stays open: a thread may sit in it
    os.close(reading)


def record(text):
    return logging.LogRecord("eai_mcp", logging.INFO, "", 0, text, None, None)


def test_lines_are_written_in_their_order(pipe):
    reading, writing = pipe
    handler = Aside(writing)
    for text in ("one", "twø \udcff"):
        handler.handle(record(text))
    handler.flush()

    assert os.read(reading, 100) == "one\ntwø \\udcff\n".encode()


async def test_nobody_waits_for_a_reader_that_does_not_read_and_the_loss_is_told(pipe):
    reading, writing = pipe
    fcntl.fcntl(writing, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
    handler = Aside(writing, most=3)
    with anyio.fail_after(5):
        for _ in range(50):
            handler.handle(record("x" * 4000))
        handler.flush()

        read = b""
        while b"lines were dropped" not in read:
            read += await to_thread.run_sync(os.read, reading, 65536)
            handler.handle(record("and on"))
    assert read.startswith(b"x" * 4000)


def written(record, **fields):
    return json.loads(JsonLines().format(record), **fields)


def test_a_record_is_one_object_with_its_traceback_as_a_field():
    """Issue 6: JSON or plain log on stderr."""
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        failed = logging.LogRecord("httpx2", logging.ERROR, "", 0, "a %s\nb", ("x\udcff",), sys.exc_info())
    line = JsonLines().format(failed)
    assert line.isascii()
    assert line.isprintable()
    said = json.loads(line)
    traceback = said.pop("traceback")
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert traceback.endswith("ValueError: of two\nlines")
    assert datetime.fromisoformat(said.pop("at")).timestamp() == pytest.approx(failed.created, abs=1e-3)
    assert said == {"level": "error", "logger": "httpx2", "message": "a x\udcff\nb"}


def test_a_stack_is_a_field_too():
    said = logging.LogRecord("eai_mcp", logging.INFO, "", 0, "here", (), None, sinfo="Stack:\n a")
    assert written(said)["stack"] == "Stack:\n a"


def test_a_fact_is_an_object_of_its_own_fields():
    said = record("turn.started seq=1")
    said.fact = Fact("turn.started", "work", fields={"model": "m"}, seq=1, at=1.0)
    assert written(said) == {
        "at": "1970-01-01T00:00:01.000000+00:00",
        "seq": 1,
        "fact": "turn.started",
        "session": "work",
        "model": "m",
    }


def test_a_log_of_json_stays_one_when_lines_are_dropped(pipe):
    reading, writing = pipe
    handler = Aside(writing, most=1)
    handler.setFormatter(JsonLines())
    handler._dropped = 3
    handler.handle(record("and on"))
    handler.flush()
    lines = os.read(reading, 10_000).decode().splitlines()
    assert [json.loads(line)["message"] for line in lines] == [
        "and on",
        "3 lines were dropped",
    ]


@pytest.mark.parametrize(
    ("name", "environ", "chosen"),
    [
        (None, {}, "plain"),
        (None, {"EAI_MCP_LOG_FORMAT": "json"}, "json"),
        ("plain", {"EAI_MCP_LOG_FORMAT": "json"}, "plain"),
        ("json", {"EAI_MCP_LOG_FORMAT": "nonsense"}, "json"),
    ],
)
def test_the_option_goes_before_the_environment(name, environ, chosen):
    assert format_named(name, environ) == chosen


def test_a_format_that_there_is_not_is_named():
    with pytest.raises(ConfigError, match="EAI_MCP_LOG_FORMAT must be plain or json, not 'xml'"):
        format_named(None, {"EAI_MCP_LOG_FORMAT": "xml"})


PROGRAM = """
import logging, sys, warnings
from eai_mcp.cli import logs
from eai_mcp.observe import Observers, logged, tell

logs.to_stderr("info", never_wait=True, log_format=sys.argv[1])
tell(Observers([logged]), "turn.started", session="two words", model="m")
logs.tell("eai-mcp serves http://here")
warnings.warn("old")
logging.getLogger("httpx2").warning("of a library")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("eai_mcp").exception("oh\\nno")
"""


def shown(log_format):
    program = [sys.executable, "-c", PROGRAM, log_format]
    done = subprocess.run(program, timeout=10, check=True, capture_output=True)
    assert done.stdout == b""
    return done.stderr.decode()


def test_each_line_of_a_log_of_json_is_an_object():
    """Issue 6: JSON or plain log on stderr."""
    lines = [json.loads(line) for line in shown("json").splitlines()]
    assert [line.get("fact") or line["message"].partition("\n")[0] for line in lines] == [
        "turn.started",
        "eai-mcp serves http://here",
        "<string>:9: UserWarning: old",
        "of a library",
        "oh",
    ]


def test_a_plain_log_shows_facts_as_names_and_values():
    text = shown("plain")
    fact = r'^\S+ \S+ eai_mcp INFO at=\S+ seq=1 fact=turn\.started session="two words" model=m$'
    assert re.search(fact, text, re.MULTILINE)
    assert "\neai-mcp serves http://here\n" in f"\n{text}"
