"""A server in a child process: started at its first use, once for all who ask, and ended with us.

The child holds the other end of a pipe of ours as its stdin and ends when that does, so that no kind of death
of ours leaves it behind. It is told a random key by its environment, and nothing else that is secret.
"""

import json
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import anyio
from anyio.abc import Process

from eai_mcp.errors import CallTimeout, Unavailable
from eai_mcp.providers.local_child import KEY_VARIABLE
from eai_mcp.providers.weights import Report

Weights: TypeAlias = Callable[[Report], Awaitable[Path]]

READY_WITHIN_S = 60.0
END_WITHIN_S = 1.0
LONGEST_LINE = 65_536
LAST_WORDS = 4_096

_FOLDERS = ("HOME", "USERPROFILE", "APPDATA", "SYSTEMROOT", "WINDIR", "VIRTUAL_ENV", "TMPDIR", "TEMP", "TMP")
_PASSED = frozenset({*_FOLDERS, "PATH", "LD_LIBRARY_PATH", "LANG", "TZ"})
_PASSED_BEGINNINGS = ("LC_", "PYTHON", "OMP_", "GOMP_")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a child listens, and what it wants to hear."""

    base_url: str
    key: str


class Server:
    """Weights behind an endpoint. `name` is for a person; `command` is what serves a weights file.

    `environ` is filtered for the child; each `every` seconds those who wait are told of progress.
    """

    def __init__(
        self,
        name: str,
        weights: Weights,
        command: Callable[[Path], Sequence[str]],
        *,
        environ: Mapping[str, str] = os.environ,
        ready_within: float = READY_WITHIN_S,
        every: float = 0.5,
    ) -> None:
        self._name = name
        self._weights = weights
        self._command = command
        self._environ = environ
        self._ready_within = ready_within
        self._every = every
        self._lock = anyio.Lock()
        self._progress = ""
        self._child: _Child | None = None
        self._starts = 0
        self._closed = False
        self._users = 0

    @property
    def is_used(self) -> bool:
        """Whether somebody waits for an answer."""
        return self._users > 0

    @contextmanager
    def used(self) -> Iterator[None]:
        """Held by whoever asks, for as long as that takes."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    async def endpoint(self, report: Report) -> Endpoint:
        """The endpoint of a living child, which is started if there is none. `report` hears of the progress.

        Raises:
            CallError: It could not be started.
            EaiError: The weights could not be had.
        """
        if self._child is not None and self._child.lives:
            return self._child.endpoint
        async with self._turn_to_start(report):
            if self._child is None or not self._child.lives:
                self._child = await self._start(report)
            return self._child.endpoint

    async def death(self, endpoint: Endpoint) -> str | None:
        """How the child behind `endpoint` ended, None if it lives; for one who just lost the connection."""
        child = self._child
        if child is not None and child.endpoint == endpoint:
            with anyio.move_on_after(END_WITHIN_S):  # the connection may end before the process has
                await child.process.wait()
        if child is None or child is not self._child or child.endpoint != endpoint:
            return "was replaced"
        return None if child.lives else child.ending

    async def aclose(self) -> None:
        """End the child; another will not be started."""
        self._closed = True
        await self._end_child()

    @asynccontextmanager
    async def _turn_to_start(self, report: Report) -> AsyncIterator[None]:
        """The lock; while another holds it, that one's progress. If it is cancelled, the next one starts."""
        heard = ""
        while True:
            with anyio.move_on_after(self._every) as wait:
                await self._lock.acquire()
            if not wait.cancelled_caught:
                break
            if self._progress not in ("", heard):
                heard = self._progress
                await report(heard)
        try:
            yield
        finally:
            self._progress = ""
            self._lock.release()

    async def _start(self, report: Report) -> "_Child":
        async def tell(text: str) -> None:
            self._progress = text
            await report(text)

        await self._end_child()
        path = await self._weights(tell)
        await tell(f"starting {self._name}" + (" again" if self._starts else " (first call)"))
        self._starts += 1
        if self._closed:
            raise self._closing()
        child = await _started(self._name, self._command(path), self._environ, self._ready_within)
        if self._closed:
            await child.closing.aclose()
            raise self._closing()
        return child

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.closing.aclose()

    def _closing(self) -> Unavailable:
        return Unavailable(f"{self._name} is shutting down with the server", retryable=False)


@dataclass(slots=True)
class _Child:
    process: Process
    stderr: IO[bytes]
    endpoint: Endpoint
    closing: AsyncExitStack

    @property
    def lives(self) -> bool:
        return self.process.returncode is None

    @property
    def ending(self) -> str:
        return _ending(self.process.returncode) + _last_words(self.stderr)


async def _started(
    name: str, command: Sequence[str], environ: Mapping[str, str], ready_within: float
) -> _Child:
    """A child that said that it is ready; any other is ended."""
    key = secrets.token_urlsafe(24)
    async with AsyncExitStack() as closing:
        try:
            stderr = closing.enter_context(_scratch_file())
            with anyio.CancelScope(shield=True):  # half a start could not be ended
                process = await anyio.open_process(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env={**_passed(environ), KEY_VARIABLE: key},
                    start_new_session=True,  # a terminal's Ctrl-C is ours to answer
                )
        except OSError as error:
            raise Unavailable(f"cannot start {name}: {error.strerror or error}", retryable=False) from error
        closing.push_async_callback(_end, process)
        address = await _address(name, process, stderr, ready_within)
        return _Child(process, stderr, Endpoint(address, key), closing.pop_all())


def _scratch_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


async def _address(name: str, process: Process, stderr: IO[bytes], ready_within: float) -> str:
    with anyio.move_on_after(ready_within) as limit:
        line = await _first_line(process)
    if limit.cancelled_caught:
        raise CallTimeout(f"{name} was not ready within {ready_within:g} s{_last_words(stderr)}")
    try:
        said = json.loads(line)
        address = said.get("base_url")
    except (ValueError, AttributeError):
        said, address = {}, None
    if isinstance(address, str):
        return address
    if "error" in said:
        raise Unavailable(
            f"{name} could not be loaded: {said['error']}{_last_words(stderr)}", retryable=False
        )
    if not line:  # it is about to end
        with anyio.move_on_after(END_WITHIN_S):
            await process.wait()
    raise Unavailable(
        f"{name} could not be started: its process {_ending(process.returncode)}{_last_words(stderr)}"
    )


async def _first_line(process: Process) -> bytes:
    assert process.stdout is not None
    line = b""
    while b"\n" not in line and len(line) < LONGEST_LINE:
        try:
            line += await process.stdout.receive()
        except anyio.EndOfStream:
            break
    return line


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        assert process.stdin is not None
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
        with anyio.move_on_after(END_WITHIN_S):
            await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


def _passed(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child needs of our environment: no key of any provider is among it."""
    return {
        name: value
        for name, value in environ.items()
        if name.upper() in _PASSED or name.upper().startswith(_PASSED_BEGINNINGS)
    }


def _ending(status: int | None) -> str:
    if status is None:
        return "said nothing of use"
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


_TELLING = re.compile(r"error|assert|abort", re.IGNORECASE)


def _last_words(stderr: IO[bytes]) -> str:
    """Of what was written to stderr the line that tells most: the first error, else the last one."""
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - LAST_WORDS))
    lines = [line.strip() for line in stderr.read().decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)] or lines[-1:]
    return f" ({telling[0][:300]})" if telling else ""
