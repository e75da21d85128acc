"""stdio with real processes: both protocols, every way to end, and what a client or a host can do wrong."""

import json
import signal
import socket
import subprocess
import sys
import time

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import TextContent

from eai_mcp.server import frames
from tests.e2e.peer import ECHO, HELLO, PINNED, started

STDIO = (*ECHO, "stdio")


def sockets():
    """What Node gives its children for pipes."""
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.mark.parametrize("ends", [None, sockets])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_the_older_protocol_by_lines(backend, ends):
    with (
        anyio.fail_after(15),
        started(*STDIO, "--backend", backend, **({"ends": ends} if ends else {})) as child,
    ):
        await child.initialize()
        await child.call(1, "echo", text="hello")
        assert await child.text() == "hello"
        await child.call(2, "long", size=9 * 1024 * 1024)
        assert len(await child.text()) == 9 * 1024 * 1024
        child.leave()
        assert await child.ended() == 0


async def test_the_newer_protocol_by_lines():
    with anyio.fail_after(15), started(*STDIO) as child:
        await child.send(1, "server/discover", _meta=PINNED)
        assert "2026-07-28" in (await child.heard())["result"]["supportedVersions"]
        await child.send(2, "tools/call", name="echo", arguments={"text": "hello"}, _meta=PINNED)
        assert await child.text() == "hello"


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
async def test_the_sdks_client(mode):
    heard = []

    async def listen(done, total, text):
        heard.append(text)

    server = stdio_client(StdioServerParameters(command=STDIO[0], args=list(STDIO[1:])))
    with anyio.fail_after(15):
        async with Client(server, mode=mode) as client:
            result = await client.call_tool("steps", {"text": "hello"}, progress_callback=listen)
    (block,) = result.content
    assert isinstance(block, TextContent)
    assert block.text == "hello"
    assert heard == ["step 1", "step 2", "step 3"]


@pytest.mark.parametrize("transport", ["stdio", "threads"])
async def test_a_client_may_discover_and_then_shake_hands_twice(transport):
    """`threads` is what Windows gets."""
    with anyio.fail_after(15), started(*ECHO, transport) as child:
        await child.send("probe", "server/discover", _meta=PINNED)
        assert (await child.heard())["result"]["resultType"] == "complete"
        await child.initialize()
        await child.initialize()
        await child.call(1, "echo", text="hello")
        assert await child.text() == "hello"
        child.leave()
        assert await child.ended() == 0


@pytest.mark.parametrize("state", ["idle", "hanging", "unread"])
@pytest.mark.parametrize("way", ["end of input", "SIGTERM", "SIGINT", "SIGHUP"])
async def test_it_ends_soon_and_cleanly(way, state, record_property):
    with anyio.fail_after(15), started(*STDIO) as child:
        await child.initialize()
        if state != "idle":
            await child.call(1, "hang")
            await child.call(2, "echo")
            await child.text()
        if state == "unread":
            await child.call(3, "long", size=4_000_000)
            await anyio.wait_readable(child.reading)
        begun = time.perf_counter()
        if way == "end of input":
            child.leave()
        else:
            child.process.send_signal(getattr(signal, way))
        code = await child.ended()
        took = time.perf_counter() - begun
    print(f"{way}, {state}: {took:.2f} s")
    record_property("seconds", took)
    assert code == 0
    assert child.noted.splitlines()[-2:] == ["cleaned up", "left"]
    assert ("hang ended" in child.noted) == (state != "idle")
    assert took < 5


async def test_a_second_signal_ends_it_in_the_middle_of_its_cleaning_up():
    with anyio.fail_after(15), started(*STDIO, "--cleanup", "60", "--closing", "60") as child:
        await child.initialize()
        child.process.send_signal(signal.SIGTERM)
        await child.note("cleaning up")
        child.process.send_signal(signal.SIGTERM)
        assert await child.ended() == 130
    assert "cleaned up" not in child.noted


async def test_cleaning_up_that_takes_too_long_is_cut():
    with anyio.fail_after(15), started(*STDIO, "--cleanup", "60", "--closing", "0.6") as child:
        await child.initialize()
        child.leave()
        assert await child.ended() == 1
    assert "cleaning up took longer than 0.6 s" in child.noted


async def test_it_ends_when_its_host_dies_and_the_pipes_stay_open():
    host = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    with anyio.fail_after(15), started(sys.executable, "-c", host, *STDIO) as child:
        await child.initialize()
        begun = time.perf_counter()
        child.process.send_signal(signal.SIGKILL)
        await child.note("left\n")
        print(f"the host was killed: {time.perf_counter() - begun:.2f} s")
    assert "cleaned up" in child.noted


async def test_what_is_printed_never_reaches_the_client():
    with anyio.fail_after(15), started(*STDIO) as child:
        await child.initialize()
        await child.call(1, "junk")
        await child.call(2, "echo", text="clean")
        assert {await child.text(), await child.text()} == {"done", "clean"}
        child.leave()
        with pytest.raises(anyio.EndOfStream):
            await child.heard()
        assert await child.ended() == 0
    for said in ("print", "write", "a child", "without a newline"):
        assert f"junk {'' if 'without' in said else 'of '}{said}" in child.noted


async def test_bad_lines_cost_those_lines_only():
    with anyio.fail_after(15), started(*STDIO) as child:
        await child.initialize()
        await child.write(b"{bad json\n\xff\xfe\n")
        assert [(await child.refused())[:2] for _ in range(2)] == [(None, -32700)] * 2
        await child.call(1, "echo", text="\ud800")
        assert await child.refused() == (1, -32600, frames.SURROGATE)
        await child.call(2, "echo", text="hello")
        assert await child.text() == "hello"


async def test_a_line_of_40_mib_is_refused_and_the_next_answered():
    with anyio.fail_after(15), started(*STDIO) as child:
        await child.initialize()
        await child.call(1, "echo", text="x" * 40 * 1024 * 1024)
        number, code, sentence = await child.refused()
        assert (number, code) == (1, -32600)
        assert sentence.endswith("at most 33,554,432 are taken")
        await child.call(2, "echo", text="hello")
        assert await child.text() == "hello"


async def test_files_and_the_null_device_will_do(tmp_path):
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    path, answers = tmp_path / "requests", tmp_path / "answers"
    path.write_text(json.dumps(request) + "\n", encoding="utf-8")
    with anyio.fail_after(15):
        for given, taken in ((path, answers), ("/dev/null", "/dev/null")):
            said = f"exec {' '.join(STDIO)} < {given} > {taken}"
            done = await anyio.run_process(["sh", "-c", said], stderr=subprocess.PIPE)
            assert done.stderr.endswith(b"cleaned up\nleft\n")
    assert json.loads(answers.read_text(encoding="utf-8"))["result"]["serverInfo"]["name"] == "echo"


async def test_a_closed_stdin_is_said_in_a_sentence():
    with anyio.fail_after(15):
        done = await anyio.run_process(["sh", "-c", f"exec {' '.join(STDIO)} <&-"], check=False)
    assert done.returncode == 2
    assert b"stdin or stdout is closed; let an MCP client start this command" in done.stderr


async def test_a_client_that_reads_no_more_ends_it():
    with anyio.fail_after(15), started(*STDIO) as child:
        await child.initialize()
        child.turn_away()
        await child.call(1, "echo", text="nobody hears this")
        assert await child.ended() == 0
    assert "cleaned up" in child.noted
