"""A pseudo-terminal with a process in it: started, read, written to, and reaped, without a thread."""

import errno
import fcntl
import os
import signal
import sys
import termios
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel
from anyio import to_thread
from anyio.lowlevel import RunVar
from ptyprocess import PtyProcess  # type: ignore[import-untyped]  # it has no types

from eai_mcp.errors import InvalidArgument, LimitExceeded, StorageUnavailable

ROWS, COLUMNS = 50, 200
AT_ONCE = 64 * 1024
SLICE_S = 0.002
"""So long one terminal is read before all others get their turn, or until it gave `AT_ONCE` bytes."""
OTHER_SIDE = {"linux": 0x5441}.get(sys.platform)
"""The ioctl that opens the side of the programs: TIOCGPTPEER, for which Python has no name."""
LONGEST_LINE = 4095
"""Of a longer line the kernel drops the end while a program reads line by line."""
WRITE_LIMIT_S = 2.0
LFLAG = 3
_spawning = threading.Lock()
_reading: RunVar[anyio.Lock] = RunVar("_reading")


async def spawned(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> "Pty":
    """A process in a new terminal, once it is what `argv` names.

    Raises:
        StorageUnavailable: It cannot be started: no memory, no terminals or no processes are left.
    """
    try:
        # Waits for the new process to become another program, hence in a worker.
        return Pty(await to_thread.run_sync(_spawned, list(argv), dict(env), str(cwd)))
    except OSError as error:
        raise StorageUnavailable(f"the shell of a terminal cannot be started: {error}") from error


class Pty:
    """The side of the terminal that a person would sit at."""

    def __init__(self, process: PtyProcess) -> None:
        self.pid: int = process.pid
        self.code: int | None = None
        self._process = process
        self._closed = False
        self._fd: int = process.fd
        self._forgotten = 0
        self._writing = anyio.Lock()
        os.set_blocking(self._fd, False)
        modes = termios.tcgetattr(self._fd)
        modes[0] &= ~termios.IXON  # Ctrl-S would stop the output, our marks with it
        modes[0] |= getattr(termios, "IUTF8", 0)
        self._modes = modes

    @property
    def foreground(self) -> int:
        """The process group that has the terminal, 0 if none has."""
        try:
            return 0 if self._closed else os.tcgetpgrp(self._fd)
        except OSError:
            return 0

    async def read(self) -> bytes:
        """What there is, at least a byte; nothing once no process has the terminal open any more."""
        while True:
            # One terminal in each turn of the event loop, however many print.
            async with _turn():
                if (data := self._drained()) is not None:
                    await anyio.lowlevel.checkpoint()
                    return data
            await anyio.wait_readable(self._fd)

    async def write(self, data: bytes) -> None:
        """Type it.

        Raises:
            InvalidArgument: A line is longer than a program that reads lines can be given.
            LimitExceeded: The program does not read it, or was stopped before it did.
        """
        longest = max(map(len, data.replace(b"\r", b"\n").split(b"\n")))
        if longest > LONGEST_LINE and self._reads_lines():
            raise InvalidArgument(
                f"a line of the input has {longest} bytes and the program reads at most {LONGEST_LINE}: put"
                " it into a file by a script",
                field="input",
            )
        forgotten = self._forgotten
        async with self._writing:
            left = memoryview(data)
            with anyio.move_on_after(WRITE_LIMIT_S):
                while left and forgotten == self._forgotten:
                    left = left[self._put(left) :]
                    if left:
                        with suppress(anyio.ClosedResourceError):
                            await anyio.wait_writable(self._fd)
        if left:
            taken = len(data) - len(left)
            raise LimitExceeded(
                f"the program does not read its input: {taken} of {len(data)} bytes were taken",
                limit=taken,
                actual=len(data),
            )

    def forget_input(self) -> None:
        """Drop what was typed and no program has read, and what of it is still being written.

        Else the shell would read it once the program is gone, and run it.
        """
        self._forgotten += 1
        if self._closed:
            return
        with suppress(OSError, termios.error):
            # On Linux our own side holds the output only: what was typed waits on the other one.
            flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
            side = os.dup(self._fd) if OTHER_SIDE is None else fcntl.ioctl(self._fd, OTHER_SIDE, flags)
            try:
                termios.tcflush(side, termios.TCIFLUSH)
            finally:
                os.close(side)

    def calm(self) -> None:
        """Set the terminal's modes back to the first ones, whatever a program left."""
        with suppress(termios.error):
            if not self._closed:
                termios.tcsetattr(self._fd, termios.TCSANOW, self._modes)

    def reaped(self) -> bool:
        """Whether the process has ended; its exit code, or 128 and its signal, is then in `code`."""
        if self.code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code
        return self.code is not None

    def close(self) -> None:
        """Let go of the terminal. Nobody may be reading it."""
        if not self._closed:
            self._closed = True
            anyio.notify_closing(self._fd)
            self._process.fileobj.close()
            # Else it would wait and signal when it is collected.
            self._process.closed = self._process.terminated = True

    def _reads_lines(self) -> bool:
        try:
            return not self._closed and bool(termios.tcgetattr(self._fd)[LFLAG] & termios.ICANON)
        except termios.error:
            return False

    def _drained(self) -> bytes | None:
        """None if there is nothing now. A program that prints on and on is not followed for long."""
        pieces: list[bytes] = []
        left, until = AT_ONCE, time.perf_counter() + SLICE_S
        try:
            while left > 0 and (piece := os.read(self._fd, left)):
                pieces.append(piece)
                left -= len(piece)
                if time.perf_counter() > until:
                    break
        except BlockingIOError:
            if not pieces:
                return None
        except OSError as error:
            # Linux reports the end of a PTY as EIO, not as an empty read.
            if error.errno != errno.EIO:
                raise
        return b"".join(pieces)

    def _put(self, data: memoryview) -> int:
        """How many bytes were taken: all, if nobody is left to read them. That is seen by reading."""
        if self._closed:
            return len(data)
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)


def _turn() -> anyio.Lock:
    """What a terminal holds while it is read: one for each event loop."""
    try:
        return _reading.get()
    except LookupError:
        lock = anyio.Lock(fast_acquire=True)
        _reading.set(lock)
        return lock


def _spawned(argv: list[str], env: dict[str, str], cwd: str) -> PtyProcess:
    with _spawning, warnings.catch_warnings():
        # Since Python 3.12: a fork beside threads may meet a lock that nobody will release. Ours runs a
        # few system calls and becomes another program.
        warnings.filterwarnings("ignore", r".*forkpty\(\)", DeprecationWarning)
        return PtyProcess.spawn(
            argv, cwd=cwd, env=env, echo=False, dimensions=(ROWS, COLUMNS), preexec_fn=_as_from_a_login
        )


def _as_from_a_login() -> None:
    """Python ignores some signals, and what is ignored would be for each program below us too."""
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGTERM,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
