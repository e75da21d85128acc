"""The parent's side of `talking`: processes are started, told when to begin, heard, and killed."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

TOP = Path(__file__).parents[2]
LONGEST_LINE = 16 * 1024 * 1024


class Child:
    """A process that talks by lines; what it writes to standard error is a line like any other."""

    def __init__(self, process: Process) -> None:
        self.process = process
        assert process.stdout is not None
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def heard(self) -> list[Any]:
        """The next line.

        Raises:
            EndOfStream: There is none; half a line does not count.
        """
        try:
            line = await self._lines.receive_until(b"\n", LONGEST_LINE)
        except anyio.IncompleteRead:
            raise anyio.EndOfStream from None
        try:
            words: list[Any] = json.loads(line)
        except ValueError:
            return ["said", line.decode()]
        return words

    async def rest(self) -> list[list[Any]]:
        """All further lines, until the process ends."""
        lines = []
        with suppress(anyio.EndOfStream):
            while True:
                lines.append(await self.heard())
        return lines

    async def tell(self, *words: str) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        await self.process.stdin.send(json.dumps(words).encode() + b"\n")

    async def killed(self) -> list[list[Any]]:
        """Kill it at once, and hear what it had said."""
        self.process.send_signal(signal.SIGKILL)
        lines = await self.rest()
        await self.process.wait()
        return lines

    async def ended(self) -> list[list[Any]]:
        """Hear it to its end, which must be a good one."""
        lines = await self.rest()
        assert await self.process.wait() == 0, lines
        return lines


@asynccontextmanager
async def child(job: str, path: Path, word: str = "w", *, within: Sequence[str] = ()) -> AsyncIterator[Child]:
    """A process that is ready, started by the command `within`; it begins when it is told something."""
    command = [*within, sys.executable, "-m", "tests.chaos.talking", job, str(path), word]
    process = await anyio.open_process(command, cwd=TOP, stderr=subprocess.STDOUT)
    one = Child(process)
    try:
        assert await one.heard() == ["ready"]
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


@asynccontextmanager
async def children(job: str, path: Path, *words: str) -> AsyncIterator[list[Child]]:
    """Processes with the same job, all ready."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(child(job, path, word)) for word in words]


async def all_ended(each: list[Child]) -> list[list[Any]]:
    """Let all begin at the same moment, and hear them to their ends: all lines, child by child."""
    heard: dict[int, list[list[Any]]] = {}

    async def hear(number: int, one: Child) -> None:
        heard[number] = await one.ended()

    for one in each:
        await one.tell("go")
    async with anyio.create_task_group() as tasks:
        for number, one in enumerate(each):
            tasks.start_soon(hear, number, one)
    return [line for number in sorted(heard) for line in heard[number]]
