"""Where the clients under test connect to: a server on SSE and HTTP, and one on stdio for each client.

All of them share one file with sessions, so what one began another can pick up.
"""

import copy
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.clients.common import Client, Pending, Told, told
from tests.clients.driver import Driver, driven
from tests.clients.sdk import SdkClient, python
from tests.e2e.silent_provider import Asked, House, built

KINDS = {
    "ts1": ("v1.mjs", "legacy"),
    "ts2-legacy": ("v2.mjs", "legacy"),
    "ts2-modern": ("v2.mjs", "auto"),
    "py-legacy": ("", "legacy"),
    "py-modern": ("", "auto"),
}
TRANSPORTS = ("stdio", "http", "sse")
STRICT = ("--on-disconnect", "interrupt")
"""With these a server stops the turn of whoever leaves."""
RULES = """
from eai_mcp.calls import ResourcePushed
from eai_mcp.errors import StorageFull, StorageUnavailable


class Rules:
    async def turn(self, given, go_on):
        match given.message.text:
            case "storage_full":
                raise StorageFull("the disk is full")
            case "storage_unavailable":
                raise StorageUnavailable("the disk is gone", path="/there")
            case "internal":
                raise ValueError("a secret")
            case "push":
                await given.emit(ResourcePushed(kind="note", uri="x:long", payload="x" * 4_190_000))
        return await go_on(given)
"""
FAULTS = (
    "provider_auth",
    "provider_rejected",
    "context_overflow",
    "refused",
    "rate_limited",
    "circuit_open",
    "provider_unavailable",
    "timeout",
)
SCRIPTED = 'provider = "scripted"\nmodel = "x"\nreliability.attempts = 1\n[quirks]\n'
KEYED = """
provider = "openai_chat"
model = "x"
base_url = "http://127.0.0.1:9"
api_key_env = "MADE_UP_KEY"
"""
LONG = "0123456789" * 400_000
"""A reply that JSON writes in more bytes than an answer may have."""


class Places:
    """A house whose servers are open on SSE and HTTP, and those who connect to it."""

    def __init__(
        self, house: House, urls: dict[str, str], packages: Path, scripts: dict[str, Driver], connect: Any
    ) -> None:
        self.house, self.packages = house, packages
        self._urls = urls
        self._scripts, self._connect = scripts, connect

    async def connect(self, kind: str, transport: str, *options: str, **given: Any) -> Client:
        """A client of a kind, of a server with these options: STRICT or none."""
        script, era = KINDS[kind]
        where = {**self._where(transport, *options), "transport": transport, "era": era, **given}
        if script:
            return await self._scripts[script].connect(**where)
        client: SdkClient = await self._connect(**where)
        return client

    def inspected_at(self, where: str) -> list[str]:
        """The words that tell the Inspector where the server is: `stdio`, `sse`, or `http` and an era."""
        transport, _, era = where.partition(" ")
        given = self._where(transport)
        if transport == "stdio":
            env = {
                name: value for name, value in given["env"].items() if name.startswith(("EAI_MCP_", "PYTHON"))
            }
            passed = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
            return [*passed, given["command"], *given["args"]]
        eras = ["--protocol-era", era] if era else []
        return ["--server-url", given["url"], "--transport", transport, *eras]

    def process(self, kind: str):
        """The process of Node in which clients of a kind live."""
        return self._scripts[KINDS[kind][0]].process

    async def asking(self, client: Client, session: str, **options: Any) -> tuple[Pending, Asked]:
        """Begin a talk whose reply the test lets go on; the call, and what the provider was asked.

        `options` are the client's own, like `timeout_ms`.
        """
        number = len(self.house.provider.asked) + 1
        given = {"content": "a story", "model": "held", "chat_session": session}
        pending = client.begin("call", name="talk", arguments=given, **options)
        asked: Asked = await self.house.provider.request(number)
        return pending, asked

    def url(self, transport: str, *options: str) -> str:
        """Where a server with these options is on HTTP or SSE."""
        url = self._urls[" ".join(options)]
        return url if transport == "http" else url.removesuffix("/mcp") + "/sse"

    def _where(self, transport: str, *options: str) -> Told:
        if transport != "stdio":
            return {"url": self.url(transport, *options)}
        command, *args = [*self.house.command, *options]
        return {"command": command, "args": args, "env": self.house.environment}


@asynccontextmanager
async def opened(
    installed: Path, environment: dict[str, str], folder: Path, packages: Path
) -> AsyncIterator[Places]:
    """The house with all that the tests of clients need, and processes for the clients."""
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(built(installed, environment, folder))
        _furnish(house)
        scripts = {
            name: await stack.enter_async_context(driven(packages, name)) for name in ("v1.mjs", "v2.mjs")
        }
        connect = await stack.enter_async_context(python())
        urls = {}
        for options in ((), STRICT):
            furnished = copy.copy(house)
            furnished.command = [*house.command, *options]
            url = await stack.enter_async_context(furnished.carried("sse"))
            urls[" ".join(options)] = url.removesuffix("/sse") + "/mcp"
        yield Places(house, urls, packages, scripts, connect)


async def heard(client: Client, session: str) -> Told:
    """How a session's running turn stands once some of its text has come."""
    while not (standing := await told(client, "wait_for_reply", chat_session=session, timeout_ms=20)).get(
        "reply"
    ):
        pass
    return standing


def _furnish(house: House) -> None:
    (house.folder / "rules.py").write_text(RULES, encoding="utf-8")
    house.environment |= {"PYTHONPATH": str(house.folder), "EAI_MCP_MIDDLEWARE": "rules:Rules"}
    house.environment["EAI_MCP_EXPORTS"] = str(house.folder / "exports")
    house.command.append("--elicit")
    entries = {code: SCRIPTED + _failing(code) for code in FAULTS}
    script = house.folder / "long.json"
    script.write_text(json.dumps({"replies": [{"text": LONG}], "then": "last"}), encoding="utf-8")
    entries["long"] = f'{SCRIPTED}script = "{script}"\n'
    entries["keyed"] = KEYED
    for name, text in entries.items():
        (house.folder / "models" / f"{name}.toml").write_text(text, encoding="utf-8")


def _failing(code: str) -> str:
    wait = ", retry_after_s = 7" if code == "rate_limited" else ""
    return f'then = "last"\n[[quirks.replies]]\nfail = {{ code = "{code}"{wait} }}\n'
