"""Where the log goes: to standard error, never to standard output, which may be the protocol's."""

import atexit
import io
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, TypeAlias, get_args

from eai_mcp.cli import screen
from eai_mcp.errors import ConfigError
from eai_mcp.observe import Fact, as_object

LogFormat: TypeAlias = Literal["plain", "json"]

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"
MOST_WAITING = 1000
FLUSH_S = 0.2


def format_named(name: str | None, environ: Mapping[str, str]) -> LogFormat:
    """How lines are written: as `name` says, else EAI_MCP_LOG_FORMAT, else plain.

    Raises:
        ConfigError: It is none of the two.
    """
    name = name or environ.get("EAI_MCP_LOG_FORMAT") or "plain"
    for known in get_args(LogFormat):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"EAI_MCP_LOG_FORMAT must be plain or json, not {name!r}", field="log_format")


def to_stderr(level: str, *, never_wait: bool = False, log_format: LogFormat = "plain") -> None:
    """Log warnings of libraries, and ours from `level` up. Text that the terminal cannot show is escaped.

    With `never_wait` nobody who logs waits for whoever reads standard error; lines are dropped instead.
    """
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if never_wait and sys.__stderr__ is not None and sys.stderr is sys.__stderr__:
        handler = Aside(sys.__stderr__.fileno())
    handler.setFormatter(JsonLines() if log_format == "json" else logging.Formatter(FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("eai_mcp").setLevel(level.upper())
    if log_format == "json":
        logging.captureWarnings(capture=True)


def tell(line: str, *, level: int = logging.INFO) -> None:
    """Say something to whoever started us, whatever is logged; a log of JSON holds it as one of its lines."""
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        log = logging.getLogger("eai_mcp")
        log.handle(log.makeRecord(log.name, level, "", 0, line, (), None))
    else:
        screen.tell(line)


class JsonLines(logging.Formatter):
    """Writes each record as one JSON object on one line, a fact as its own fields and a traceback as one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII."""
        fact = getattr(record, "fact", None)
        if isinstance(fact, Fact):
            return json.dumps(as_object(fact), default=str)
        shown = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            shown["stack"] = self.formatStack(record.stack_info)
        return json.dumps(shown)


class Aside(logging.Handler):
    """Writes lines in a thread of its own, since a host that does not read them would stop whoever writes.

    When `most` lines wait, more are dropped; how many is said after the next that is written.
    """

    def __init__(self, descriptor: int, *, most: int = MOST_WAITING) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(most)
        self._dropped = 0
        # A daemon: at the end it may still sit in a write that nobody takes.
        threading.Thread(target=self._write, daemon=True, name="log").start()
        atexit.register(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Put the line into the queue, if there is room."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Give what waits a moment to be written."""
        end = time.monotonic() + FLUSH_S
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            more = f"{self._lost(dropped)}\n" if dropped else ""
            with suppress(OSError):  # nobody reads it any more
                # Not through sys.stderr: its lock, held by a thread that is stuck, would end Python hard.
                rest = f"{line}\n{more}".encode("utf-8", "backslashreplace")
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            self._lines.task_done()

    def _lost(self, dropped: int) -> str:
        said = "%d lines were dropped"
        return self.format(logging.LogRecord("eai_mcp", logging.WARNING, "", 0, said, (dropped,), None))
