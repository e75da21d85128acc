"""What users and providers do wrong, to the installed server, by a client that is not the SDK's.

Issue 2, bad input: each a clear error, nothing lost, server alive.
"""

import json
import subprocess
import sys

import anyio
import pytest

from tests.e2e.conftest import CLEAN
from tests.e2e.wire import LEGACY, MODERN, served

pytestmark = pytest.mark.timeout(300)

MODELS = [
    *["echo", "slow", "html", "html-502", "status-401", "status-429", "status-500", "cut"],
    "refuse-temperature",
]


@pytest.fixture(scope="module")
def endpoint():
    """A real HTTP endpoint that answers as the model's id says."""
    command = [sys.executable, "tests/endpoint.py", "--port", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(10)


@pytest.fixture(scope="module")
def command(installed, endpoint, tmp_path_factory):
    """`eai-mcp serve` with a model file for each behaviour of the endpoint."""
    models = tmp_path_factory.mktemp("models")
    for name in MODELS:
        text = f'provider = "openai_chat"\nmodel = "{name}"\nbase_url = "{endpoint}"\n'
        text += "reliability.attempts = 1\n"  # what one attempt comes to is what is looked at here
        (models / f"{name}.toml").write_text(text, encoding="utf-8")
    keyed = (
        f'provider = "openai_chat"\nmodel = "echo"\nbase_url = "{endpoint}"\napi_key_env = "MADE_UP_KEY"\n'
    )
    (models / "keyed.toml").write_text(keyed, encoding="utf-8")
    return [str(installed / "eai-mcp"), "serve", "--model", "echo", "--models", str(models)]


@pytest.fixture(scope="module", params=[LEGACY, MODERN])
async def server(command, request):
    async with served(command, CLEAN, era=request.param, limit_s=280) as wire:
        yield wire


@pytest.fixture
async def wire(server):
    """One server for all mistakes, which must answer as before after each of them."""
    yield server
    alive = await server.call("talk", content="still there?", chat_session="alive")
    assert alive["structuredContent"]["status"] == "completed"
    assert "Traceback" not in server.errors


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ({"content": "hi", "model": "ecko"}, "unknown_model", "nearest: echo"),
        ({"content": "hi", "prompt": "codr"}, "unknown_prompt", "nearest: coder"),
        ({"content": "hi", "chara_card": "translater"}, "unknown_card", "nearest: translator"),
        ({"content": "hi", "model": "keyed"}, "missing_api_key", "MADE_UP_KEY"),
        ({"content": ""}, "invalid_argument", "content is empty"),
        ({"content": "hi", "chat_session": "n" * 129}, "invalid_argument", "1 to 128 characters, not 129"),
        ({"content": {"text": "hi"}}, "invalid_argument", "content"),
        ({"content": "hi", "temperature": "warm"}, "invalid_argument", "temperature"),
        ({"content": "hi", "temprature": 1}, "invalid_argument", "did you mean temperature?"),
        ({"content": "x" * 10_000_000}, "limit_exceeded", "10,000,000 bytes; the limit is"),
    ],
)
async def test_a_mistake_of_the_caller_is_explained(wire, arguments, code, part):
    """Issue 2: unknown names, missing key, empty content, over-long name, 10 MB of text, wrong types."""
    error = await wire.error("talk", **{"chat_session": "mistake", **arguments})
    assert error["code"] == code
    assert part in error["message"]
    assert not error["retryable"]
    sessions = (await wire.call("list_sessions"))["structuredContent"]["sessions"]
    assert "mistake" not in [row["name"] for row in sessions if row["message_count"]]


@pytest.mark.parametrize(
    ("model", "code", "retryable"),
    [
        ("html", "provider_unavailable", None),
        ("html-502", "provider_unavailable", True),
        ("status-401", "provider_auth", False),
        ("status-429", "rate_limited", True),
        ("status-500", "provider_unavailable", True),
        ("cut", "provider_unavailable", True),
    ],
)
async def test_a_fault_of_the_provider_is_explained(wire, model, code, retryable):
    """Issue 2: a provider that answers HTML."""
    error = await wire.error("talk", content="hi", model=model)
    assert error["code"] == code
    assert retryable in (None, error["retryable"])
    assert "<html" not in json.dumps(error).lower()
    if model == "status-429":
        assert error["retry_after_ms"] == 7000


async def test_a_refused_default_is_left_out_and_a_refused_wish_is_told(wire):
    error = await wire.error("talk", content="hi", model="refuse-temperature", temperature=0.5)
    assert error["code"] == "provider_rejected"
    assert "temperature" in error["message"]


async def test_sessions_that_are_not_there_are_said_to_be_so(wire):
    assert (await wire.error("interrupt", chat_session="none"))["code"] == "not_found"
    assert (await wire.error("get_history", chat_session="none"))["code"] == "not_found"
    assert (await wire.error("wait_for_reply", chat_session="none"))["code"] == "not_found"
    assert (await wire.error("interrupt"))["code"] == "no_task"


@pytest.mark.parametrize(
    "line",
    [
        b"this is not JSON\n",
        b'{"jsonrpc": "2.0", "id": "x", "method": "ping", "params": {"a": "\xff\xfe"}}\n',
        b'{"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": "\\ud800"}}\n',
        b'["not", "a", "message"]\n',
        b"\n\r\n",
    ],
)
async def test_bytes_that_are_no_message_do_not_end_the_server(wire, line):
    """Issue 2: non-UTF-8."""
    await wire.raw(line)
    assert (await wire.ask("tools/list"))["tools"]


async def test_a_busy_session_names_its_turn(wire):
    session = {"chat_session": "busy"}
    running = await wire.call("talk", content="hi", model="slow", timeout_ms=0, **session)
    turn_id = running["structuredContent"]["turn_id"]
    error = await wire.error("talk", content="hi", **session)
    assert (error["code"], error["details"]["turn_id"]) == ("busy", turn_id)
    stopped = await wire.call("interrupt", **session)
    assert stopped["structuredContent"]["status"] == "interrupted"


async def test_a_cache_that_cannot_be_written_is_named(installed, environment, tmp_path):
    """Issue 2: a folder that cannot be written."""
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    command = [str(installed / "eai-mcp"), "serve"]
    async with served(command, {**environment, "EAI_MCP_CACHE": str(blocked / "cache")}) as wire:
        error = await wire.error("talk", content="hi")
        assert str(blocked) in error["message"]
        assert (await wire.call("list_catalog", kind="models"))["structuredContent"]["entries"]


async def test_offline_without_weights_says_how_to_fetch_them(installed, environment, tmp_path):
    command = [str(installed / "eai-mcp"), "serve", "--offline"]
    async with served(command, {**environment, "EAI_MCP_CACHE": str(tmp_path / "empty")}) as wire:
        error = await wire.error("talk", content="hi")
        assert "eai-mcp fetch" in error["message"]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("claud", "no model named 'claud'; nearest: claude_"),
        ("groq", "the default model groq cannot answer: GROQ_API_KEY is not set"),
    ],
)
async def test_a_default_model_that_cannot_answer_is_told_at_the_start(
    installed, environment, model, sentence
):
    command = [str(installed / "eai-mcp"), "serve", "--model", model]
    async with served(command, environment) as wire:
        assert (await wire.error("talk", content="hi"))["code"] in ("unknown_model", "missing_api_key")
        await wire.leave()
        assert sentence in wire.errors
        assert wire.errors.count("\n") == 1


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_port_in_use_is_a_sentence_and_exit_code_2(installed, environment, transport):
    """Issue 2: a port in use."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as taken:
        port = str(taken.extra(anyio.abc.SocketAttribute.local_port))
        done = await anyio.run_process(
            [str(installed / "eai-mcp"), "serve", "--transport", transport, "--port", port],
            env=environment,
            check=False,
        )
    assert done.returncode == 2
    assert port in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert done.stdout == b""
