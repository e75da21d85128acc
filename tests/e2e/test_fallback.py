"""Chains of different providers: what the one that stands in is sent of a history that others made.

The providers are one socket on loopback that says what a test writes down, in the form of whoever is asked.
"""

import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from eai_mcp import app
from eai_mcp.chat.values import Talk
from eai_mcp.messages import TextBlock
from eai_mcp.middleware import ToolOutcome
from eai_mcp.settings import Settings
from tests.providers import anthropic_events as anthropic
from tests.providers import gemini_chunks as gemini
from tests.providers import openai_responses_events as responses
from tests.providers.answering import chunk, event

KINDS = ("openai_chat", "openai_responses", "anthropic", "gemini")
PAIRS = [*itertools.permutations(KINDS, 2)]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
DOWN = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def thought_of(kind: str) -> str:
    return f"thought-by-{kind}"


def seal_of(kind: str) -> str:
    return f"c2VhbCBieSA{kind}".replace("_", "")


def tool_id(kind: str) -> str:
    """Longer than OpenAI takes, and with a colon, which Anthropic does not take."""
    return f"call:{kind}:" + "0123456789" * 6


def asks(kind: str) -> bytes:
    """It thinks, and asks for a tool."""
    thought, seal, use = thought_of(kind), seal_of(kind), tool_id(kind)
    match kind:
        case "openai_chat":
            function = {"name": "look", "arguments": '{"at": "it"}'}
            called = [{"index": 0, "id": use, "type": "function", "function": function}]
            return _chat(chunk({"reasoning_content": thought}), chunk({"tool_calls": called}, "tool_calls"))
        case "openai_responses":
            return _responses(
                responses.thought(thought, sealed=seal), responses.use("look", '{"at": "it"}', use)
            )
        case "anthropic":
            called = anthropic.tool("look", '{"at": "it"}', index=1, own=use)
            return _anthropic(thought, seal, *called, anthropic.finish("tool_use"))
        case _:
            part = gemini.tool("look", {"at": "it"}, id=use, thoughtSignature=seal)
            return _gemini(gemini.chunk(gemini.thought(thought)), gemini.chunk(part))


def says(kind: str, text: str) -> bytes:
    """It thinks, and answers."""
    thought, seal = thought_of(kind), seal_of(kind)
    match kind:
        case "openai_chat":
            return _chat(chunk({"reasoning_content": thought}), chunk({"content": text}), chunk({}, "stop"))
        case "openai_responses":
            return _responses(responses.thought(thought, sealed=seal), responses.message(text))
        case "anthropic":
            return _anthropic(thought, seal, *anthropic.text(text, 1), anthropic.finish())
        case _:
            part = gemini.text(text, thoughtSignature=seal)
            return _gemini(gemini.chunk(gemini.thought(thought)), gemini.chunk(part))


def _chat(*chunks: Any) -> bytes:
    return HEAD + b"".join(map(event, (*chunks, "[DONE]")))


def _responses(*items: Any) -> bytes:
    numbered = enumerate(items)
    events = [each for at, item in numbered for each in (responses.added(item, at), responses.done(item, at))]
    return HEAD + b"".join(event(each, each["type"]) for each in (*events, responses.ended(*items)))


def _anthropic(thought: str, seal: str, *events: Any) -> bytes:
    thinking = [
        anthropic.begin("thinking", 0, thinking="", signature=""),
        anthropic.delta("thinking", 0, thinking=thought),
        anthropic.delta("signature", 0, signature=seal),
        anthropic.end(0),
    ]
    return HEAD + b"".join(map(anthropic.named, (anthropic.start(), *thinking, *events, anthropic.STOP)))


def _gemini(*chunks: Any) -> bytes:
    return HEAD + b"".join(map(gemini.event, (*chunks, gemini.STOP)))


class Providers:
    """Says of each kind what `next` holds of it, and keeps the bodies that it was sent."""

    def __init__(self) -> None:
        self.next: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
        self.bodies: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            buffered = BufferedByteReceiveStream(stream)
            head = (await buffered.receive_until(b"\r\n\r\n", 65536)).decode()
            (length,) = re.findall(r"(?i)content-length: (\d+)", head)
            kind = head.split("/")[1]
            self.bodies[kind].append(json.loads(await buffered.receive_exactly(int(length))))
            await stream.send(self.next[kind].pop(0))


class Looks:
    """The tool that the models ask for."""

    async def tool(self, run, go_on):
        return ToolOutcome((TextBlock(f"saw {run.input['at']}"),))


class Chain:
    """An open app in which one provider stands in for another."""

    def __init__(self, opened: app.App, providers: Providers) -> None:
        self.opened, self.providers = opened, providers

    async def talk(self, text: str, **replies: list[bytes]):
        """A turn, for which the providers say these; all of it must have been asked for."""
        for kind, said in replies.items():
            self.providers.next[kind] += said
        turn = await self.opened.registry.begin("", Talk(content=text))
        result = await self.opened.registry.reply(turn, 10)
        assert not any(self.providers.next.values())
        return result

    def last(self, kind: str) -> dict[str, Any]:
        return self.providers.bodies[kind][-1]


@asynccontextmanager
async def chain(folder, first, second) -> AsyncIterator[Chain]:
    providers = Providers()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    base = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
    (folder / "models").mkdir()
    for kind, reliability in ((first, f'attempts = 1, fallback = ["{second}"]'), (second, "attempts = 1")):
        text = f'provider = "{kind}"\nmodel = "wire-{kind}"\nbase_url = "{base}/{kind}/v1"\n'
        file = folder / "models" / f"{kind}.toml"
        file.write_text(f"{text}reliability = {{ {reliability} }}\n", encoding="utf-8")
    settings = Settings(
        store=None, model=first, models=(folder / "models",), config=folder, cache=folder / "cache"
    )
    with anyio.fail_after(15):
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, providers.serve)
            async with app.opened(settings, middleware=[Looks()]) as opened:
                yield Chain(opened, providers)
            tasks.cancel_scope.cancel()


def check(kind: str, body: dict[str, Any], *, texts: list[str], tools: int) -> None:
    """What a provider was sent is valid for it, has all that was said, and nothing that others alone read."""
    sent = json.dumps(body)
    for other in KINDS:
        if other != kind:
            assert thought_of(other) not in sent
            assert seal_of(other) not in sent
    for text in texts:
        assert sent.count(json.dumps(text)) == 1, text
    assert sent.count("saw it") == tools
    CHECKS[kind](body, tools)


def check_chat(body: dict[str, Any], tools: int) -> None:
    messages = body["messages"]
    assert {key for message in messages for key in message} <= {
        "role",
        "content",
        "tool_calls",
        "tool_call_id",
    }
    found = 0
    for before, message in itertools.pairwise(messages):
        if message["role"] == "tool":
            (called,) = before["tool_calls"]
            assert before["role"] == "assistant"
            assert message["tool_call_id"] == called["id"]
            assert 0 < len(called["id"]) <= 40
            assert json.loads(called["function"]["arguments"]) == {"at": "it"}
            found += 1
    assert found == tools


def check_responses(body: dict[str, Any], tools: int) -> None:
    items = body["input"]
    calls = [at for at, item in enumerate(items) if item.get("type") == "function_call"]
    assert len(calls) == tools
    for at in calls:
        call, output = items[at : at + 2]
        assert output["type"] == "function_call_output"
        assert call["call_id"] == output["call_id"]
        assert 0 < len(call["call_id"]) <= 64
    for item in items:
        assert item.get("type", "message") in {
            "message",
            "reasoning",
            "function_call",
            "function_call_output",
        }
        if item.get("type") == "reasoning":
            assert item["encrypted_content"] == seal_of("openai_responses")


def check_anthropic(body: dict[str, Any], tools: int) -> None:
    messages = body["messages"]
    roles = [message["role"] for message in messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    found = 0
    for before, message in itertools.pairwise(messages):
        uses = [block["id"] for block in before["content"] if block["type"] == "tool_use"]
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        assert results == uses
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", use) for use in uses)
        found += len(uses)
        for block in before["content"]:
            assert block["type"] in {"text", "thinking", "tool_use", "tool_result"}
            if block["type"] == "thinking":
                assert (block["thinking"], block["signature"]) == (
                    thought_of("anthropic"),
                    seal_of("anthropic"),
                )
    assert found == tools


def check_gemini(body: dict[str, Any], tools: int) -> None:
    contents = body["contents"]
    found = 0
    for before, content in itertools.pairwise(contents):
        calls = [part["functionCall"] for part in before["parts"] if "functionCall" in part]
        results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        pairs = [[(one["name"], one.get("id")) for one in each] for each in (calls, results)]
        assert pairs[0] == pairs[1]
        assert not results or len(content["parts"]) == len(results)
        found += len(calls)
    assert found == tools
    signed = {part.get("thoughtSignature") for content in contents for part in content["parts"]}
    assert signed <= {None, seal_of("gemini"), "skip_thought_signature_validator"}


CHECKS = {
    "openai_chat": check_chat,
    "openai_responses": check_responses,
    "anthropic": check_anthropic,
    "gemini": check_gemini,
}


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda kind: kind)
async def test_whoever_stands_in_is_sent_what_it_can_read(tmp_path, first, second):
    """Issue 6: "different providers in one chain work with history, tools and reasoning state (state of
    another provider is dropped, text kept)"."""
    async with chain(tmp_path, first, second) as house:
        done = await house.talk("a", **{first: [asks(first), says(first, "one")]})
        assert (done.reply, done.warnings) == ("one", ())
        check(first, house.last(first), texts=["a"], tools=1)

        there = [asks(second), says(second, "two")]
        done = await house.talk("b", **{first: [DOWN, DOWN], second: there})
        assert done.reply == "two"
        (warning,) = done.warnings
        assert warning.startswith(f"model {first!r} did not answer (provider_unavailable: ")
        assert warning.endswith(f"; {second!r} did")
        begun, gone_on = house.providers.bodies[second]
        check(second, begun, texts=["a", "one", "b"], tools=1)
        check(second, gone_on, texts=["a", "one", "b"], tools=2)

        assert (await house.talk("c", **{first: [says(first, "three")]})).reply == "three"
        check(first, house.last(first), texts=["a", "one", "b", "two", "c"], tools=2)

        assert (await house.talk("d", **{first: [DOWN], second: [says(second, "four")]})).reply == "four"
        check(second, house.last(second), texts=["a", "one", "b", "two", "c", "three", "d"], tools=2)


@pytest.mark.parametrize("kind", ["openai_responses", "anthropic", "gemini"])
async def test_a_provider_that_is_back_gets_its_own_reasoning_state_back(tmp_path, kind):
    """Issue 6: "reasoning state (state of another provider is dropped, text kept)": its own is not."""
    async with chain(tmp_path, kind, "openai_chat") as house:
        await house.talk("a", **{kind: [asks(kind), says(kind, "one")]})
        await house.talk("b", **{kind: [DOWN], "openai_chat": [says("openai_chat", "two")]})
        await house.talk("c", **{kind: [says(kind, "three")]})
        assert json.dumps(house.last(kind)).count(seal_of(kind)) == 2
        check(kind, house.last(kind), texts=["a", "one", "b", "two", "c"], tools=1)
