"""People who call one server over HTTP, each with a token: by hand, in each way that the protocol has."""

import json
import subprocess
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import httpx2

from tests.e2e.peer import HELLO, PINNED

BOTH = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class Caller:
    """Somebody with a token, who speaks the newer protocol unless told otherwise."""

    def __init__(self, base, token, *, capabilities=None):
        self.base, self.token = base, token
        self.client = httpx2.AsyncClient(base_url=base, headers=self.said(token), timeout=20)
        self.meta: dict[str, Any] = {**PINNED, **({CAPABILITIES: capabilities} if capabilities else {})}
        self._numbers = count(1)

    @staticmethod
    def said(token):
        return {**BOTH, **({"authorization": f"Bearer {token}"} if token else {})}

    async def start(self):
        """Shake hands, where that is the custom."""

    async def aclose(self):
        await self.client.aclose()

    def message(self, method, params):
        return {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}

    def request(self, method, params):
        """What `post` takes."""
        body = self.message(method, {**params, "_meta": self.meta})
        headers: dict[str, str] = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
        if method in NAMED:
            headers["mcp-name"] = str(params[NAMED[method]])
        return {"json": body, "headers": headers}

    async def ask(self, method, **params):
        """The answer to a request: its result, or the error in its place."""
        reply = await self.client.post("/mcp", **self.request(method, params))
        found = answered(reply.text)
        return found["result"] if "result" in found else found["error"]

    async def call(self, tool, **arguments):
        """What a tool tells, be it an error."""
        result = await self.ask("tools/call", name=tool, arguments=arguments)
        return result.get("structuredContent") or result

    async def heard(self, uris, change):
        """The first resource of which word comes, among those that are subscribed to, once `change` ran."""
        params = {"notifications": {"resourceSubscriptions": uris}}
        asked = self.request("subscriptions/listen", params)
        async with self.client.stream("POST", "/mcp", **asked) as reply:
            messages = events(reply)
            assert (await anext(messages))["method"] == "notifications/subscriptions/acknowledged"
            await change()
            return await updated(messages)


class Stateful(Caller):
    """One of the older protocol, whose connection is known by its id."""

    async def start(self):
        reply = await self.client.post("/mcp", json=self.message("initialize", HELLO))
        self.client.headers["mcp-session-id"] = reply.headers["mcp-session-id"]
        self.client.headers["mcp-protocol-version"] = str(HELLO["protocolVersion"])
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await self.client.post("/mcp", json=ready)).status_code == 202

    def request(self, method, params):
        return {"json": self.message(method, params)}

    async def heard(self, uris, change):
        async with self.client.stream("GET", "/mcp") as reply:
            for uri in uris:
                await self.ask("resources/subscribe", uri=uri)
            await change()
            return await updated(events(reply))


class OverSse(Caller):
    """One of the older protocol, on the transport that it has left behind."""

    async def start(self):
        self._stream = self.client.stream("GET", "/sse")
        self.reply = await self._stream.__aenter__()
        self._lines = self.reply.aiter_lines()
        async for line in self._lines:
            if line.startswith("data: "):
                self.endpoint = line.removeprefix("data: ")
                break
        await self.ask("initialize", **HELLO)
        await self.client.post(self.endpoint, json={"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def aclose(self):
        await self._stream.__aexit__(None, None, None)
        await super().aclose()

    async def next(self):
        async for line in self._lines:
            if line.startswith("data: {"):
                return json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream has ended")

    async def ask(self, method, **params):
        message = self.message(method, params)
        assert (await self.client.post(self.endpoint, json=message)).status_code == 202
        while (found := await self.next()).get("id") != message["id"]:
            pass
        return found["result"] if "result" in found else found["error"]

    async def heard(self, uris, change):
        for uri in uris:
            await self.ask("resources/subscribe", uri=uri)
        await change()

        async def messages():
            while True:
                yield await self.next()

        return await updated(messages())


CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
KINDS = {"modern": Caller, "stateful": Stateful, "sse": OverSse}


def answered(text):
    """The one answer in a body that is JSON, or a stream of events."""
    if text.startswith("{"):
        return json.loads(text)
    found = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    (one,) = [message for message in found if "method" not in message]
    return one


async def events(reply):
    async for line in reply.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


async def updated(messages):
    async for message in messages:
        if message.get("method") == "notifications/resources/updated":
            return message["params"]["uri"]
    raise AssertionError("the stream has ended")


@asynccontextmanager
async def serving(command, environment):
    """The address of a server process, and what it said on standard error so far."""
    async with await anyio.open_process(command, env=environment, stdin=subprocess.DEVNULL) as process:
        said = bytearray()
        ready = anyio.Event()

        async def listen():
            assert process.stderr is not None
            async for chunk in process.stderr:
                said.extend(chunk)
                if b"eai-mcp serves http" in said and said.endswith(b"\n"):
                    ready.set()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                with anyio.fail_after(30):
                    await ready.wait()
                (line,) = [one for one in said.decode().splitlines() if one.startswith("eai-mcp serves ")]
                yield line.split()[-1].removesuffix("/mcp"), said
                process.terminate()
                with anyio.fail_after(10):
                    assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()


@asynccontextmanager
async def joined(*callers):
    """The callers, connected."""
    try:
        for caller in callers:
            await caller.start()
        yield callers
    finally:
        for caller in callers:
            await caller.aclose()
