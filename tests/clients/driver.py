"""Clients that live in a process of Node: see drive.mjs for the lines that go in and out."""

import itertools
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.clients.common import Client, Pending, Refusal, Told
from tests.e2e.nodes import NODE

LONGEST_LINE = 64 * 1024 * 1024


class Driver:
    """One process with any number of clients."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._numbers = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self._clients: dict[str, NodeClient] = {}
        self._lines: list[bytes] = []
        self._waiting = anyio.Event()

    async def connect(self, **given: Any) -> "NodeClient":
        """A client that has shaken hands.

        Raises:
            Refusal: It could not.
        """
        client = NodeClient(self, f"c{next(self._numbers)}")
        self._clients[client.name] = client
        known = await client.begin("connect", **given).outcome()
        client.era, client.offered = known["era"], known["capabilities"]
        return client

    def begin(self, verb: str, **given: Any) -> tuple[int, Pending]:
        """Write a command."""
        number = next(self._numbers)
        self._pending[number] = pending = Pending()
        self._lines.append(json.dumps({"id": number, "do": verb, **given}).encode() + b"\n")
        self._waiting.set()
        return number, pending

    async def write(self) -> None:
        """Pass on what is told to it, until cancelled."""
        assert self.process.stdin is not None
        while True:
            await self._waiting.wait()
            self._waiting = anyio.Event()
            lines, self._lines = self._lines, []
            await self.process.stdin.send(b"".join(lines))

    async def read(self) -> None:
        """Hear what it tells, until cancelled."""
        assert self.process.stdout is not None
        output = BufferedByteReceiveStream(self.process.stdout)
        while True:
            self._hear(json.loads(await output.receive_until(b"\n", LONGEST_LINE)))

    def _hear(self, said: Told) -> None:
        if "notification" in said:
            self._clients[said["client"]].hear(said["notification"])
        elif "progress" in said:
            self._pending[said["id"]].hear(said["progress"])
        else:
            error = said.get("error")
            self._pending.pop(said["id"]).settle(Refusal(**error) if error else said["result"])


class NodeClient(Client):
    """One of its clients."""

    def __init__(self, driver: Driver, name: str) -> None:
        super().__init__()
        self.driver, self.name = driver, name
        self._numbers: dict[Pending, int] = {}

    def begin(self, verb: str, **given: Any) -> Pending:
        number, pending = self.driver.begin(verb, client=self.name, **given)
        self._numbers[pending] = number
        return pending

    async def cancel(self, pending: Pending) -> None:
        await self.driver.begin("cancel", call=self._numbers[pending])[1].outcome()


@asynccontextmanager
async def driven(folder: Path, script: str) -> AsyncIterator[Driver]:
    """A process that plays v1.mjs or v2.mjs."""
    command = [str(NODE), str(folder / script)]
    async with await anyio.open_process(command, stderr=subprocess.PIPE) as process:
        driver = Driver(process)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(driver.write)
                tasks.start_soon(driver.read)
                yield driver
                tasks.cancel_scope.cancel()
        finally:
            process.kill()
