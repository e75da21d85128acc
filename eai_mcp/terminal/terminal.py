"""One terminal: a shell when one is needed, the script that runs in it, and those that ran."""

import os
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from signal import SIGINT

import anyio
from anyio.abc import TaskGroup

from eai_mcp.errors import ConfigError, Conflict, InvalidArgument, NotFound, SessionBusy
from eai_mcp.observe import Observer, tell
from eai_mcp.terminal import Limits, RunStatus, Standing, bash, processes, shell
from eai_mcp.terminal.marks import Piece, Prompted, Stray, Written
from eai_mcp.terminal.output import Output
from eai_mcp.terminal.run import Run
from eai_mcp.terminal.sandbox import Launch
from eai_mcp.terminal.shell import Shell
from eai_mcp.terminal.stopping import stopped
from eai_mcp.terminal.watching import watched

LEAVE_S = 0.5
MOST_ROWS = 1000
INTERRUPTED = 128 + SIGINT
WHY = {
    "reset": "the terminal was reset",
    "idle": "the terminal was closed, since it was not used for long",
    "closed": "the server ended",
    "interrupt": "the shell had to be ended",
}


class Terminal:
    """A shell that is made when a script needs it, and made again after it ended.

    `current` is the script that runs, `ended` are those that ran, `stray` is what was printed while none did.
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
        self.stray = Output(keep=limits.spill_mb << 20)
        self.shell: Shell | None = None
        self.used_at = clock()
        self._prepare = prepare
        self._tasks = tasks
        self._limits = limits
        self._observe = observe
        self._clock = clock
        self._lock = anyio.Lock()
        self._launch: Launch | None = None
        self._size: tuple[int, int] | None = None
        self._fed = False
        self._began = 0
        self._ended_at = 0
        self._interrupted = False
        self._typed = False
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether it has a shell, or is about to."""
        return self.shell is not None or self.current is not None

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
        text = _text(script)
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
        tell(self._observe, "run.started", task_id=run.id, pty_session_id=self.pty_session_id)
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
        if self.shell is None:
            raise NotFound(
                f"the terminal {self.pty_session_id!r} has no shell now: run a script in it first",
                pty_session_id=self.pty_session_id,
            )
        self.touch()
        begins = self.current.output.total if self.current else self.stray.total
        self._typed = True
        await self.shell.pty.write(data)
        if self.current:
            self.current.typed()
        return begins

    async def resize(self, rows: int, columns: int) -> None:
        """Give it another size, now and later."""
        for field, value in (("rows", rows), ("columns", columns)):
            if not 0 < value <= MOST_ROWS:
                raise InvalidArgument(f"{field} must be 1 to {MOST_ROWS}, not {value}", field=field)
        self._size = rows, columns
        if self.shell is not None:
            self.shell.pty.resize(rows, columns)

    async def reset(self) -> None:
        """End the shell and all in it, and forget its state."""
        if self.shell is not None:
            await self.shell.end("reset")
        self._forget_state()
        self.stray.close()
        self.stray = Output(keep=self._limits.spill_mb << 20)

    async def leave(self) -> None:
        """End the shell, but keep its state for the next one."""
        if (held := self.shell) is not None:
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
        for output in (self.stray, *(run.output for run in self.ended)):
            output.close()
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
        self._check_typed()

    def _check_typed(self) -> None:
        if self.shell is not None and self.shell.is_taken:
            raise SessionBusy(
                f"a program that was typed to the terminal {self.pty_session_id!r} runs in it: type to it, or"
                " reset the terminal",
                task_id=None,
            )

    async def _start(self, run: Run, text: bytes) -> None:
        if processes.now() <= self._ended_at:
            # Else what the last script left running could not be told from what this one starts.
            await anyio.sleep(processes.TICK_S)
        held = await self._ready()
        if run.done.is_set():
            return  # it was interrupted meanwhile
        name = _written(held.launch, run, text)
        self._fed, self._began = True, processes.now()
        await held.begin(run.nonce, f"{held.launch.scripts_inside}/{name}")
        self._tasks.start_soon(watched, run, held)

    async def _ready(self) -> Shell:
        """The shell at an empty prompt; a new one if there is none, or if it cannot be brought to it."""
        held = self.shell
        if held is not None:
            if not held.pty.reaped() and (not self._typed or await held.calm()):
                self._typed = False
                return held
            self._check_typed()
            await held.end("")
        return await self._opened()

    async def _opened(self) -> Shell:
        made = await self._made()
        if await made.ready():
            if await made.settle():
                return self._settled(made)
            if not made.why and made.launch.state.exists():
                # What the last shell left keeps this one from living.
                await made.end("")
                self._forget_state()
                made = await self._made()
                if await made.ready() and await made.settle():
                    return self._settled(made)
        await made.end("")
        if made.why in {"closed", "reset"}:
            raise Conflict(
                f"the terminal {self.pty_session_id!r} was ended while it was made: {WHY[made.why]}"
            )
        said = self.stray.page(offset=None, tail=500, most=500, over=True).text.strip()
        raise ConfigError(
            f"the shell of the terminal {self.pty_session_id!r} does not start: {said or 'no word'}"
        )

    async def _made(self) -> Shell:
        ready = secrets.token_hex(16)
        launch = await self._prepare(bash.rc(ready))
        try:
            if self._launch is None:
                launch.state.unlink(missing_ok=True)  # another server's
            if self._closed:
                raise Conflict("the server is ending: no script is started any more")
            made = await shell.opened(
                launch, ready=ready, tasks=self._tasks, hear=self._heard, buried=self._buried
            )
        except BaseException:
            launch.release()
            raise
        self._launch, self._typed, self.shell = launch, False, made
        if self._closed:
            await made.end("closed")
        return made

    def _settled(self, made: Shell) -> Shell:
        if self._size:
            made.pty.resize(*self._size)
        tell(self._observe, "terminal.opened", pty_session_id=self.pty_session_id)
        return made

    def _heard(self, piece: Piece) -> None:
        self.used_at = self._clock()
        run = self.current
        match piece:
            case Written(data=data) if run is not None:
                run.printed(data)
            case Written(data=data) | Stray(data=data):
                self.stray.add(data)
            case Prompted(code=code) if run is not None:
                self._finish(run, "interrupted" if self._interrupted else "exited", code)

    def _buried(self, held: Shell) -> None:
        self.shell = None
        tell(
            self._observe,
            "terminal.closed",
            pty_session_id=self.pty_session_id,
            why="ended" if held.why == "interrupt" else held.why or "ended",
        )
        run, code = self.current, held.pty.code
        if run is None or not self._fed:
            return
        if self._interrupted:
            self._finish(run, "interrupted", code or INTERRUPTED, _note(held))
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
            (self._launch.scripts / run.id).unlink(missing_ok=True)
        self.ended.append(run)
        while len(self.ended) > max(self._limits.runs, 1):
            self.ended.popleft().output.close()
        tell(
            self._observe,
            "run.completed",
            task_id=run.id,
            pty_session_id=self.pty_session_id,
            status=status,
            exit_code=code,
            seconds=round(run.duration_s, 3),
            bytes=run.output.total,
        )

    def _forget_state(self) -> None:
        if self._launch is not None:
            self._launch.state.unlink(missing_ok=True)


def _text(script: str) -> bytes:
    try:
        return script.encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            "the script holds half of a character: it cannot be written as UTF-8", field="script"
        ) from error


def _written(launch: Launch, run: Run, text: bytes) -> str:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(launch.scripts / run.id, flags, 0o644), "wb") as file:
        os.fchmod(file.fileno(), 0o644)  # whatever the umask is
        file.write(text)
    return run.id


def _note(held: Shell) -> str:
    """What became of the shell."""
    if held.why in {"reset", "closed"}:
        return WHY[held.why]
    said = WHY.get(held.why, "the shell ended with the script")
    if held.kept:
        return f"{said}; the next script finds directory, variables and functions as this one left them"
    if held.launch.state.exists():
        return (
            f"{said}, and what the script changed in it is lost; the next script finds directory, variables"
            " and functions as this one did"
        )
    return f"{said}, and its state is gone; the next script begins in a new one"
