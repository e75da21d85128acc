"""A store that is full or cannot be reached: who hears of it, what is kept, and how it goes on afterwards."""

import anyio
import pytest

from eai_mcp.chat.choose import choose
from eai_mcp.chat.turn import Turn
from eai_mcp.chat.values import Talk
from eai_mcp.errors import Conflict, Internal, StorageFull, StorageUnavailable, TurnFailed
from eai_mcp.formats import Tally
from eai_mcp.messages import ToolUseBlock, Usage, assistant, user
from eai_mcp.store import Choices, Claim, Start
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import QUICK_S, Faulty, ask, asks, begin, history, opened, outcome, replaced, uses
from tests.fakes import Held, Scripted, said


def full():
    return StorageFull("the disk is full")


LOOK = ToolUseBlock("u1", "look", {})


async def test_what_cannot_be_kept_is_not_begun(catalog):
    """Issue 4, bad input: disk full: a clear error, nothing acknowledged lost."""
    store = Faulty(claim=full())
    async with opened(catalog, said("ok"), store=store) as (registry, call):
        with pytest.raises(StorageFull):
            await ask(registry, "a", session="work")
        assert call.requests == []
        assert await registry.sessions("", prefix="work") == []
        store.faults.clear()
        assert (await ask(registry, "a", session="work")).reply == "ok"


async def test_a_history_that_cannot_be_read_fails_the_turn(catalog):
    store = Faulty(load=StorageUnavailable("not a database"))
    async with opened(catalog, said("ok"), store=store) as (registry, call):
        with pytest.raises(StorageUnavailable):
            await ask(registry, "a")
        assert call.requests == []
        store.faults.clear()
        assert (await ask(registry, "a")).reply == "ok"
        assert await history(registry) == [user("a"), assistant("ok")]


async def test_a_step_that_cannot_be_kept_fails_the_turn_before_the_next_call(catalog):
    store = Faulty(append=full())
    async with opened(catalog, uses(LOOK), said("ok"), store=store) as (registry, call):
        with pytest.raises(StorageFull):
            await ask(registry, "a")
        assert len(call.requests) == 1
        assert await history(registry) == []
        assert (await registry.session("", "default")).usage == Usage(2, 3)
        assert (await ask(registry, "a")).reply == "ok"


@pytest.mark.parametrize("fault", [full(), StorageUnavailable("gone"), RuntimeError("no such table")])
async def test_a_reply_that_cannot_be_saved_is_in_the_error(catalog, fault):
    """Issue 4, bad input: recovery without a restart where the fault ends."""
    store = Faulty(settle=fault)
    async with opened(catalog, said("the reply"), said("again"), store=store) as (registry, call):
        expected = Internal if isinstance(fault, RuntimeError) else type(fault)
        with pytest.raises(expected) as caught:
            await ask(registry, "a", request_id="r1")
        assert caught.value.details["partial"] == "the reply"
        with pytest.raises(expected):
            await outcome(registry)
        with pytest.raises(expected):
            await ask(registry, "a", request_id="r1")

        if expected is not Internal:
            with pytest.raises(expected):  # still so
                await ask(registry, "a")
        store.faults.clear()
        assert (await ask(registry, "a")).reply == "again"
        assert call.requests[-1].messages == (user("a"),)
        assert await history(registry) == [user("a"), assistant("again")]
        assert (await registry.session("", "default")).usage == Usage(4, 6)
        with pytest.raises(TurnFailed) as again:
            await ask(registry, "a", request_id="r1")
        assert (again.value.code, again.value.details["partial"]) == (expected.code, "the reply")


async def test_the_end_of_a_turn_is_saved_once_the_fault_ends(catalog):
    """Issue 4, bad input: recovery without a restart where the fault ends."""
    store = Faulty(settle=full())
    async with opened(catalog, said("lost"), store=store, renew_s=QUICK_S) as (registry, _):
        with pytest.raises(StorageFull):
            await ask(registry, "a")
        await store.until("settle", 2)
        assert (await registry.session("", "default")).running is not None
        store.faults.clear()
        await store.until("settled", 1)
        row = await registry.session("", "default")
        assert (row.running, row.message_count) == (None, 0)
        with pytest.raises(TurnFailed, match="the disk is full"):
            await outcome(registry)


@pytest.mark.parametrize("way", ["close", "replace", "revert", "wait", "interrupt"])
async def test_whoever_comes_next_saves_the_end_of_a_turn(catalog, way):
    store = Faulty(settle=[full()])
    async with opened(catalog, said("1"), said("2"), store=store, renew_s=60) as (registry, _):
        await registry.ensure("", "work")
        with pytest.raises(StorageFull):
            await ask(registry, "a", session="work")
        match way:
            case "close":
                await registry.close("", "work")
            case "replace":
                assert (await replaced(registry, "work", [user("x")])).revision == 2
            case "revert":
                assert (await registry.archive.revert("", "work", 1, tally=Tally())).revision == 2
            case if_busy:
                assert (await ask(registry, "b", session="work", if_busy=if_busy)).reply == "2"


async def test_an_answer_that_cannot_be_saved_leaves_the_question_open(catalog):
    store = Faulty(settle=[])
    async with opened(catalog, uses(asks()), said("1"), said("2"), store=store) as (registry, _):
        asked = await ask(registry, "a")
        store.faults["settle"] = [full()]
        with pytest.raises(StorageFull):
            await ask(registry, "red")
        assert await history(registry) == []
        done = await ask(registry, "red")
        assert (done.reply, done.turn_id) == ("2", asked.turn_id)
        assert len(await history(registry)) == 4


async def test_a_partial_text_that_cannot_be_saved_is_in_the_error_too(catalog):
    held = Held("half a")
    store = Faulty(settle=[full()])
    async with opened(catalog, held, store=store) as (registry, _):
        await begin(registry, "a")
        await held.reached.wait()
        with pytest.raises(StorageFull) as caught:
            await registry.interrupt("", "default")
        assert caught.value.details["partial"] == "half a"


async def test_a_failure_that_cannot_be_saved_is_told_as_the_stores(catalog):
    store = Faulty(settle=[full()])
    async with opened(catalog, ValueError("a bug"), said("ok"), store=store) as (registry, _):
        with pytest.raises(StorageFull) as caught:
            await ask(registry, "a")
        assert "partial" not in caught.value.details
        assert (await ask(registry, "a")).reply == "ok"


async def test_a_store_that_never_answers_does_not_hold_the_turn(catalog):
    class Stuck(SqliteStore):
        async def settle(self, claim, settlement):
            await anyio.sleep_forever()

    store, message = Stuck(None), user("a")
    claim = await store.claim("", "work", Start(turn_id="t1", message=message))
    assert isinstance(claim, Claim)
    chosen = choose(Talk(content="a"), Choices(), catalog, "plain")
    turn = Turn(
        claim=claim, said=message, chosen=chosen, call=Scripted([said("lost")]), limit_s=9, save_s=0.02
    )
    with anyio.fail_after(5):
        await turn.run(store)
    assert isinstance(turn.ending, StorageUnavailable)
    assert turn.ending.message == "the turn could not be saved within 0.02 s"
    assert turn.ending.details["partial"] == "lost"
    assert turn.unsaved is not None


async def test_a_session_that_others_change_without_end_is_given_up(catalog):
    store = Faulty(claim=Conflict("session 'default' has changed meanwhile"))
    async with opened(catalog, store=store) as (registry, _):
        with pytest.raises(Conflict):
            await ask(registry, "a")


async def test_a_session_that_changed_meanwhile_is_looked_at_again(catalog):
    class Changing(SqliteStore):
        is_first = True

        async def claim(self, space, name, start):
            if self.is_first:
                self.is_first = False
                await registry.fork("", "cards", name)
            return await super().claim(space, name, start)

    store = Changing(None)
    async with opened(catalog, said("1"), said("2"), store=store) as (registry, _):
        store.is_first = False
        await ask(registry, "a", session="cards", card="clerk")
        store.is_first = True
        turn = await registry.begin("", Talk(content="b", session="work"))
        assert (await registry.reply(turn, 5)).effective.card == "clerk"
