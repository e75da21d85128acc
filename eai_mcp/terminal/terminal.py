"""One terminal: a shell when one is needed, the script that runs in it, and those that ran."""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from signal import SIGINT

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from eai_mcp.errors import ConfigError, Conflict, NotFound, SessionBusy, StorageUnavailable
from eai_mcp.observe import Observer, tell
from eai_mcp.terminal import Limits, RunStatus, Standing, bash, processes, shell, state
from eai_mcp.terminal.clean import cleaned
from eai_mcp.terminal.marks import Muted, Piece, Prompted, Stray, Written, nonce
from eai_mcp.terminal.run import Run
from eai_mcp.terminal.sandbox import Launch
from eai_mcp.terminal.script import encoded, written
from eai_mcp.terminal.shell import Shell
from eai_mcp.terminal.stopping import stopped
from eai_mcp.terminal.watching import watched

LEAVE_S = 0.5
STARTS = 2
SAID = 500
INTERRUPTED = 128 + SIGINT
WHY = {
    "reset": "the terminal was reset",
    "idle": "the terminal was closed, since it was not used for long",
    "closed": "the server ended",
    "interrupt": "the shell had to be ended",
    "mute": "the shell was back at its prompt, but could not tell how the script ended; it was ended",
}


class Terminal:
    """A shell that is made when a script needs it, and made again after it ended.

    `current` is the script that runs, `ended` are those that ran.
    """

    def __init__(
        self,
        space: str,
        pty_session_id: str,
        *,
        prepare: Callable[[str], Awaitable[Launch]],
        tasks: TaskGroup,
        limits: Limits,
        observe: Observer,
        clock: Callable[[], float],
    ) -> None:
        self.space = space
        self.pty_session_id = pty_session_id
        self.current: Run | None = None
        self.ended: deque[Run] = deque()
        self.shell: Shell | None = None
        self.used_at = clock()
        self._prepare = prepare
        self._tasks = tasks
        self._limits = limits
        self._observe = observe
        self._clock = clock
        self._lock = anyio.Lock()
        self._launch: Launch | None = None
        self._said = b""
        self._fed = False
        self._began = 0
        self._ended_at = 0
        self._interrupted = False
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether it has a shell, or is about to."""
        return self.shell is not None or self.current is not None

    @property
    def is_idle(self) -> bool:
        """Whether it was neither used nor printing for long."""
        return self._clock() - self.used_at >= self._limits.idle_s

    def standing(self) -> Standing:
        """How it stands."""
        run = self.current
        return Standing(
            pty_session_id=self.pty_session_id,
            alive=self.shell is not None,
            task_id=run.id if run else None,
            running_s=run.duration_s if run else None,
            waiting_for_input=bool(run and run.waiting_for_input),
            idle_s=max(self._clock() - self.used_at, 0.0),
        )

    def find(self, task_id: str) -> Run | None:
        """The run of that id, if it is kept."""
        runs = (*self.ended, *([self.current] if self.current else []))
        return next((run for run in runs if run.id == task_id), None)

    async def run(self, script: str) -> Run:
        """Start a script; see `Terminals.run`."""
        text = encoded(script)
        self._check_free()
        run = Run(
            space=self.space,
            pty_session_id=self.pty_session_id,
            script=script,
            keep=self._limits.spill_mb << 20,
            stop=self.interrupt,
            touch=self.touch,
        )
        self.current, self._fed, self._interrupted = run, False, False
        self.touch()
        tell(
            self._observe, "run.started", space=self.space, task_id=run.id, pty_session_id=self.pty_session_id
        )
        try:
            async with self._lock:
                await self._start(run, text)
        except BaseException:
            await self._abandoned()
            self._finish(run, "lost", None, "it could not be started")
            if run in self.ended:
                self.ended.remove(run)
                run.output.close()
            raise
        return run

    async def _abandoned(self) -> None:
        """End a shell that nobody knows the state of: it was being made, or had been told to run a script."""
        if (held := self.shell) is not None and (self._fed or held.pid <= 1):
            with anyio.CancelScope(shield=True):
                await held.end("interrupt")

    async def interrupt(self, run: Run) -> None:
        """Stop the script, if it is the one that runs."""
        if self.current is not run:
            return
        self._interrupted = True
        if not self._fed:
            self._finish(run, "interrupted", INTERRUPTED, "it had not begun")
            return
        async with self._lock:
            if self.current is run and self.shell is not None:
                await stopped(run, self.shell, self._began)

    async def write(self, data: bytes) -> int:
        """Type it; see `Terminals.write`."""
        async with self._lock:
            pass  # a shell that is being made cannot be typed to yet
        run, held = self.current, self.shell
        if run is None or held is None:
            raise NotFound(
                f"no script runs in the terminal {self.pty_session_id!r} that could be typed to",
                pty_session_id=self.pty_session_id,
            )
        self.touch()
        begins = run.output.total
        await held.pty.write(data)
        run.typed()
        return begins

    async def reset(self) -> None:
        """End the shell and all in it, and forget its state.

        Raises:
            StorageUnavailable: What it left as its state cannot be removed.
        """
        if self.shell is not None:
            await self.shell.end("reset")
        await self._forget_state()

    async def leave(self) -> None:
        """End the shell, but keep its state for the next one. Nothing happens if it is used meanwhile."""
        async with self._lock:
            held, about_to_run = self.shell, self.current is not None and not self._fed
            if held is None or about_to_run or not self.is_idle:
                return
            if self.current is None:
                held.why = "idle"
                await held.leave(LEAVE_S)
            await held.end("idle")

    async def close(self) -> None:
        """End it for good; no output is kept."""
        self._closed = True
        if self.shell is not None:
            await self.shell.end("closed")
        self.forget()

    def forget(self) -> None:
        """Give back what the outputs hold."""
        for run in self.ended:
            run.output.close()
        self.ended.clear()

    def touch(self) -> None:
        """It is being used."""
        self.used_at = self._clock()

    def _check_free(self) -> None:
        run = self.current
        if run is not None:
            raise SessionBusy(
                f"the terminal {self.pty_session_id!r} has been running {run.id} for {run.duration_s:.0f} s:"
                " wait for it, type to it, interrupt it, or use another terminal",
                task_id=run.id,
                running_s=round(run.duration_s, 3),
            )

    async def _start(self, run: Run, text: bytes) -> None:
        if processes.now() <= self._ended_at:
            # Else what the last script left running could not be told from what this one starts.
            await anyio.sleep(processes.TICK_S)
        for _ in range(STARTS):
            held = await self._ready()
            if run.done.is_set():
                return  # it was interrupted meanwhile
            written(held.launch, run.id, text)
            self._fed, self._began = True, processes.now()
            if await held.begin(run.nonce, f"{held.launch.scripts_inside}/{run.id}"):
                self._tasks.start_soon(watched, run, held)
                return
            # An earlier script left a shell that just ended, or that does not do what it is told.
            await held.leave(LEAVE_S)
            await held.end("")
            self._check_wanted(held)
            if run.done.is_set():
                return  # it had begun after all, and ended with the shell
            self._fed = False
        raise StorageUnavailable(
            f"the shell of the terminal {self.pty_session_id!r} ended {STARTS} times before the script"
            " began: reset the terminal"
        )

    async def _renewed(self, run: Run, held: Shell) -> None:
        """End a shell that does not do what it is told, as if the terminal was shut."""
        async with self._lock:
            if self.current is run and self.shell is held:
                held.why = "mute"
                await held.leave(LEAVE_S)
                await held.end("mute")

    async def _ready(self) -> Shell:
        """The shell at its prompt; a new one if there is none, or if another job has the terminal."""
        held = self.shell
        if held is not None:
            if not held.is_taken and not held.pty.reaped():
                return held
            await held.leave(LEAVE_S)
            await held.end("")
        return await self._opened()

    async def _opened(self) -> Shell:
        made = await self._made()
        if await made.ready():
            if await made.settle():
                return self._settled(made)
            if not made.why and state.is_there(made.launch.state):
                # What the last shell left keeps this one from living.
                await made.end("")
                await self._forget_state()
                made = await self._made()
                if await made.ready() and await made.settle():
                    return self._settled(made)
        await made.end("")
        self._check_wanted(made)
        said = cleaned(self._said).strip()
        raise ConfigError(
            f"the shell of the terminal {self.pty_session_id!r} does not start: {said or 'no word'}"
        )

    def _check_wanted(self, held: Shell) -> None:
        if held.why in {"closed", "reset"}:
            raise Conflict(
                f"the terminal {self.pty_session_id!r} was ended while it was made: {WHY[held.why]}"
            )

    async def _made(self) -> Shell:
        ready = nonce()
        launch = await self._prepare(bash.rc(ready))
        try:
            if self._launch is None:
                await to_thread.run_sync(state.forgotten, launch.state)  # another server's
            if self._closed:
                raise Conflict("the server is ending: no script is started any more")
            made = await shell.opened(
                launch, ready=ready, tasks=self._tasks, hear=self._heard, buried=self._buried
            )
        except BaseException:
            launch.release()
            raise
        self._launch, self._said, self.shell = launch, b"", made
        if self._closed:
            await made.end("closed")
        return made

    def _settled(self, made: Shell) -> Shell:
        tell(self._observe, "terminal.opened", space=self.space, pty_session_id=self.pty_session_id)
        return made

    def _heard(self, piece: Piece) -> None:
        self.used_at = self._clock()
        run = self.current
        match piece:
            case Written(data=data) if run is not None:
                run.printed(data)
            case Written(data=data) | Stray(data=data):
                self._said = (self._said + data)[-SAID:]
            case Prompted(code=code) if run is not None:
                if self.shell is not None:
                    self.shell.pty.forget_input()
                self._finish(run, "interrupted" if self._interrupted else "exited", code)
            case Muted() if run is not None and self.shell is not None:
                self._tasks.start_soon(self._renewed, run, self.shell)

    def _buried(self, held: Shell) -> None:
        self.shell = None
        tell(
            self._observe,
            "terminal.closed",
            space=self.space,
            pty_session_id=self.pty_session_id,
            why="ended" if held.why == "interrupt" else held.why or "ended",
        )
        run, code = self.current, held.pty.code
        if run is None or not (self._fed and held.begun):
            return
        if self._interrupted:
            self._finish(run, "interrupted", code or INTERRUPTED, _note(held))
        elif held.why == "mute":
            self._finish(run, "exited", None, _note(held))
        elif held.why:
            self._finish(run, "lost", None, _note(held))
        else:
            by_signal = code is None or code > 128
            self._finish(run, "lost" if by_signal and not held.kept else "exited", code, _note(held))

    def _finish(self, run: Run, status: RunStatus, code: int | None, note: str = "") -> None:
        if run.done.is_set():
            return
        run.end(status, code, note)
        self.current = None
        self._ended_at = processes.now()
        self.touch()
        if self._launch is not None:
            with suppress(OSError):  # the folder may be its programs' own
                (self._launch.scripts / run.id).unlink()
        self.ended.append(run)
        while len(self.ended) > max(self._limits.runs, 1):
            self.ended.popleft().output.close()
        tell(
            self._observe,
            "run.completed",
            space=self.space,
            task_id=run.id,
            pty_session_id=self.pty_session_id,
            status=status,
            exit_code=code,
            seconds=round(run.duration_s, 3),
            bytes=run.output.total,
        )

    async def _forget_state(self) -> None:
        if self._launch is not None:
            await to_thread.run_sync(state.forgotten, self._launch.state)


def _note(held: Shell) -> str:
    """What became of the shell."""
    if held.why in {"reset", "closed"}:
        return WHY[held.why]
    said = WHY.get(held.why, "the shell ended with the script")
    if held.kept:
        return f"{said}; the next script finds directory, variables and functions as this one left them"
    if state.is_there(held.launch.state):
        return (
            f"{said}, and what the script changed in it is lost; the next script finds directory, variables"
            " and functions as this one did"
        )
    return f"{said}, and its state is gone; the next script begins in a new one"
