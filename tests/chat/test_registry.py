"""Turns that just go well, and what may be said in them."""

import anyio
import pytest

from eai_mcp.calls import AttemptFailed, Preparing, TextDelta, ThinkingDelta
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.values import Effective, TurnResult
from eai_mcp.errors import Conflict, InvalidArgument, LimitExceeded
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ToolUseBlock,
    Usage,
    assistant,
    user,
)
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import ask, begin, history, opened
from tests.fakes import Held, said


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_a_session_remembers_what_was_said(catalog, tmp_path, kind):
    store = SqliteStore(None if kind == "memory" else tmp_path / "sessions.db")
    async with opened(catalog, said("one"), said("two"), store=store) as (registry, call):
        first = await ask(registry, "a", session="work")
        second = await ask(registry, "b", session="work")

        assert first == TurnResult(
            status="completed",
            reply="one",
            session="work",
            turn_id=first.turn_id,
            effective=Effective(model="plain"),
            stop_reason="end",
            usage=Usage(input=2, output=3),
        )
        assert second.reply == "two"
        assert call.requests[1].messages == (user("a"), assistant("one"), user("b"))
        assert call.requests[0].system is None
        assert (call.requests[0].session, call.requests[0].turn_id) == ("work", first.turn_id)
        assert await history(registry, "work") == [
            user("a"),
            assistant("one"),
            user("b"),
            assistant("two"),
        ]
    await store.aclose()


@pytest.mark.parametrize("content", ["", " \n", ()])
async def test_empty_content_is_refused(catalog, content):
    async with opened(catalog) as (registry, _):
        with pytest.raises(InvalidArgument, match="content is empty"):
            await ask(registry, content)


async def test_content_that_is_too_long_is_refused_and_nothing_is_kept(catalog):
    async with opened(catalog, limits=Limits(message_bytes=4)) as (registry, _):
        with pytest.raises(LimitExceeded, match="content and system have 6 bytes; the limit is 4"):
            await ask(registry, "ééé", session="a")
        with pytest.raises(LimitExceeded):
            await ask(registry, "a", session="a", system="long")
        assert [row.name for row in await registry.sessions("")] == ["default"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a\ud800", "a lone surrogate at character 1"),
        ((ToolUseBlock("1", "run", {}),), "not tool_use"),
        ((ImageBlock("\ud800", "aGk="),), "media_type should be like image/png"),
        ((ImageBlock("image/png", "!!!"),), "data is not base64"),
        ((ImageBlock("image/png", "\ud800"),), "data is not base64"),
        ((DocumentBlock("a/b", "aGk=", "\ud800"),), "a lone surrogate at character 0"),
    ],
)
async def test_content_that_cannot_be_said_is_refused_and_nothing_is_kept(catalog, content, problem):
    """Issue 4, bad input: lone surrogates in text: a clear error."""
    async with opened(catalog) as (registry, _):
        with pytest.raises(InvalidArgument, match=problem):
            await ask(registry, content, session="a")
        assert [row.name for row in await registry.sessions("")] == ["default"]


async def test_an_image_alone_is_something_to_say(catalog):
    image = ImageBlock("image/png", "aGk=")
    async with opened(catalog, said("a picture")) as (registry, call):
        await ask(registry, (image,))
        assert call.requests[0].messages == (Message("user", (image,)),)


async def test_an_empty_reply_is_said_to_be_empty_and_not_sent_back(catalog):
    async with opened(catalog, said("", message=Message("assistant", ())), said("ok")) as (registry, call):
        result = await ask(registry, "a")
        assert (result.reply, result.warnings) == ("", ("the model's reply was empty",))
        await ask(registry, "b")
        assert call.requests[1].messages == (user("a"), user("b"))


async def test_what_is_heard_tells_what_the_model_is_doing(catalog):
    go = anyio.Event()

    async def prepares(request, emit):
        await emit(Preparing("fetching: 41 of 93 MB"))
        await go.wait()
        await emit(AttemptFailed("503"))
        assert turn.heard.doing == "trying again: 503"
        await emit(TextDelta("ab"))
        assert turn.heard.doing == "2 characters so far"
        await emit(ThinkingDelta("hm"))
        return said("ab")

    async with opened(catalog, prepares) as (registry, _):
        turn = await begin(registry, "a")
        while not turn.heard.note:
            await turn.heard.changed()
        assert turn.standing().progress == "fetching: 41 of 93 MB"
        go.set()
        assert (await registry.reply(turn, 5)).reply == "ab"
        assert turn.heard.note == "thinking"


def test_text_blocks_and_strings_are_the_same_message():
    assert user("a") == user((TextBlock("a"),))


async def test_who_waits_in_line_begins_nothing_while_the_server_ends(catalog):
    """Issue 4: a clean end: what ran is interrupted and saved, and nothing begins any more."""
    held = Held()
    async with opened(catalog, held, said("never")) as (registry, call):
        await begin(registry, "a")
        await held.reached.wait()
        refused: list[Conflict] = []

        async def waits():
            with pytest.raises(Conflict, match="the server is ending, and nothing was sent") as caught:
                await begin(registry, "b", if_busy="wait")
            refused.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            await anyio.wait_all_tasks_blocked()
            await registry.aclose()
        assert len(call.requests) == 1
        assert refused[0].retryable
