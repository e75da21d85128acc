"""One script in a terminal: how it stands, what it printed, and how it is waited for and stopped."""

import secrets
import time
from collections.abc import Awaitable, Callable

import anyio

from eai_mcp.terminal import Page, RunStatus, marks
from eai_mcp.terminal.output import Output

SHOWN_SCRIPT = 4096


class Run:
    """A script, from its start on. `exit_code` is None until it is over, and where nobody knows it.

    `note` says what became of the shell, if it did not live on. `script` is cut once the run is over. `done`
    is set at the end, and `waiting_for_input` once a program has been waiting to be typed to for a moment.
    """

    def __init__(
        self,
        *,
        space: str,
        pty_session_id: str,
        script: str,
        keep: int,
        stop: "Callable[[Run], Awaitable[None]]",
        touch: Callable[[], None],
    ) -> None:
        self.id = f"task_{secrets.token_hex(6)}"
        self.nonce = marks.nonce()
        self.space = space
        self.pty_session_id = pty_session_id
        self.script = script
        self.output = Output(keep=keep)
        self.status: RunStatus = "running"
        self.exit_code: int | None = None
        self.note = ""
        self.waiting_for_input = False
        self.done = anyio.Event()
        self.changed = anyio.Event()
        self.stirred_at = anyio.current_time()
        self._stop = stop
        self._touch = touch
        self._began = time.monotonic()
        self._ended: float | None = None

    @property
    def duration_s(self) -> float:
        """Seconds until the end, or until now."""
        return (time.monotonic() if self._ended is None else self._ended) - self._began

    async def wait(self, limit_s: float, *, until_prompt: bool = True) -> bool:
        """Wait for the end, but no longer than the limit; whether it is over.

        With `until_prompt` also no longer than until a program waits to be typed to.
        """
        self._touch()
        with anyio.move_on_after(limit_s):
            while not self.done.is_set() and not (until_prompt and self.waiting_for_input):
                await self.changed.wait()
        self._touch()
        return self.done.is_set()

    def page(self, *, offset: int | None = None, tail: int | None = None, most: int = 30_000) -> Page:
        """What it printed, from byte `offset` or of the last `tail` bytes, at most `most` bytes of it.

        A last line that may still change is shown, but begins the next page again.

        Raises:
            InvalidArgument: A number cannot be.
        """
        self._touch()
        return self.output.page(offset=offset, tail=tail, most=most, over=self.done.is_set())

    async def interrupt(self) -> None:
        """Stop it and all that it started, within a second. Nothing happens if it is over."""
        await self._stop(self)

    def printed(self, data: bytes) -> None:
        """Take what its programs wrote."""
        self.output.add(data)
        self.stirred_at = anyio.current_time()
        if self.waiting_for_input:
            self.waits(False)

    def typed(self) -> None:
        """Somebody typed: whether a program still waits will be seen."""
        self.stirred_at = anyio.current_time()
        self.waiting_for_input = False
        self._tell()

    def waits(self, waiting: bool) -> None:
        """Say whether a program waits to be typed to."""
        if waiting != self.waiting_for_input:
            self.waiting_for_input = waiting
            self._tell()

    def end(self, status: RunStatus, code: int | None, note: str = "") -> None:
        """It is over."""
        self._ended = time.monotonic()
        self.status, self.exit_code, self.note = status, code, note
        self.script = self.script[:SHOWN_SCRIPT]
        self.waiting_for_input = False
        self.done.set()
        self._tell()

    def _tell(self) -> None:
        told, self.changed = self.changed, anyio.Event()
        told.set()
