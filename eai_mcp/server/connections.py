"""The connections that HTTP comes in by: how many may be open, and how long one may keep us waiting.

Anybody can open one and say nothing, or a byte an hour; without these limits a few hundred such would take
every descriptor of the process. An answer, or a stream of events, may take as long as it likes.
"""

import logging
import sys
import time
from typing import Any, Protocol

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST, RESERVED = 2000, 64
"""Connections, and at least so many descriptors that are left for all else."""
AT_ONCE = 16
"""Connections taken before any of them is looked at; each needs a descriptor until then."""
PATIENCE_S = 10.0
LEAST = 1024
"""Bytes of a body that have to come in that time."""
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_OFTEN = (
    "Invalid HTTP request",
    "Unsupported upgrade request",
    "No supported WebSocket library",
    "socket.accept() out of system resource",
    "Closed a connection",
)
_log = logging.getLogger("uvicorn.error")


class _Timer(Protocol):
    def cancel(self) -> None: ...


def most_open() -> int:
    """How many connections the process has descriptors for."""
    if sys.platform == "win32":
        return MOST
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST
    return max(1, min(MOST, limit - max(RESERVED, limit // 4)))


class Watched(H11Protocol):
    """A connection that is closed at once where too many are open, and later if a request does not come."""

    patience_s = PATIENCE_S
    _awaited: str | None = None
    _has_begun = False
    _came = 0
    _timer: _Timer | None = None

    def connection_made(self, transport: Any) -> None:  # the type is asyncio's, which nobody names here
        """Take it in, or not."""
        super().connection_made(transport)
        if len(self.connections) > most_open():
            _log.warning("Closed a connection: so many are open that there is no room")
            transport.abort()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._set(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note that something came."""
        self._came += len(data)
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for what is left of the request, and for one that was begun behind it."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Wait for what has to come next, if anything has."""
        state = self.conn.their_state
        self._has_begun |= state is not h11.IDLE
        awaited = None
        if self.transport.is_closing():
            pass
        elif state is h11.SEND_BODY:
            awaited = "body"
        elif state is h11.IDLE and (not self._has_begun or self.conn.trailing_data[0]):
            awaited = "head"
        if awaited != self._awaited:
            self._set(awaited)

    def _set(self, awaited: str | None) -> None:
        self._awaited, self._came = awaited, 0
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self.patience_s, self._look) if awaited else None

    def _look(self) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # it was answered, and sends on
        elif self._awaited == "body" and (self._came >= LEAST or self.flow.read_paused):
            self._set("body")
        else:
            if self._awaited == "body" or self.conn.trailing_data[0]:
                self.transport.write(_LATE)
            self._leave()

    def _leave(self) -> None:
        self.transport.close()
        if self._awaited == "body":
            self.cycle.disconnected = True
            self.cycle.message_event.set()


class Sparing(logging.Filter):
    """Lets through one line a second of each kind that strangers can cause, with the number of the others."""

    def __init__(self, *, every_s: float = 1.0) -> None:
        super().__init__()
        self._every_s = every_s
        self._kinds: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is let through."""
        kind = next((kind for kind in _OFTEN if str(record.msg).startswith(kind)), None)
        if kind is None:
            return True
        at, left_out = self._kinds.get(kind, (-self._every_s, 0))
        now = time.monotonic()
        if now - at < self._every_s:
            self._kinds[kind] = (at, left_out + 1)
            return False
        self._kinds[kind] = (now, 0)
        record.exc_info = None  # it would show where in asyncio, which is no use
        if left_out:
            record.msg = f"{record.msg} ({left_out} more before)"
        return True
