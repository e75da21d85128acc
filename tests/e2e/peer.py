"""The client's end of a stdio connection, down to the bytes; it reads only when it is told to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from eai_mcp.server import frames
from eai_mcp.server.wire import Sink, Source

ECHO = [sys.executable, str(Path(__file__).with_name("echo_server.py"))]
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "peer", "version": "1"}}
PINNED = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Peer:
    """Reads messages from one descriptor and writes to another; owns both."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing
        self._source, self._sink = Source(reading), Sink(writing, lambda why: None)
        self._lines: list[bytes | frames.Oversized] = []
        self._cutter = frames.Lines()

    async def write(self, data):
        await self._sink.send(data)

    async def send(self, number, method, **params):
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self.write(json.dumps(message).encode() + b"\n")

    async def call(self, number, tool, **arguments):
        await self.send(number, "tools/call", name=tool, arguments=arguments)

    async def heard(self):
        while not self._lines:
            chunk = await self._source.receive()
            if not chunk:
                raise anyio.EndOfStream
            self._lines += self._cutter.feed(chunk)
        line = self._lines.pop(0)
        assert isinstance(line, bytes)
        return json.loads(line)

    async def text(self):
        """The text of the next answer, which must be a tool's result."""
        (block,) = (await self.heard())["result"]["content"]
        return block["text"]

    async def refused(self):
        answer = await self.heard()
        return answer["id"], answer["error"]["code"], answer["error"]["message"]

    async def initialize(self):
        await self.send("hello", "initialize", **HELLO)
        assert (await self.heard())["result"]["protocolVersion"] == HELLO["protocolVersion"]

    def leave(self):
        """Close what the server reads from."""
        if self.writing >= 0:
            self._sink.close()
            os.close(self.writing)
        self.writing = -1

    def turn_away(self):
        """Close what the server writes to."""
        if self.reading >= 0:
            os.close(self.reading)
        self.reading = -1


class Child(Peer):
    """A peer of a server process, which also reads what that says on standard error."""

    def __init__(self, process: subprocess.Popen[bytes], reading: int, writing: int) -> None:
        super().__init__(reading, writing)
        self.process = process
        self.noted = ""

    async def note(self, text):
        """Wait until the process has said a text on standard error."""
        assert self.process.stderr is not None
        errors = Source(self.process.stderr.fileno())
        while text not in self.noted:
            chunk = await errors.receive()
            assert chunk, self.noted
            self.noted += chunk.decode()

    async def ended(self):
        """The exit code, once all of standard error is read."""
        assert self.process.stderr is not None
        errors = Source(self.process.stderr.fileno())
        while chunk := await errors.receive():
            self.noted += chunk.decode()
        return await anyio.to_thread.run_sync(self.process.wait)


@contextmanager
def started(*command: str, ends=os.pipe) -> Iterator[Child]:
    """A process whose standard input and output are pipes, or sockets, that nobody else holds."""
    (its_input, our_output), (our_input, its_output) = ends(), ends()
    process = subprocess.Popen(command, stdin=its_input, stdout=its_output, stderr=subprocess.PIPE)
    os.close(its_input)
    os.close(its_output)
    child = Child(process, our_input, our_output)
    try:
        yield child
    finally:
        process.kill()
        process.communicate()
        child.leave()
        child.turn_away()
