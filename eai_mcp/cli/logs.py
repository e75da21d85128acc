"""Where the log goes: to standard error, never to standard output, which may be the protocol's."""

import atexit
import io
import logging
import os
import queue
import sys
import threading
import time
from contextlib import suppress

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"
MOST_WAITING = 1000
FLUSH_S = 0.2


def to_stderr(level: str, *, never_wait: bool = False) -> None:
    """Log warnings of libraries, and ours from `level` up. Text that the terminal cannot show is escaped.

    With `never_wait` nobody who logs waits for whoever reads standard error; lines are dropped instead.
    """
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if never_wait and sys.__stderr__ is not None and sys.stderr is sys.__stderr__:
        handler = Aside(sys.__stderr__.fileno())
    logging.basicConfig(level=logging.WARNING, format=FORMAT, handlers=[handler])
    logging.getLogger("eai_mcp").setLevel(level.upper())


class Aside(logging.Handler):
    """Writes lines in a thread of its own, since a host that does not read them would stop whoever writes.

    When `most` lines wait, more are dropped; how many is said with the next that is written.
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
            more = f" ({dropped} lines were dropped before this one)" if dropped else ""
            with suppress(OSError):  # nobody reads it any more
                # Not through sys.stderr: its lock, held by a thread that is stuck, would end Python hard.
                rest = f"{line}{more}\n".encode("utf-8", "backslashreplace")
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            self._lines.task_done()
