"""Sessions as a whole: made, closed, copied, replaced, read in pages, and apart by whose they are."""

import pytest

from eai_mcp.chat.values import Talk
from eai_mcp.errors import (
    AlreadyExists,
    CannotClose,
    InvalidArgument,
    NotFound,
    SessionBusy,
)
from eai_mcp.formats import Tally
from eai_mcp.messages import Message, ToolUseBlock, assistant, user
from eai_mcp.store import Choices
from tests.chat.taking import (
    ask,
    asks,
    begin,
    history,
    opened,
    outcome,
    process,
    replaced,
    result,
    texts,
    uses,
)
from tests.fakes import Held, said

USE = Message("assistant", (ToolUseBlock("u1", "look", {}),))
RESULT = user((result("u1", "the sea"),))


async def test_the_default_session_is_always_there(catalog):
    """Issue 4: lazily made sessions; `default`."""
    async with opened(catalog) as (registry, _):
        assert await history(registry) == []
        assert [row.name for row in await registry.sessions("")] == ["default"]
        assert (await registry.session("", "default")).message_count == 0
        with pytest.raises(NotFound):
            await history(registry, "other")
        with pytest.raises(NotFound, match="no session named"):
            await registry.session("", "other")


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", "..", "a/b", "\ud800", "ü"])
async def test_a_name_that_no_session_may_have_is_refused_everywhere(catalog, name):
    """Issue 4: name rules."""
    async with opened(catalog) as (registry, _):
        for door in (
            registry.ensure("", name),
            registry.close("", name),
            registry.session("", name),
            registry.history("", name),
            registry.find("", name),
            registry.interrupt("", name),
            registry.fork("", name, "new"),
            registry.fork("", "default", name),
            replaced(registry, name, []),
            registry.archive.revert("", name, 1, tally=Tally()),
            registry.begin("", Talk(content="a", session=name)),
        ):
            with pytest.raises(InvalidArgument, match=r"chat_session|new_session"):
                await door
        assert len(await registry.sessions("")) == 1


async def test_a_session_is_made_once(catalog):
    async with opened(catalog) as (registry, _):
        assert await registry.ensure("", "work")
        assert not await registry.ensure("", "work")
        assert [row.name for row in await registry.sessions("")] == ["default", "work"]


async def test_sessions_are_listed_in_pages(catalog):
    async with opened(catalog) as (registry, _):
        for name in ("b2", "b1", "a", "c"):
            await registry.ensure("", name)
        assert [row.name for row in await registry.sessions("", prefix="b")] == ["b1", "b2"]
        page = await registry.sessions("", after="b1", limit=2)
        assert [row.name for row in page] == ["b2", "c"]


async def test_a_session_is_closed_unless_it_is_the_default_unknown_or_busy(catalog):
    """Issue 4: `close_session` (with the original's three errors)."""
    held = Held()
    async with opened(catalog, held) as (registry, _):
        with pytest.raises(CannotClose):
            await registry.close("", "default")
        with pytest.raises(NotFound, match="no session named 'work'"):
            await registry.close("", "work")
        turn = await begin(registry, "a", session="work")
        await held.reached.wait()
        with pytest.raises(SessionBusy) as caught:
            await registry.close("", "work")
        assert caught.value.details["turn_id"] == turn.turn_id
        held.let_go.set()
        await registry.reply(turn, 5)
        await registry.close("", "work")
        with pytest.raises(NotFound):
            await outcome(registry, turn.turn_id, "work")


async def test_a_fork_has_the_history_and_the_choices_and_goes_its_own_way(catalog):
    async with opened(catalog, said("1"), said("to the copy"), said("to the first")) as (registry, _):
        await ask(registry, "a", session="work", model="other")
        row = await registry.fork("", "work", "copy")
        assert (row.name, row.message_count, row.choices) == ("copy", 2, Choices(model="other"))
        assert (await ask(registry, "b", session="copy")).effective.model == "other"
        await ask(registry, "c", session="work")
        assert await texts(registry, "copy") == ["a", "1", "b", "to the copy"]
        assert await texts(registry, "work") == ["a", "1", "c", "to the first"]


async def test_a_fork_may_end_at_any_message_that_leaves_the_pairs_whole(catalog):
    """Issue 4: tool pairing always valid."""
    async with opened(catalog) as (registry, _):
        await replaced(registry, "work", [user("a"), USE, RESULT, assistant("b")])
        for upto, count in ((0, 0), (1, 1), (3, 3), (4, 4)):
            row = await registry.fork("", "work", f"copy-{upto}", upto=upto)
            assert row.message_count == count
        with pytest.raises(InvalidArgument, match="take 1 or 3"):
            await registry.fork("", "work", "copy", upto=2)
        for upto in (5, -1):
            with pytest.raises(InvalidArgument, match=f"no message {upto}"):
                await registry.fork("", "work", "copy", upto=upto)
        with pytest.raises(NotFound):
            await registry.session("", "copy")


async def test_a_fork_needs_a_source_and_a_new_name(catalog):
    async with opened(catalog) as (registry, _):
        with pytest.raises(NotFound):
            await registry.fork("", "nowhere", "copy")
        for taken in ("default", "work"):
            await registry.ensure("", taken)
            with pytest.raises(AlreadyExists):
                await registry.fork("", "default", taken)
        assert (await registry.fork("", "default", "copy", upto=0)).message_count == 0


async def test_a_replaced_history_is_what_the_model_sees_and_can_be_had_back(catalog):
    """Issue 4: `replace_history` refused while busy and undoable."""
    async with opened(catalog, said("1"), said("2"), said("3")) as (registry, call):
        await ask(registry, "a", session="work", model="other")
        assert (await replaced(registry, "work", [user("x"), USE, RESULT])).revision == 2
        done = await ask(registry, "b", session="work")
        assert done.effective.model == "other"
        assert call.requests[1].messages == (user("x"), USE, RESULT, user("b"))
        assert (await registry.archive.revert("", "work", 1, tally=Tally())).revision == 3
        await ask(registry, "c", session="work")
        assert call.requests[2].messages == (user("a"), assistant("1"), user("c"))
        for revision in (0, 9):
            with pytest.raises(NotFound, match=f"no revision {revision}"):
                await registry.archive.revert("", "work", revision, tally=Tally())
        with pytest.raises(NotFound):
            await registry.archive.revert("", "nowhere", 1, tally=Tally())


async def test_a_history_is_not_replaced_while_a_turn_runs(catalog):
    """Issue 4: `replace_history` refused while busy and undoable."""
    held = Held()
    async with opened(catalog, said("1"), held) as (registry, _):
        await ask(registry, "a")
        await begin(registry, "b")
        await held.reached.wait()
        with pytest.raises(SessionBusy):
            await replaced(registry, "default", [user("x")])
        with pytest.raises(SessionBusy):
            await registry.archive.revert("", "default", 1, tally=Tally())
        assert await texts(registry) == ["a", "1"]


async def test_a_replaced_history_drops_the_question_that_waited(catalog):
    async with opened(catalog, uses(asks()), said("ok")) as (registry, call):
        asked = await ask(registry, "a")
        await replaced(registry, "default", [user("x")])
        assert (await registry.session("", "default")).question is None
        assert (await outcome(registry, asked.turn_id)).status == "interrupted"
        assert (await ask(registry, "b")).turn_id != asked.turn_id
        assert call.requests[1].messages == (user("x"), user("b"))


async def test_a_history_is_read_in_pages_by_number_and_by_size(catalog):
    """Issue 4: `get_history` paged."""
    async with opened(catalog) as (registry, _):
        await replaced(registry, "default", [user("x" * 1000) for _ in range(5)])

        async def page(**where):
            return [entry.seq for entry in await registry.history("", "default", **where)]

        assert await page() == [1, 2, 3, 4, 5]
        assert await page(after=1, limit=2) == [2, 3]
        assert await page(most_bytes=1) == [1]
        assert await page(after=1, most_bytes=1500) == [2, 3]
        assert await page(after=5) == []


async def test_a_session_of_another_process_is_seen_at_once(catalog, tmp_path):
    """Issue 4: several server processes share it, each seeing the others' sessions."""
    path = tmp_path / "sessions.db"
    async with process(catalog, path, said("1")) as (here, _), process(catalog, path) as (there, _):
        await ask(here, "a", session="work")
        assert await texts(there, "work") == ["a", "1"]
        await there.close("", "work")
        assert [row.name for row in await here.sessions("")] == ["default"]


async def test_spaces_are_apart(catalog):
    """DESIGN section 9: `space` is part of every name a caller can say."""
    async with opened(catalog, said("ann's"), said("bob's")) as (registry, call):
        turn = await registry.begin("ann", Talk(content="a", session="work", request_id="r1"))
        await registry.reply(turn, 5)
        for door in (
            registry.session("bob", "work"),
            registry.history("bob", "work"),
            registry.find("bob", "work", turn.turn_id),
            registry.interrupt("bob", "work"),
            registry.close("bob", "work"),
            registry.fork("bob", "work", "copy"),
            registry.archive.revert("bob", "work", 1, tally=Tally()),
        ):
            with pytest.raises(NotFound):
                await door
        assert [row.name for row in await registry.sessions("bob")] == ["default"]
        assert await registry.ensure("bob", "work")
        await replaced(registry, "work", [user("b")], space="bob")
        assert await texts(registry, "default") == []
        other = await registry.begin("bob", Talk(content="c", session="work", request_id="r1"))
        assert (await registry.reply(other, 5)).reply == "bob's"
        assert call.requests[1].messages == (user("b"), user("c"))
        assert len(await registry.history("ann", "work")) == 2


async def test_a_turn_in_one_space_does_not_make_the_same_name_busy_in_another(catalog):
    held = Held()
    async with opened(catalog, held, said("quick")) as (registry, _):
        await registry.begin("ann", Talk(content="a"))
        await held.reached.wait()
        turn = await registry.begin("bob", Talk(content="b"))
        assert (await registry.reply(turn, 5)).reply == "quick"
