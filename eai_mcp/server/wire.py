"""The bytes of stdio on POSIX: the two descriptors taken for ourselves, read and written without threads.

A thread that sits in a blocking read cannot be stopped, so a server that has one cannot end on a signal. Here
nothing blocks, and nothing is made non-blocking either: that flag belongs to the open file, which our parent,
our children and our own stderr may share. A socket (what Node gives its children) has a flag per call. A pipe
or a terminal is opened a second time on Linux, for a file of our own; elsewhere it takes PIPE_BUF bytes
whenever it is writable.
"""

import fcntl
import os
import select
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.lowlevel

from eai_mcp.errors import ConfigError

PIECE = 64 * 1024
_HUNG_UP = select.POLLHUP | getattr(select, "POLLRDHUP", 0)  # a socket that is half closed, on Linux


@dataclass(frozen=True, slots=True)
class Wire:
    """The descriptors that carry the protocol."""

    reading: int
    writing: int


def claim() -> Wire:
    """Take stdin and stdout for the protocol, for good; call it once, as early as may be.

    From here on descriptor 0 is empty and descriptor 1 is stderr, so what is printed by us, by a library or
    by a child, now or in the last flush at exit, cannot reach the client.

    Raises:
        ConfigError: stdin or stdout is closed.
    """
    # Not asked of the descriptors: a closed one may be in use again, for something else.
    if sys.__stdin__ is None or sys.__stdout__ is None:
        raise ConfigError("stdin or stdout is closed; let an MCP client start this command")
    wire = Wire(*(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3) for number in (0, 1)))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing if sys.__stderr__ is None else 2, 1)
    os.close(nothing)
    return wire


class Source:
    """Where bytes come from."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waits = _waits(descriptor)

    @property
    def is_hung_up(self) -> bool:
        """Whether nothing more will be written to it, whatever of it is still unread."""
        asked = select.poll()
        asked.register(self._descriptor, _HUNG_UP)
        return any(events & _HUNG_UP for _, events in asked.poll(0))

    async def receive(self) -> bytes:
        """What is there, or the next to come; empty at the end."""
        if self._waits:
            await anyio.wait_readable(self._descriptor)
        else:
            await anyio.lowlevel.checkpoint()
        try:
            return os.read(self._descriptor, PIECE)
        except BlockingIOError:
            # Somebody made it non-blocking, and somebody else was faster.
            return await self.receive()
        except OSError:
            # A peer that crashed resets its socket, and Linux tells the end of a terminal as EIO.
            return b""


class Sink:
    """Where frames go, whole and one after the other; `gone` is called when nobody reads them any more."""

    def __init__(self, descriptor: int, gone: Callable[[str], None]) -> None:
        self._descriptor, self._write, self._close = _writer(descriptor)
        self._gone = gone
        self._lock = anyio.Lock(fast_acquire=True)  # each frame is another task's: nobody is kept waiting
        self._blocked: anyio.CancelScope | None = None
        self._taken = anyio.Event()
        self._broken = False

    @property
    def is_blocked(self) -> bool:
        """Whether a frame waits for its reader."""
        return self._blocked is not None

    async def unblocked(self) -> None:
        """Wait until a frame that waits is written, or given up."""
        if self._blocked is not None:
            await self._taken.wait()

    async def send(self, frame: bytes) -> None:
        """Write a frame, to its end even if the caller is cancelled: half a frame would spoil the next ones.

        Raises:
            anyio.BrokenResourceError: Nobody reads any more, or we gave up.
        """
        async with self._lock:
            rest = self._written(memoryview(frame))
            if not rest:
                return
            try:
                with anyio.CancelScope(shield=True) as self._blocked:
                    while rest:
                        await anyio.wait_writable(self._descriptor)
                        rest = self._written(rest)
            finally:
                self._blocked = None
                self._taken.set()
                self._taken = anyio.Event()
            if rest:
                raise anyio.BrokenResourceError

    def give_up(self) -> None:
        """Drop what is being written and all that comes."""
        self._broken = True
        if self._blocked is not None:
            self._blocked.cancel()

    def close(self) -> None:
        """Close our own descriptor; the one that was handed in stays open."""
        self._broken = True
        self._close()

    def _written(self, data: memoryview) -> memoryview:
        """What is left of the data once as much is written as fits."""
        if self._broken:
            raise anyio.BrokenResourceError
        try:
            while data:
                data = data[self._write(data) :]
        except BlockingIOError:
            return data
        except OSError as error:
            self._broken = True
            self._gone(f"stdout: {error.strerror}")
            raise anyio.BrokenResourceError from error
        return data


def _waits(descriptor: int) -> bool:
    """Whether one must wait for it; epoll refuses files, and the null device."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


def _writer(descriptor: int) -> tuple[int, Callable[[memoryview], int], Callable[[], None]]:
    """A descriptor of our own, how to write to it (BlockingIOError instead of blocking), how to close it."""
    mode = os.fstat(descriptor).st_mode
    may_block = stat.S_ISFIFO(mode) or os.isatty(descriptor)
    if may_block and (reopened := _reopened(descriptor)) is not None:
        return reopened, partial(os.write, reopened), partial(os.close, reopened)
    own = os.dup(descriptor)
    if stat.S_ISSOCK(mode):
        peer = socket.socket(fileno=own)
        return own, lambda data: peer.send(data, socket.MSG_DONTWAIT), peer.close
    write = bounded_write if may_block else os.write
    return own, partial(write, own), partial(os.close, own)


def _reopened(descriptor: int) -> int | None:
    try:
        return os.open(
            f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        )
    except OSError:
        return None  # not Linux, nobody reads, or it belongs to another user


def bounded_write(descriptor: int, data: memoryview) -> int:
    """Write what a pipe takes without blocking; raises BlockingIOError when that is nothing."""
    asked = select.poll()
    asked.register(descriptor, select.POLLOUT)
    if not asked.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])
