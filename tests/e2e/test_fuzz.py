"""Whatever comes over the wire: the server answers, tells nothing of its insides, and lives."""

import json
import os
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.e2e.mutations import Odd, meta
from tests.e2e.odd_http import OddRequests
from tests.e2e.peer import Peer, started
from tests.e2e.wire import LEGACY, MODERN

ROUNDS = int(os.environ.get("EAI_MCP_TEST_ROUNDS", "8"))
EACH = 60
MOST_GROWTH_MB = 80
INSIDES = ("Traceback", "site-packages", 'File \\"', "pydantic.dev", "sqlite3.")
SERVE = ("serve", "--model", "echo", "--offline", "--store", "memory:")


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def checked(message: object) -> None:
    """See that an answer tells of a mistake, and not of a bug."""
    text = json.dumps(message)
    assert not [word for word in INSIDES if word in text], text[:2000]
    assert isinstance(message, dict)
    assert message["jsonrpc"] == "2.0"
    if "error" in message:
        assert message["error"]["code"] not in (0, -32603), text[:2000]
    told = message.get("result", {}).get("structuredContent") or {}
    assert told.get("error", {}).get("code") != "internal", text[:2000]


async def settle(child: Peer, number: str, era: str) -> None:
    """Ask something that must be answered, and check all that comes before."""
    params = {"_meta": meta()} if era == MODERN else {}
    await child.send(number, "tools/list", **params)
    while (message := await child.heard()).get("id") != number:
        if "method" not in message or "id" not in message:
            checked(message)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_odd_messages_on_stdio_are_answered_and_the_server_lives(installed, tmp_path, monkeypatch, era):
    """Issue 8: a fuzz run of the wire (malformed JSON-RPC, wrong types, huge ids, deep nesting, interleaved
    cancels): no crash, no traceback to a client, memory bounded."""
    monkeypatch.setenv("EAI_MCP_EXPORTS", str(tmp_path))
    monkeypatch.setenv("EAI_MCP_CONFIG", str(tmp_path / "config"))
    with anyio.fail_after(110), started(str(installed / "eai-mcp"), *SERVE) as child:
        if era == LEGACY:
            await child.initialize()
        await settle(child, "first", era)
        odd, before = Odd(8, era), 0.0
        for number in range(ROUNDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child.write, b"".join(line + b"\n" for line in odd.lines(EACH)))
                tasks.start_soon(settle, child, f"round {number}", era)
            if not before:
                before = resident_mb(child.process.pid)
        assert resident_mb(child.process.pid) - before < MOST_GROWTH_MB
        child.leave()
        assert await child.ended() == 0
    assert "Traceback" not in child.noted


AMBER, BASIL = "amber-" + "a" * 32, "basil-" + "b" * 32
SECRET = "opalised"
HURRY_S = 0.5


@asynccontextmanager
async def carried(installed, tmp_path, *options):
    """A server over HTTP for two principals; its process, its address, and what it wrote so far."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"amber={AMBER}\nbasil={BASIL}\n", encoding="utf-8")
    tokens.chmod(0o600)
    command = [
        str(installed / "eai-mcp"),
        *SERVE,
        "--transport",
        "sse",
        "--token-file",
        str(tokens),
        *options,
    ]
    with (tmp_path / "errors").open("wb") as errors:
        async with await anyio.open_process(command, stderr=errors) as process:
            try:
                while "eai-mcp serves" not in (noted := (tmp_path / "errors").read_text(encoding="utf-8")):
                    assert process.returncode is None, noted
                    await anyio.sleep(0.05)  # only the file tells
                yield process, noted.split("http://")[1].split("/")[0]
            finally:
                process.terminate()
                await process.wait()


async def answered(address: str, request: bytes) -> bytes:
    """What comes back until the server closes, or while one hurries."""
    host, _, port = address.rpartition(":")
    heard = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        with anyio.move_on_after(HURRY_S), suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            await stream.send(request)
            while True:
                heard += await stream.receive()
    return heard


def answers_in(heard: bytes) -> Iterator[Any]:
    """The messages in the body of an answer, be it JSON or events."""
    _, _, body = heard.partition(b"\r\n\r\n")
    for line in body.replace(b"data: ", b"").split(b"\n"):
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and "jsonrpc" in found:
                yield found


@pytest.mark.timeout(120)
async def test_odd_requests_over_http_are_answered_and_tell_nothing_of_others(installed, tmp_path):
    """Issue 8: a fuzz run of the wire (malformed JSON-RPC, wrong types, huge ids, deep nesting, interleaved
    cancels; HTTP headers, paths, methods, content types): no crash, no traceback to a client, no leak across
    principals, memory bounded."""
    with anyio.fail_after(110):
        async with carried(installed, tmp_path, "--exports", str(tmp_path / "out")) as (process, address):
            async with httpx2.AsyncClient(base_url=f"http://{address}", headers=plain(AMBER)) as amber:
                secret = {"content": SECRET, "chat_session": "a"}
                told = await amber.post("/mcp", json=calling("talk", secret))
                assert SECRET in told.text
            before = resident_mb(process.pid)
            odd = OddRequests(8, host=address, token=BASIL)
            limiter, heard = anyio.CapacityLimiter(16), list[bytes]()

            async def ask(request: bytes) -> None:
                async with limiter:
                    heard.append(await answered(address, request))

            async with anyio.create_task_group() as tasks:
                for request in odd.requests(ROUNDS * EACH):
                    tasks.start_soon(ask, request)
            for each in heard:
                assert SECRET.encode() not in each
                assert AMBER.encode() not in each
                status = each[9:12]
                assert not status.startswith(b"5") or status in (b"501", b"503"), each[:500]
                for message in answers_in(each):
                    checked(message)
            assert resident_mb(process.pid) - before < MOST_GROWTH_MB
            async with httpx2.AsyncClient(base_url=f"http://{address}", headers=plain(AMBER)) as amber:
                told = await amber.post("/mcp", json=calling("get_history", {"chat_session": "a"}))
                assert SECRET in told.text
        assert process.returncode == 0
    assert "Traceback" not in (tmp_path / "errors").read_text(encoding="utf-8")


def calling(tool: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": given}}


def plain(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
