"""The tools as a client sees them, in both protocol generations."""

import json

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from eai_mcp.calls import TextDelta
from eai_mcp.chat.choose import choose
from eai_mcp.chat.turn import Turn
from eai_mcp.chat.values import Talk
from eai_mcp.errors import RateLimited, Unavailable
from eai_mcp.messages import ImageBlock, Message, TextBlock, user
from eai_mcp.server import progress
from eai_mcp.store import Choices, Claim
from tests.fakes import Held, said
from tests.server.calling import call, refused


async def test_a_reply_is_whole_in_both_forms(connected):
    """Issue 2: results complete in both text and structuredContent."""
    async with connected(said("Tokyo.")) as (client, _):
        result = await call(client, "talk", content="Capital of Japan?", chat_session="geo")

    structured = result.structured_content
    turn_id = structured["turn_id"]
    assert structured == {
        "status": "completed",
        "reply": "Tokyo.",
        "chat_session": "geo",
        "turn_id": turn_id,
        "stop_reason": "end",
        "effective": {"model": "plain"},
        "overridden": [],
        "warnings": [],
        "usage": {"input": 2, "output": 3, "cache_read": 0, "cache_write": 0, "reasoning": 0},
    }
    assert result.content[0].text == "Tokyo."
    handle = json.loads(result.content[1].text)
    assert (handle["chat_session"], handle["turn_id"], handle["status"]) == ("geo", turn_id, "completed")


async def test_every_choice_and_sampler_reaches_the_turn(connected):
    async with connected(said("ok")) as (client, model):
        result = await call(
            client,
            "talk",
            content="hi",
            model="other",
            prompt="coder",
            chara_card="clerk",
            temperature=0,
            top_p=0.5,
            top_k=0,
            min_p=0.1,
            max_tokens=9,
            repetition_penalty=1.1,
            frequency_penalty=-0.5,
            presence_penalty=0.0,
            stop_sequences='["END"]',
            seed=0,
            anthropic_beta=["a", "b"],
            reasoning_effort="low",
        )
    assert result.structured_content["effective"] == {"model": "other", "prompt": "analyst", "card": "clerk"}
    assert result.structured_content["overridden"] == ["prompt"]
    samplers = model.requests[0].samplers
    assert len(samplers.given()) == 12
    assert (samplers.temperature, samplers.stop_sequences, samplers.anthropic_beta) == (
        0,
        ("END",),
        ("a", "b"),
    )


async def test_content_may_be_blocks_and_blocks_may_come_as_a_string(connected):
    blocks = [{"type": "text", "text": "look"}, {"type": "image", "media_type": "image/png", "data": "aGk="}]
    message = Message("user", (TextBlock("look"), ImageBlock("image/png", "aGk=")))
    async with connected(*map(said, "12345")) as (client, model):
        await call(client, "talk", content=blocks, chat_session="a")
        await call(client, "talk", content=json.dumps(blocks), chat_session="b")
        await call(client, "talk", content='[{"type": "unknown"}]', chat_session="c")
        await call(client, "talk", content='[{"no json', chat_session="d")
        await call(client, "talk", content=json.dumps(blocks, indent=1), chat_session="e")
    assert [request.messages[0] for request in model.requests] == [
        message,
        message,
        user('[{"type": "unknown"}]'),
        user('[{"no json'),
        message,
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "content is missing"),
        ({"content": 5}, "content: input should be a valid string or input should be a valid list, not 5"),
        ({"content": ["hi"]}, 'content.0: input should be a valid dictionary, not "hi"'),
        ({"content": "hi", "stop_sequences": ["a", 1]}, "stop_sequences.1: input should be a valid string"),
        (
            {"content": "hi", "temperature": "hot"},
            "temperature: input should be a valid number,",
        ),
        ({"content": "hi", "top_p": 2}, "top_p: input should be less than or equal to 1, not 2"),
        (
            {"content": "hi", "tempurature": 1},
            "'tempurature'; did you mean temperature? talk takes",
        ),
        ({"content": "hi", "zzz": 1}, "unknown argument 'zzz'; talk takes content, chat_session"),
        ({"content": "hi", "model": "m" * 5_000_000}, "model: string should have at most 128 characters"),
        ({"content": "hi", "m" * 5_000_000: 1}, "unknown argument 'mmm"),
        ({f"a{n}": 1 for n in range(5000)}, "; and 4992 more"),
        ({"content": "hi", "timeout_ms": 10**400}, "timeout_ms: "),
        ({"content": "hi", "stop_sequences": "[" * 1000}, "stop_sequences: input should be a valid list"),
        ({"content": "hi", "stop_sequences": '["\\ud800"]'}, "half of a surrogate pair"),
        ({"content": "hi", "stop_sequences": [""]}, "stop_sequences.0: string should have at least 1"),
        ({"content": [{"type": "video", "data": ""}]}, "content.0: type must be text, image or document"),
        ({"content": [{"type": "text"}]}, "content.0.text.text: Field required"),
        (
            {"content": [{"type": "thinking", "text": "x"}]},
            "content may hold text, image and document",
        ),
        ({"content": "  "}, "content is empty; say something"),
        ({"content": "hi", "chat_session": "x" * 129}, "chat_session must have 1 to 128 characters, not 129"),
        ({"content": "hi", "stop_sequences": "{bad"}, "stop_sequences: input should be a valid list"),
        (
            {"content": "hi", "reasoning_effort": "max!"},
            "reasoning_effort: input should be 'none', ",
        ),
    ],
)
async def test_a_mistake_in_the_arguments_can_be_repaired_from_its_message(connected, arguments, message):
    """Issue 2: argument errors a model can repair."""
    async with connected() as (client, _):
        error = await refused(client, "talk", **arguments)
    assert error["code"] == "invalid_argument"
    assert message in error["message"]
    assert "pydantic" not in error["message"]
    assert len(json.dumps(error)) < 3000, "what was sent is not sent back whole"


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        ({"model": "plane"}, "unknown_model", "nearest: plain. list_catalog(kind='models') shows all"),
        ({"prompt": "code"}, "unknown_prompt", "nearest: coder"),
        ({"chara_card": "pirates"}, "unknown_card", "nearest: pirate"),
    ],
)
async def test_an_unknown_name_comes_back_with_the_nearest_ones(connected, arguments, code, hint):
    """Issue 2, bad input: unknown model, prompt or card (nearest names given)."""
    async with connected() as (client, _):
        error = await refused(client, "talk", content="hi", **arguments)
    assert (error["code"], error["retryable"]) == (code, False)
    assert hint in error["message"]


async def test_a_provider_error_keeps_its_code_and_how_long_to_wait(connected):
    async with connected(RateLimited("slow down", retry_after_s=7.0, status=429)) as (client, _):
        error = await refused(client, "talk", content="hi")
    assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("rate_limited", True, 7000)
    assert error["details"]["status"] == 429
    assert error["details"]["chat_session"] == "default"


async def test_a_failure_is_told_again_as_it_was(connected):
    failing = RateLimited("slow down", retry_after_s=7.0, status=429, known=("a", "b"))
    async with connected(failing) as (client, _):
        error = await refused(client, "talk", content="hi")
        assert await refused(client, "wait_for_reply") == error


async def test_partial_text_in_an_error_stays_within_the_limit_of_a_message(connected):
    """DESIGN section 5: no message above 8 MiB on the wire."""
    async with connected(Unavailable("broken off", partial="x" * 9_000_000)) as (client, _):
        error = await refused(client, "talk", content="hi")
        assert error["details"]["partial"].endswith("x…")
        assert len(error["details"]["partial"]) == 1024 * 1024
        history = (await call(client, "get_history")).structured_content
        assert history["message_count"] == 2


async def test_a_bug_is_told_without_its_text(connected):
    async with connected(ZeroDivisionError("secret")) as (client, _):
        error = await refused(client, "talk", content="hi")
    assert error["code"] == "internal"
    assert "secret" not in json.dumps(error)


async def test_an_unknown_tool_is_a_protocol_error(connected):
    async with connected() as (client, _):
        with pytest.raises(MCPError, match="unknown tool 'tell'") as caught:
            await client.call_tool("tell", {})
    assert caught.value.code == -32602


async def test_a_reply_that_takes_too_long_is_picked_up_later(connected):
    held = Held("so far", " and on")
    async with connected(held) as (client, _):
        running = (await call(client, "talk", content="hi", timeout_ms=0)).structured_content
        assert running["status"] == "running"
        assert f"turn_id={running['turn_id']!r}" in running["next"]

        await held.reached.wait()
        still = (await call(client, "wait_for_reply", timeout_ms=1)).structured_content
        assert (still["status"], still["reply"]) == ("running", "so far")
        held.let_go.set()
        done = (await call(client, "wait_for_reply", turn_id=running["turn_id"])).structured_content
        assert (done["status"], done["reply"]) == ("completed", "so far and on")
        assert (await call(client, "wait_for_reply")).structured_content == done


async def test_the_servers_own_wait_ends_before_clients_give_up(connected):
    async with connected(Held(), inline_wait_s=0.01) as (client, _):
        result = await call(client, "talk", content="hi")
    assert result.structured_content["status"] == "running"


async def test_interrupt_answers_the_waiting_talk_with_what_was_said(connected):
    held = Held("half")
    async with connected(held) as (client, _), anyio.create_task_group() as tasks:
        answers = []

        async def talk():
            answers.append((await call(client, "talk", content="hi")).structured_content)

        tasks.start_soon(talk)
        await held.reached.wait()
        stopped = (await call(client, "interrupt")).structured_content
        assert (stopped["status"], stopped["reply"]) == ("interrupted", "half")
    assert answers == [stopped]


async def test_errors_of_sessions_have_their_codes(connected):
    async with connected(Held()) as (client, _):
        assert (await refused(client, "interrupt"))["code"] == "no_task"
        assert (await refused(client, "interrupt", chat_session="none"))["code"] == "not_found"
        assert (await refused(client, "get_history", chat_session="none"))["code"] == "not_found"
        assert (await refused(client, "wait_for_reply"))["code"] == "not_found"
        turn = (await call(client, "talk", content="hi", timeout_ms=0)).structured_content
        busy = await refused(client, "talk", content="again")
        assert (busy["code"], busy["details"]["turn_id"]) == ("busy", turn["turn_id"])


async def test_progress_tells_the_text_as_it_comes(connected):
    """Issue 2: progress while the reply streams."""
    held = Held("first words")
    heard: list[tuple[float, str | None]] = []
    begun = anyio.Event()

    async def listen(progress, total, message):
        heard.append((progress, message))
        begun.set()

    async with connected(held) as (client, _), anyio.create_task_group() as tasks:

        async def talk():
            result = await client.call_tool("talk", {"content": "hi"}, progress_callback=listen)
            assert result.structured_content["reply"] == "first wordsdone"

        tasks.start_soon(talk)
        await begun.wait()
        held.let_go.set()
    assert heard[0][1] == "first words"
    values = [value for value, _ in heard]
    assert values == sorted(set(values))


def running(catalog) -> Turn:
    """A turn that nobody runs."""
    return Turn(
        claim=Claim("", "work", "t1"),
        said=user("hi"),
        chosen=choose(Talk(content="hi"), Choices(), catalog, "plain"),
        call=Held(),
        limit_s=5,
    )


async def test_who_comes_late_hears_at_once_what_was_said(catalog):
    turn = running(catalog)
    heard: list[str] = []
    await turn.heard(TextDelta("so far"))

    async def report(seconds, text):
        heard.append(text)
        turn.done.set()

    with anyio.fail_after(5):
        await progress.follow(turn, report, heartbeat_s=60)
    assert heard == ["so far"]


async def test_a_silent_model_gives_signs_of_life_that_rise(catalog):
    """Progress is never the only carrier of the reply, and never silent."""
    heard: list[tuple[float, str]] = []
    turn = running(catalog)

    async def report(seconds, text):
        heard.append((seconds, text))
        if len(heard) == 2:
            turn.done.set()

    with anyio.fail_after(5):
        await progress.follow(turn, report, heartbeat_s=0.001)
    assert [text for _, text in heard] == ["plain: 0 characters so far (0 s)"] * 2
    assert heard[0][0] < heard[1][0]
