"""One bash in its pseudo-terminal, from its start until nothing of it runs any more."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio.abc import TaskGroup

from eai_mcp.errors import LimitExceeded
from eai_mcp.terminal import bash, processes, state
from eai_mcp.terminal.marks import Begun, Marks, Piece, Prompted, nonce
from eai_mcp.terminal.pty import Pty, spawned
from eai_mcp.terminal.sandbox import Launch

OPEN_LIMIT_S = 15.0
SETTLE_LIMIT_S = 3.0
BEGIN_LIMIT_S = 15.0
ASK_LOOK_S = 0.1
KILL_LIMIT_S = 0.4
REAP_LIMIT_S = 1.0
LOOK_S = 0.005


class Shell:
    """A shell that runs a script at a time. `pid` is that of bash, and the number of its process group.

    `hear` is given what comes out of the terminal, and `buried` is called once all is gone. `begun` is
    whether it ran the last script, `kept` whether it left its state when it ended, `why` the reason if we
    ended it.
    """

    def __init__(
        self,
        pty: Pty,
        launch: Launch,
        *,
        ready: str,
        hear: Callable[[Piece], None],
        buried: "Callable[[Shell], None]",
    ) -> None:
        self.pid = 0
        self.begun = False
        self.kept = False
        self.why = ""
        self.gone = anyio.Event()
        self.pty = pty
        self.launch = launch
        self._hear = hear
        self._buried = buried
        self._marks = Marks(self._has_foreground)
        self._answered: anyio.Event | None = None
        self._scope = anyio.CancelScope()
        self._ready = ready
        self._polite_s = 0.1
        self._ended_itself = False
        self._marks.expect(ready)

    async def serve(self) -> None:
        """Hear the terminal until it ends; then end what is left in it."""
        try:
            with self._scope:
                while data := await self.pty.read():
                    self._heard(self._marks.feed(data))
                self._ended_itself = True
        finally:
            self._heard(self._marks.rest())
            with anyio.CancelScope(shield=True):
                await self._bury()

    async def ready(self) -> bool:
        """Wait for the first prompt; whether it came."""
        return await self._asked(self._ready, b"", OPEN_LIMIT_S)

    async def settle(self) -> bool:
        """Let it take over what the shell before it left, if that left anything; whether it lives on."""
        fresh = nonce()
        line = bash.settling(fresh, self.launch.state_inside)
        limit_s = SETTLE_LIMIT_S if state.is_there(self.launch.state) else OPEN_LIMIT_S
        settled = await self._asked(fresh, line, limit_s)
        self.pid = self.pty.foreground
        return settled and self.pid > 1

    @property
    def is_taken(self) -> bool:
        """Whether a job has the foreground, and not the shell."""
        return self.pid > 0 and self.pty.foreground not in {0, self.pid} and not self.pty.reaped()

    async def begin(self, nonce: str, script: str) -> bool:
        """Have it run the script of that path inside; whether that has begun."""
        self.begun = False
        state.expected(self.launch.state)
        await self._asked(nonce, bash.starting(nonce, script), BEGIN_LIMIT_S)
        return self.begun

    def signal_foreground(self, number: int) -> int:
        """Send a signal to the job in the foreground, and to the shell; the group of that job."""
        foreground = self.pty.foreground
        if foreground > 1:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(foreground, number)
        if foreground != self.pid:
            processes.send(number, [self.pid])
        return foreground

    async def end(self, why: str, *, polite_s: float = 0.1) -> None:
        """End it and all in it, and wait until that is done.

        So long it may end by itself, which is how what holds it cleans up best.
        """
        if not self.why:
            self.why, self._polite_s = why, polite_s
        self._scope.cancel()
        await self.gone.wait()

    async def leave(self, within_s: float) -> None:
        """Have the shell end as if its terminal was shut, so that it leaves its state."""
        if self.pid > 1 and not self.pty.reaped():
            processes.send(signal.SIGHUP, [self.pid])
            with anyio.move_on_after(within_s):
                await self.gone.wait()

    async def _asked(self, nonce: str, line: bytes, limit_s: float) -> bool:
        """Whether it answered with that nonce, and lives on."""
        if self.gone.is_set():
            return False
        self._answered = answered = anyio.Event()
        self._marks.expect(nonce)
        with anyio.move_on_after(limit_s), suppress(LimitExceeded):
            if line:
                self.pty.calm()
                await self.pty.write(line)
            # A program that it left may have the terminal open: then its end is not read.
            while not answered.is_set() and not self.pty.reaped():
                with anyio.move_on_after(ASK_LOOK_S):
                    await answered.wait()
            if not answered.is_set():
                with anyio.move_on_after(ASK_LOOK_S):
                    await self.gone.wait()  # so that its last words are read
        self._answered = None
        return answered.is_set() and not self.gone.is_set()

    def _has_foreground(self) -> bool:
        """Whether it is the shell that may be at work, as far as is known."""
        return self.pid == 0 or self.pty.foreground == self.pid

    def _heard(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, Begun):
                self.begun = True
                state.kept(self.launch.state, beside=bash.BEGINNING)
            if isinstance(piece, Begun | Prompted) and self._answered is not None:
                self._answered.set()
                self._answered = None
            else:
                self._hear(piece)

    async def _bury(self) -> None:
        """End whatever is left, and give back what it had."""
        try:
            root = self.pty.pid
            if not self._ended_itself:
                processes.send(signal.SIGHUP, [root])
            await self._reaped(REAP_LIMIT_S if self._ended_itself else self._polite_s)
            await processes.ended(lambda: processes.family(root), within_s=KILL_LIMIT_S, stop=True)
            await self._reaped(REAP_LIMIT_S)
        finally:
            self.pty.close()
            self.kept = state.kept(self.launch.state, beside=bash.LEAVING)
            with suppress(OSError):  # whatever programs did to its folders, they are given back
                self.launch.release()
            self.gone.set()
            if self._answered is not None:
                self._answered.set()
            self._buried(self)

    async def _reaped(self, limit_s: float) -> bool:
        with anyio.move_on_after(limit_s):
            while not self.pty.reaped():  # noqa: ASYNC110  # not every system tells of it
                await anyio.sleep(LOOK_S)
        return self.pty.reaped()


async def opened(
    launch: Launch,
    *,
    ready: str,
    tasks: TaskGroup,
    hear: Callable[[Piece], None],
    buried: Callable[[Shell], None],
) -> Shell:
    """A shell whose `serve` runs in `tasks`. Its first prompt has the nonce `ready`; wait for that next.

    Raises:
        StorageUnavailable: It cannot be started.
    """
    pty = await spawned(launch.argv, env=launch.env, cwd=launch.cwd)
    shell = Shell(pty, launch, ready=ready, hear=hear, buried=buried)
    tasks.start_soon(shell.serve)
    return shell
