"""MCP over stdin and stdout: one client, and its end is our end.

The SDK's own transport keeps a thread in a blocking read, so a process that got a signal cleans up and then
hangs. It is used on Windows only, where pipes cannot be waited for.
"""

import gc
import logging
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse

from eai_mcp.server import frames, shutdown
from eai_mcp.server.probe import Probing
from eai_mcp.server.shutdown import Ending
from eai_mcp.server.streams import Heard, Reader, Writer

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from eai_mcp.server.wire import Sink, Source, Wire

DRAIN_S = 0.3
CROWD = 256
HUNG_UP_S = 0.5
"""After so long without an answer taken, it is asked whether anybody is there to take one."""
LET_OTHERS = 64

log = logging.getLogger("eai_mcp")


async def serve_stdio(
    server: "Server[Any]",
    *,
    wire: "Wire | None" = None,
    closing_s: float = shutdown.LIMIT_S,
    longest: int = frames.LONGEST,
) -> None:
    """Serve until the client, a signal or the death of our parent ends it; then the process has to end.

    Returns within half a second of that, whatever runs or is unread. What the caller does then may take until
    `closing_s` seconds after the first sign; later the process is ended hard, and by another signal at once.
    `wire` is what `wire.claim()` gave, None to claim here. Messages are at most `longest` bytes.

    Raises:
        ConfigError: stdin or stdout is closed.
    """
    if sys.platform == "win32":
        await serve_with_threads(server)
        return
    from eai_mcp.server.wire import claim  # fcntl, which is not everywhere

    taken = wire or claim()
    ending = Ending(limit_s=closing_s)
    gc.freeze()  # what was loaded stays, and to look through all of it for garbage takes a tenth of a second
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(ending.watch_signals)
            tasks.start_soon(ending.watch_parent)
            await serve_wire(server, taken, ending, longest=longest)
            tasks.cancel_scope.cancel()
    finally:
        ending.leave()


async def serve_wire(
    server: "Server[Any]", wire: "Wire", ending: Ending, *, longest: int = frames.LONGEST
) -> None:
    """Serve over two descriptors until the end is asked for, or ask for it at their end; they stay open."""
    from eai_mcp.server.wire import Sink, Source

    sink = Sink(wire.writing, ending.begin)
    outgoing = _Outgoing(sink)
    incoming = _Incoming(Source(wire.reading), outgoing, ending, longest)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_stop, ending, incoming, sink)
            options = server.create_initialization_options()
            await server.run(Probing(incoming, outgoing, server), outgoing, options)
            tasks.cancel_scope.cancel()
    finally:
        sink.close()


async def _stop(ending: Ending, incoming: "_Incoming", sink: "Sink") -> None:
    """Once the end is asked for, stop listening, and leave the last answers a moment to be taken."""
    try:
        await ending.asked.wait()
        incoming.stop()
        await anyio.sleep(DRAIN_S)
    finally:
        incoming.stop()
        sink.give_up()


class _Incoming(Reader):
    """Messages from the lines of a source; lines that are none are answered here."""

    def __init__(self, source: "Source", outgoing: "_Outgoing", ending: Ending, longest: int) -> None:
        self._source = source
        self._outgoing = outgoing
        self._ending = ending
        self._longest = longest
        self._cutter = frames.Lines(longest)
        self._lines: deque[bytes | frames.Oversized] = deque()
        self._open = True
        self._waiting = anyio.CancelScope()

    async def receive(self) -> Heard:
        """The next message, in the order of the lines."""
        while self._lines or self._open:
            if not self._lines:
                await self._more()
                continue
            line = self._lines.popleft()
            heard = (
                frames.too_long(line, self._longest)
                if isinstance(line, frames.Oversized)
                else frames.read(line)
            )
            if isinstance(heard, frames.Refusal):
                await self._refuse(heard)
                continue
            if isinstance(heard, JSONRPCRequest):
                await self._crowd()
            return SessionMessage(heard)
        self._ending.begin("the client closed stdin")
        raise anyio.EndOfStream

    def stop(self) -> None:
        """Hear nothing more, not even what has come already."""
        self._open = False
        self._lines.clear()
        self._waiting.cancel()

    async def _crowd(self) -> None:
        """Wait while many of our answers are not taken: each that waits takes its memory."""
        self._outgoing.unanswered += 1
        if self._outgoing.unanswered % LET_OTHERS == 0:
            await anyio.lowlevel.checkpoint()  # lines that are here already are handed on without a wait
        while self._is_crowded:
            with anyio.move_on_after(HUNG_UP_S) as self._waiting:
                await self._outgoing.taken()
            # The end of stdin stands behind all that was not read of it, and may never come to be read.
            if self._waiting.cancelled_caught and self._source.is_hung_up:
                self.stop()

    @property
    def _is_crowded(self) -> bool:
        return self._open and self._outgoing.unanswered > CROWD and self._outgoing.is_blocked

    async def _more(self) -> None:
        with anyio.CancelScope() as self._waiting:
            chunk = await self._source.receive()
            if self._open:
                self._open = bool(chunk)
                self._lines.extend(self._cutter.feed(chunk) if chunk else self._cutter.last())

    async def _refuse(self, refusal: frames.Refusal) -> None:
        log.warning("a message was refused: %s", refusal.reason)
        if refusal.answer is not None:
            with suppress(anyio.BrokenResourceError):
                await self._outgoing.send(SessionMessage(refusal.answer))


class _Outgoing(Writer):
    """Messages as lines on a sink."""

    def __init__(self, sink: "Sink") -> None:
        self._sink = sink

        self.unanswered = 0

    @property
    def is_blocked(self) -> bool:
        """Whether a message waits for its reader."""
        return self._sink.is_blocked

    async def taken(self) -> None:
        """Wait until the message that waits was taken."""
        await self._sink.unblocked()

    async def send(self, item: SessionMessage, /) -> None:
        try:
            await self._sink.send(frames.written(item.message))
        finally:
            if isinstance(item.message, JSONRPCResponse | JSONRPCError):
                self.unanswered -= 1


async def serve_with_threads(server: "Server[Any]") -> None:
    """Serve on the SDK's own transport, until the end of the input."""
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (incoming, outgoing):
        options = server.create_initialization_options()
        await server.run(Probing(incoming, outgoing, server), outgoing, options)
