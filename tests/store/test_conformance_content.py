"""What every store must do: give back what it was given, however strange or long."""

import pytest

from eai_mcp.errors import NoTask, NotFound
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    assistant,
    user,
)
from eai_mcp.store import Choices, Known, Outcome, Put, Question, Running, Settlement
from tests.store.taking import claim, ended, row, scanned, take

STRANGE = [
    "\ud800",
    "\udfff\ud800 the wrong way round",
    "a\0b",
    "\u2028\u2029\x85\r\n\t\x1b[0m",
    "\N{GRINNING FACE} \N{COMBINING ACUTE ACCENT}e \ufeff\ufffe\uffff",
    '"; DROP TABLE sessions; --',
    "",
]


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
async def test_strange_text_comes_back_as_it_was(store, text):
    """Issue 4: lone surrogates and NUL in text."""
    claimed = await claim(store, "t1", text)
    await store.append(claimed, [Message("assistant", (ToolUseBlock("u1", "clock", {"x": [text]}),))])
    result = Message("user", (ToolResultBlock("u1", (TextBlock(text),)),))
    await store.append(claimed, [result])
    await store.settle(claimed, ended("t1", assistant(text), choices=Choices(system=text, card=text)))

    history = [entry.message for entry in await store.load("", "work")]
    use = Message("assistant", (ToolUseBlock("u1", "clock", {"x": [text]}),))
    assert history == [user(text), use, result, assistant(text)]
    assert (await row(store)).choices == Choices(system=text, card=text)
    assert await store.find("", "work") == (ended("t1").outcome, text)


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
async def test_strange_text_beside_the_messages_comes_back_too(store, text):
    claimed = await claim(store, "t1", report={"x": text})
    await store.renew({claimed: f"so {text}"})
    assert (await row(store)).running == Running("t1", 100.0, f"so {text}")

    asked = Question("t1", text, {"deep": [{"x": text}]})
    outcome = Outcome(turn_id="t1", status="awaiting_input", report={"x": text})
    await store.settle(claimed, Settlement(outcome=outcome, question=asked))
    assert (await row(store)).question == asked
    found = await store.find("", "work")
    assert isinstance(found, tuple)
    assert found[0] == outcome


@pytest.mark.parametrize("strange", STRANGE, ids=ascii)
async def test_strange_ids_of_requests_are_told_apart(store, strange):
    await claim(store, "t1", request_id=strange, name="first")
    await claim(store, "t2", request_id=f"{strange}-", name="second")

    assert await store.repeated("", "first", strange) == Known("t1")
    assert await store.repeated("", "second", strange) is None


@pytest.mark.parametrize("strange", STRANGE, ids=ascii)
async def test_strange_ids_of_turns_are_of_no_turn(store, strange):
    claimed = await claim(store, "t1")

    with pytest.raises(NotFound):
        await store.find("", "work", strange)
    with pytest.raises(NoTask):
        await store.interrupt("", "work", strange)
    await store.attend("", "work", strange)
    assert (await store.look([claimed])).interrupted == frozenset()


async def test_every_kind_of_block_comes_back(store):
    told = (TextBlock("see"), ImageBlock("image/png", "aGk="), DocumentBlock("application/pdf", "aGk=", "d"))
    messages = (
        Message(
            "assistant",
            (ThinkingBlock("hm", "seal"), TextBlock("well"), ToolUseBlock("u", "t", {"a": [1, 0.5, None]})),
            state=ProviderState("p", "m", {"raw": [1, {"x": None}]}),
        ),
        Message("user", (ToolResultBlock("u", told, failed=True),)),
        assistant("half", partial=True),
    )
    claimed = await claim(store, "t1", user(told))
    await store.settle(claimed, ended("t1", *messages))

    assert [entry.message for entry in await store.load("", "work")] == [user(told), *messages]
    await store.put(
        "",
        [Put(name="copy", lines=await scanned(store))],
    )
    assert await store.load("", "copy") == await store.load("", "work")


async def test_a_long_message_comes_back(store):
    text = "0123456789ab" * 1_000_000
    await take(store, "t1", text, "short")

    assert [entry.message for entry in await store.load("", "work")] == [user(text), assistant("short")]


@pytest.mark.parametrize("size", [1, 50])
async def test_many_messages_in_one_step_come_back(store, size):
    steps = [assistant(f"step {number}") for number in range(size)]
    claimed = await claim(store, "t1")
    await store.append(claimed, steps)
    await store.settle(claimed, ended("t1", *steps))

    assert [entry.message for entry in await store.load("", "work")] == [user("hi"), *steps, *steps]
