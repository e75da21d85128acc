"""The guards through a server process, against a provider that breaks on demand and judges its clients."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.e2e.broken_provider import ROOTS, Broken, running
from tests.e2e.silent_provider import told
from tests.e2e.wire import MODERN, Wire, served

LONG = {"type": "reply", "text": "The quick brown fox jumps over the lazy dog. " * 3}
QUICK = "backoff_first_s = 0.2, attempt_timeout_s = 2"

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def broken() -> Iterator[str]:
    """The address of a provider that does what it is told."""
    with running() as base:
        yield base


@asynccontextmanager
async def serving(
    installed: Path, environment: dict[str, str], folder: Path, models: dict[str, str], *options: str
) -> AsyncIterator[Wire]:
    """A server process whose catalog has these models, and a client that the SDK did not make."""
    (folder / "models").mkdir()
    for name, text in models.items():
        (folder / "models" / f"{name}.toml").write_text(text, encoding="utf-8")
    command = [str(installed / "eai-mcp"), "serve", "--models", str(folder / "models"), *options]
    keyed = {**environment, "M_KEY": "made-up-key"}
    async with served(command, keyed, era=MODERN, limit_s=80) as wire:
        yield wire


def model(provider: str, base: str, reliability: str = QUICK) -> str:
    return (
        f'provider = "{provider}"\nmodel = "mock-1"\nbase_url = "{base}{ROOTS[provider]}"\n'
        f'api_key_env = "M_KEY"\nreliability = {{ {reliability} }}\n'
    )


@pytest.fixture
async def provider(broken) -> AsyncIterator[Broken]:
    async with httpx2.AsyncClient() as client:
        yield Broken(broken, client)


@pytest.mark.parametrize("form", ROOTS)
async def test_whatever_breaks_is_tried_again_and_the_verdict_is_clean(
    installed, environment, tmp_path, broken, provider, form
):
    """Issue 6: "`llmock`'s scenarios (429 with Retry-After, 529, disconnect, stall, truncation) with its
    verdict clean; recovery without a restart"."""
    scenarios: dict[str, dict[str, Any]] = {
        "429": {"type": "fail", "status": 429, "retry_after": 1, "times": 1},
        "529": {"type": "fail", "status": 529, "times": 2},
        "503": {"type": "fail", "status": 503, "retry_after": 1, "times": 1},
        "disconnect": {"type": "stream_fault", "kind": "disconnect", "after_chunks": 0},
        "truncation": {"type": "stream_fault", "kind": "truncate", "after_chunks": 0},
        "corruption": {"type": "stream_fault", "kind": "malformed", "after_chunks": 0},
        "stall": {"type": "stream_fault", "kind": "stall", "after_chunks": 0, "stall_seconds": 20},
    }
    async with serving(installed, environment, tmp_path, {"m": model(form, broken)}) as wire:
        for name, fault in scenarios.items():
            await provider.next(LONG, fault)
            done = await told(wire, "talk", content=f"after {name}", model="m", chat_session=name)
            assert (done["status"], bool(done["reply"])) == ("completed", True), name
            verdict = await provider.verdict()
            assert (verdict["findings"], verdict["attempts"] > 1) == ([], True), name


async def test_text_that_was_heard_is_never_said_twice(installed, environment, tmp_path, broken, provider):
    """Issue 6: retry "stops at the first text that reached the listener"; DESIGN section 3."""
    async with serving(installed, environment, tmp_path, {"m": model("openai_chat", broken)}) as wire:
        await provider.next(LONG, {"type": "stream_fault", "kind": "disconnect", "after_chunks": 4})
        error = await wire.error("talk", content="hi", model="m")
        assert (error["code"], error["retryable"]) == ("provider_unavailable", True)
        assert str(LONG["text"]).startswith(error["details"]["partial"])
        assert (await provider.verdict())["attempts"] == 1
        await provider.next({"type": "reply", "text": "well"})
        assert (await told(wire, "talk", content="again", model="m"))["reply"] == "well"


async def test_what_no_attempt_can_mend_is_asked_once(installed, environment, tmp_path, broken, provider):
    async with serving(installed, environment, tmp_path, {"m": model("anthropic", broken)}) as wire:
        for status, code in ((400, "provider_rejected"), (401, "provider_auth"), (404, "provider_rejected")):
            await provider.next({"type": "fail", "status": status, "times": 5})
            assert (await wire.error("talk", content="hi", model="m"))["code"] == code
            verdict = await provider.verdict()
            assert (verdict["attempts"], verdict["findings"]) == (1, [])


async def test_an_open_circuit_says_when_it_ends_and_closes_again(
    installed, environment, tmp_path, broken, provider
):
    """Issue 6: "open time in the error"; "recovery without a restart"; each error code once by process."""
    numbers = "attempts = 1, breaker = { failures = 2, recovery_s = 1 }"
    async with serving(
        installed, environment, tmp_path, {"m": model("openai_chat", broken, numbers)}
    ) as wire:
        await provider.next({"type": "fail", "status": 503, "times": 2})
        for session in ("a", "b"):
            error = await wire.error("talk", content="hi", model="m", chat_session=session)
            assert error["code"] == "provider_unavailable"
        error = await wire.error("talk", content="hi", model="m", chat_session="c")
        assert (error["code"], error["retryable"]) == ("circuit_open", True)
        assert 0 < error["retry_after_ms"] <= 1000
        assert (await provider.verdict())["attempts"] == 2
        (standing,) = await _standing(wire)
        assert (standing["circuit"], standing["names"], standing["failures"]) == ("open", ["m"], 2)
        await anyio.sleep(error["retry_after_ms"] / 1000)
        await provider.next({"type": "reply", "text": "well again"})
        assert (await told(wire, "talk", content="hi", model="m"))["reply"] == "well again"
        (standing,) = await _standing(wire)
        assert (standing["circuit"], standing["failures"]) == ("closed", 0)


async def test_the_next_model_answers_at_once_and_the_warning_says_why(
    installed, environment, tmp_path, broken, provider
):
    """Issue 6: "**Fallback** names who answered and why the first did not"; "different providers in one
    chain work with history"."""
    models = {
        "first": model("openai_responses", broken, 'attempts = 1, fallback = ["second"]'),
        "second": model("anthropic", broken),
    }
    async with serving(installed, environment, tmp_path, models) as wire:
        await provider.next({"type": "reply", "text": "one"})
        assert (await told(wire, "talk", content="a", model="first"))["warnings"] == []
        await provider.next(
            {"type": "fail", "status": 503, "times": 1},
            {"type": "reply", "text": "two"},
        )
        done = await told(wire, "talk", content="b", model="first")
        assert (done["reply"], done["effective"]["model"]) == ("two", "first")
        (warning,) = done["warnings"]
        assert warning.startswith("model 'first' did not answer (provider_unavailable: ")
        assert warning.endswith("; 'second' did")
        await provider.next({"type": "reply", "text": "three"})
        assert (await told(wire, "talk", content="c"))["reply"] == "three"
        page = await told(wire, "get_history", chat_session="default")
        assert [message["content"][-1]["text"] for message in page["messages"]] == [
            *("a", "one", "b", "two", "c", "three")
        ]


async def test_our_own_rate_makes_calls_wait_and_refuses_what_would_wait_too_long(
    installed, environment, tmp_path, broken, provider
):
    """Issue 6: "rate limit (token bucket that waits, bounded)"."""
    numbers = "rate = 0.01, burst = 2"
    async with serving(
        installed, environment, tmp_path, {"m": model("openai_chat", broken, numbers)}
    ) as wire:
        await provider.next({"type": "reply", "text": "x", "times": 9})
        for _ in range(2):
            await told(wire, "talk", content="hi", model="m")
        error = await wire.error("talk", content="hi", model="m")
        assert (error["code"], error["retryable"]) == ("rate_limited", True)
        assert 90_000 < error["retry_after_ms"] <= 100_000
        assert "limit of 0.01 calls a second" in error["message"]
        assert (await provider.verdict())["attempts"] == 2


async def test_numbers_for_all_models_stand_in_one_file(installed, environment, tmp_path, broken, provider):
    """Issue 6: "configuration per model file and globally"."""
    file = tmp_path / "guards.toml"
    file.write_text("attempts = 2\nbackoff_first_s = 0.1\n", encoding="utf-8")
    models = {"m": model("openai_chat", broken, ""), "own": model("openai_chat", broken, "attempts = 1")}
    options = ("--reliability", str(file))
    async with serving(installed, environment, tmp_path, models, *options) as wire:
        for name, attempts in (("m", 2), ("own", 1)):
            await provider.next({"type": "fail", "status": 503, "times": 9})
            error = await wire.error("talk", content="hi", model=name)
            assert (error["details"]["attempts"], (await provider.verdict())["attempts"]) == (attempts,) * 2


async def _standing(wire: Wire) -> list[dict[str, Any]]:
    read = await wire.ask("resources/read", uri="eai://providers")
    standing: list[dict[str, Any]] = json.loads(read["contents"][0]["text"])["models"]
    return standing
