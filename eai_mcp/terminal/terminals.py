"""All terminals of a process, each by space and `pty_session_id`: no space sees what another one has."""

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from eai_mcp.errors import Conflict, InvalidArgument, LimitExceeded, NotFound
from eai_mcp.observe import Observer, ignore
from eai_mcp.terminal import Limits, Standing
from eai_mcp.terminal.run import Run
from eai_mcp.terminal.sandbox import Launch
from eai_mcp.terminal.terminal import Terminal

LONGEST_ID = 128
LARGEST_SCRIPT = 1024 * 1024
REAP_EVERY_S = 30.0


class Shelter(Protocol):
    """Makes the place in which a terminal's shell runs."""

    async def prepared(self, space: str, pty_session_id: str, *, rc: str) -> Launch:
        """Ready to be spawned; the shell reads `rc` first."""
        ...


class Terminals:
    """Makes a terminal when it is first used, and ends it when it is not used any more.

    Shells are heard in `tasks`, whose end is theirs too. `clock` measures how long a terminal is idle.
    """

    def __init__(
        self,
        *,
        sandbox: Shelter,
        tasks: TaskGroup,
        limits: Limits,
        observe: Observer = ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._sandbox = sandbox
        self._tasks = tasks
        self._observe = observe
        self._clock = clock
        self._terminals: dict[tuple[str, str], Terminal] = {}
        self._reaping: anyio.CancelScope | None = None
        self._closed = False

    async def run(self, space: str, pty_session_id: str, script: str) -> Run:
        """Start a script, and return at once; of more than a MiB none is taken.

        Raises:
            SessionBusy: A script runs in that terminal.
            LimitExceeded: The script is too long, or too many terminals are open.
            Conflict: Another process has the terminal.
            ConfigError, StorageFull, StorageUnavailable: The shell or the script cannot be started.
        """
        _check_id(pty_session_id)
        if len(script) > LARGEST_SCRIPT or len(script.encode(errors="replace")) > LARGEST_SCRIPT:
            raise LimitExceeded(
                f"a script may have {LARGEST_SCRIPT} bytes: write what is longer to a file in pieces",
                limit=LARGEST_SCRIPT,
                actual=len(script),
            )
        if self._closed:
            raise Conflict("the server is ending: no script is started any more")
        terminal = self._terminal(space, pty_session_id)
        if self._reaping is None:
            self._reaping = anyio.CancelScope()
            self._tasks.start_soon(self._reap_always, self._reaping)
        return await terminal.run(script)

    def find(self, space: str, task_id: str) -> Run:
        """The run of that id, also after its end.

        Raises:
            NotFound: There is none in this process, or it is not kept any more.
        """
        for (owner, _), terminal in self._terminals.items():
            if owner == space and (run := terminal.find(task_id)) is not None:
                return run
        raise NotFound(
            f"no task {task_id!r} here: a task lives only in the process that started it, and of a terminal's"
            f" the last {self.limits.runs} are kept",
            task_id=task_id,
        )

    def running(self, space: str, pty_session_id: str) -> Run | None:
        """The script that runs in the terminal, if one does."""
        terminal = self._terminals.get((space, pty_session_id))
        return terminal.current if terminal else None

    async def write(self, space: str, pty_session_id: str, data: bytes) -> int:
        """Type to what runs in the terminal; the number of the byte at which its output after that begins.

        Raises:
            NotFound: There is no such terminal, or no script runs in it.
            InvalidArgument, LimitExceeded: It cannot be typed; see `Pty.write`.
        """
        return await self._known(space, pty_session_id).write(data)

    async def reset(self, space: str, pty_session_id: str) -> None:
        """End all that runs in the terminal, and forget its state; outputs are kept.

        Raises:
            NotFound: There is no such terminal.
            StorageUnavailable: What it left as its state cannot be removed.
        """
        await self._known(space, pty_session_id).reset()

    def standing(self, space: str) -> list[Standing]:
        """How each terminal of the space stands, by name."""
        return [
            terminal.standing() for (owner, _), terminal in sorted(self._terminals.items()) if owner == space
        ]

    async def reap(self) -> None:
        """End the terminals that were neither used nor printing for long."""
        async with anyio.create_task_group() as group:
            for terminal in self._terminals.values():
                if terminal.is_open and terminal.is_idle:
                    group.start_soon(terminal.leave)

    async def aclose(self) -> None:
        """End all of them."""
        self._closed = True
        if self._reaping is not None:
            self._reaping.cancel()
        async with anyio.create_task_group() as group:
            for terminal in self._terminals.values():
                group.start_soon(terminal.close)

    async def _reap_always(self, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                await anyio.sleep(min(REAP_EVERY_S, self.limits.idle_s))
                await self.reap()

    def _terminal(self, space: str, pty_session_id: str) -> Terminal:
        """The terminal; made now, if so many may be open.

        Raises:
            LimitExceeded: No more may be.
        """
        known = self._terminals.get((space, pty_session_id))
        open_now = sum(terminal.is_open for terminal in self._terminals.values())
        if not (known and known.is_open) and open_now >= self.limits.terminals:
            raise LimitExceeded(
                f"{open_now} terminals are open, and no more may be: reset one that is not needed any more",
                limit=self.limits.terminals,
                actual=open_now + 1,
            )
        if known is None:
            self._forget_some()
            known = self._terminals[space, pty_session_id] = Terminal(
                space,
                pty_session_id,
                prepare=partial(self._prepared, space, pty_session_id),
                tasks=self._tasks,
                limits=self.limits,
                observe=self._observe,
                clock=self._clock,
            )
        return known

    async def _prepared(self, space: str, pty_session_id: str, rc: str) -> Launch:
        return await self._sandbox.prepared(space, pty_session_id, rc=rc)

    def _forget_some(self) -> None:
        """Of those without a shell, as many are kept as may be open: the last that were used."""
        shut = [name for name, terminal in self._terminals.items() if not terminal.is_open]
        shut.sort(key=lambda name: self._terminals[name].used_at)
        for name in shut[: max(len(shut) + 1 - self.limits.terminals, 0)]:
            self._terminals.pop(name).forget()

    def _known(self, space: str, pty_session_id: str) -> Terminal:
        terminal = self._terminals.get((space, pty_session_id))
        if terminal is None:
            raise NotFound(
                f"no terminal {pty_session_id!r} here: one is made by running a script in it, and lives only"
                " in the process that made it",
                pty_session_id=pty_session_id,
            )
        return terminal


def _check_id(pty_session_id: str) -> None:
    if not 1 <= len(pty_session_id) <= LONGEST_ID:
        raise InvalidArgument(
            f"pty_session_id must have 1 to {LONGEST_ID} characters, not {len(pty_session_id)}",
            field="pty_session_id",
        )
