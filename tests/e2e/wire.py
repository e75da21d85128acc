"""A client that is not the SDK's: JSON-RPC by lines, over the pipes of a server process."""

import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

LEGACY, MODERN = "2025-11-25", "2026-07-28"
LONGEST_LINE = 64 * 1024 * 1024
Person: TypeAlias = Callable[[dict[str, Any]], dict[str, Any] | None]


class Wire:
    """One server process. Answers are found by their id; what else came is in `notifications`.

    `person` answers what the server asks: it gets the parameters of an `elicitation/create`, and gives the
    result, or None to leave it unanswered. With one, the client says that it can ask.
    """

    def __init__(self, process: Process, era: str, person: Person | None = None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.era, self.person = process, era, person
        self._can: dict[str, Any] = {"elicitation": {}} if person else {}
        self.notifications: list[dict[str, Any]] = []
        self.errors = ""
        self._input, self._output = process.stdin, BufferedByteReceiveStream(process.stdout)
        self._answers: dict[object, dict[str, Any]] = {}
        self._last = 0

    async def start(self) -> dict[str, Any]:
        """Shake hands, or discover on the modern protocol."""
        if self.era == MODERN:
            return await self.ask("server/discover")
        info = {"name": "wire", "version": "1"}
        answer = await self.ask("initialize", protocolVersion=LEGACY, capabilities=self._can, clientInfo=info)
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    async def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        await self.raw(json.dumps(message).encode() + b"\n")

    async def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        await self._input.send(data)

    async def begin(self, method: str, **params: Any) -> int:
        """Send a request and return its id."""
        self._last += 1
        if self.era == MODERN:
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": self._can,
                **params.get("_meta", {}),
            }
        await self.send({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params})
        return self._last

    async def answer(self, number: object) -> dict[str, Any]:
        """Wait for the answer to a request; every line of standard output must be a message."""
        while number not in self._answers:
            await self._hear()
        return self._answers.pop(number)

    async def notified(self, method: str) -> dict[str, Any]:
        """Wait for a notification, and forget it; its parameters."""
        while True:
            for message in self.notifications:
                if message["method"] == method:
                    self.notifications.remove(message)
                    params: dict[str, Any] = message.get("params", {})
                    return params
            await self._hear()

    async def _hear(self) -> None:
        message = json.loads(await self._output.receive_until(b"\n", LONGEST_LINE))
        assert message["jsonrpc"] == "2.0"
        if "method" not in message:
            self._answers[message.get("id")] = message
        elif "id" not in message:
            self.notifications.append(message)
        else:
            assert message["method"] == "elicitation/create"
            assert self.person is not None
            result = self.person(message["params"])
            if result is not None:
                await self.send({"jsonrpc": "2.0", "id": message["id"], "result": result})

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and wait for its result."""
        answer = await self.answer(await self.begin(method, **params))
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; both forms of the result must be whole."""
        result = await self.ask("tools/call", name=tool, arguments=arguments)
        assert result["content"]
        assert result["structuredContent"]
        return result

    async def error(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must fail, and return its error."""
        result = await self.call(tool, **arguments)
        assert result["isError"]
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        error: dict[str, Any] = result["structuredContent"]["error"]
        return error

    async def leave(self) -> float:
        """Close the server's standard input and wait for its end; how long that took, in seconds."""
        begun = anyio.current_time()
        await self._input.aclose()
        await self.process.wait()
        return anyio.current_time() - begun


@asynccontextmanager
async def served(
    command: list[str],
    environment: dict[str, str],
    *,
    era: str = LEGACY,
    limit_s: float = 60,
    person: Person | None = None,
) -> AsyncIterator[Wire]:
    """A running server and a client that has shaken hands with it."""
    async with await anyio.open_process(command, env=environment, stderr=subprocess.PIPE) as process:
        wire = Wire(process, era, person)

        async def listen() -> None:
            assert process.stderr is not None
            async for chunk in process.stderr:
                wire.errors += chunk.decode(errors="replace")

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                with anyio.fail_after(limit_s):
                    await wire.start()
                    yield wire
                    if process.returncode is None:
                        await wire.leave()
        finally:
            if process.returncode is None:
                process.kill()
