"""Two things at once: claims that are lost, answers, interrupts, and ends that are not saved."""

import anyio
import pytest

from eai_mcp.chat.values import Talk
from eai_mcp.errors import Conflict, LimitExceeded, NoTask, StorageFull
from eai_mcp.messages import JsonObject, Message, TextBlock, ToolUseBlock, assistant, user
from eai_mcp.observe import Fact
from eai_mcp.store import Claim, Start, endings
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import Faulty, ask, asks, begin, history, opened, outcome, process, result, uses
from tests.fakes import Held, said

LOOK = ToolUseBlock("u1", "look", {})


def step(text, *blocks):
    """An answer with words before it asks for tools."""
    return said(text, message=Message("assistant", (TextBlock(text), *blocks)), stop="tools")


async def test_a_turn_begins_where_one_that_lost_its_claim_still_runs(catalog):
    """Issue 4: turns that never lose anything; the one whose claim is gone is told, and stops paying."""
    store, first, second = SqliteStore(None), Held("one"), Held("two")
    async with opened(catalog, first, second, said("three"), store=store) as (registry, _):
        lost = await begin(registry, "a", session="work")
        await first.reached.wait()
        await store._writer.run(lambda c: endings.cut_off(c, lambda row: True, [1], 0.0))
        turn = await begin(registry, "b", session="work")
        await second.reached.wait()
        assert (await registry.reply(lost, 5)).stop_reason == "cut_off"
        assert first.cancelled
        assert (await registry.interrupt("", "work")).turn_id == turn.turn_id
        assert (await ask(registry, "c", session="work")).reply == "three"


async def test_a_question_that_cannot_be_withdrawn_stays_open_and_the_session_usable(catalog):
    class Full(SqliteStore):
        is_full = True

        async def withdraw(self, space, name, start, settlement):
            if self.is_full:
                raise StorageFull("the disk is full")
            await super().withdraw(space, name, start, settlement)

    store = Full(None)
    async with opened(catalog, uses(asks()), said("ok"), store=store) as (registry, _):
        await ask(registry, "a")
        with pytest.raises(StorageFull):
            await registry.interrupt("", "default")
        assert (await registry.session("", "default")).question is not None
        store.is_full = False
        assert (await registry.interrupt("", "default")).status == "interrupted"
        assert (await ask(registry, "b")).reply == "ok"


async def test_of_many_interrupts_of_a_question_one_withdraws_it(catalog, tmp_path):
    async with process(catalog, tmp_path / "s.db", uses(asks())) as (registry, _):
        await ask(registry, "a")
        ends: list[object] = []

        async def interrupt():
            try:
                ends.append((await registry.interrupt("", "default")).status)
            except NoTask:
                ends.append("no_task")

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(interrupt)
    assert sorted(ends, key=str) == ["interrupted", *["no_task"] * 5]


async def test_an_interrupt_reaches_a_turn_of_which_only_the_store_knows(catalog, tmp_path):
    path, held = tmp_path / "s.db", Held("so far")
    async with process(catalog, path, held) as (here, _), process(catalog, path) as (there, _):
        await begin(here, "a")
        await held.reached.wait()
        assert (await there.interrupt("", "default")).status == "interrupted"
        assert held.cancelled


async def test_the_words_of_a_finished_step_are_kept_once(catalog):
    """Issue 4: partial text kept and marked."""
    held = Held()
    async with opened(catalog, step("I look.", LOOK), held) as (registry, _):
        turn = await begin(registry, "a")
        await held.reached.wait()
        told = await registry.interrupt("", "default")
        assert told.reply == "" == (await outcome(registry, turn.turn_id)).reply
    no_tool = result("u1", "there is no tool named 'look'", failed=True)
    assert await history(registry) == [
        user("a"),
        step("I look.", LOOK).message,
        Message("user", (no_tool,)),
    ]


async def test_the_words_of_the_last_step_are_not_in_the_error_as_partial(catalog):
    steps = [step(f"step {number}", LOOK) for number in range(50)]
    async with opened(catalog, *steps) as (registry, _):
        with pytest.raises(LimitExceeded) as caught:
            await ask(registry, "a")
        assert "partial" not in caught.value.details
        assert sum(message.text == "step 49" for message in await history(registry)) == 1


async def test_an_end_that_could_not_be_saved_is_tried_once_more_at_the_close(catalog):
    store = Faulty(settle=[StorageFull("the disk is full")])
    async with opened(catalog, said("lost"), store=store) as (registry, _):
        with pytest.raises(StorageFull):
            await ask(registry, "a")
    row = await store.row("", "default")
    assert row is not None
    assert row.running is None
    assert await store.load("", "default") == []


async def test_what_waited_behind_a_turn_is_no_answer_to_its_question(catalog):
    """Issue 4: `if_busy` wait. What was said before the question was asked cannot be meant for it."""

    async def asks_at_last(request, emit):
        await held(request, emit)
        return uses(asks("delete the database?"))

    held = Held()
    async with opened(catalog, asks_at_last, said("deleted")) as (registry, call):
        await begin(registry, "job 1")
        await held.reached.wait()
        async with anyio.create_task_group() as tasks:

            async def queue():
                with pytest.raises(Conflict, match="'delete the database\\?'"):
                    await registry.begin("", Talk(content="yes, job 2", if_busy="wait"))

            tasks.start_soon(queue)
            await anyio.wait_all_tasks_blocked()
            held.let_go.set()
        assert len(call.requests) == 1
        assert (await ask(registry, "yes", if_busy="wait")).reply == "deleted"


async def test_a_card_that_allows_other_tools_only_keeps_the_model_from_asking(catalog, tmp_path):
    text = (tmp_path / "cards" / "clerk.json").read_text(encoding="utf-8")
    (tmp_path / "cards" / "mute.json").write_text(
        text.replace('"model": "other"', '"tools": []'), encoding="utf-8"
    )
    async with opened(catalog, uses(asks()), said("as you like")) as (registry, call):
        assert (await ask(registry, "a", card="mute")).reply == "as you like"
        (block,) = call.requests[1].messages[-1].content
        assert block == result("q1", "there is no tool named 'ask_user'", failed=True)


async def test_a_card_may_limit_its_turns(catalog, tmp_path):
    """DESIGN section 4: `turn_limit_s` (settings, model file, card)."""
    text = (tmp_path / "cards" / "clerk.json").read_text(encoding="utf-8")
    card = text.replace('"model": "other"', '"turn_limit_s": 7')
    (tmp_path / "cards" / "hasty.json").write_text(card, encoding="utf-8")
    async with opened(catalog, said("ok")) as (registry, call):
        await ask(registry, "a", card="hasty", model="hasty")
        deadline = call.requests[0].deadline
        assert deadline is not None
        assert deadline - anyio.current_time() <= 7


async def test_an_observer_that_fails_costs_no_turn(catalog):
    def fails(fact):
        raise RuntimeError("no disk for logs")

    async with opened(catalog, said("one"), said("two"), observe=fails) as (registry, _):
        assert (await ask(registry, "a")).reply == "one"
        assert (await ask(registry, "b")).reply == "two"


async def test_a_turn_that_could_not_be_saved_is_told_as_failed(catalog):
    facts: list[Fact] = []
    store = Faulty(settle=[StorageFull("the disk is full")])
    async with opened(catalog, said("lost"), store=store, observe=facts.append) as (registry, _):
        with pytest.raises(StorageFull):
            await ask(registry, "a")
    assert [fact.name for fact in facts][-2:] == ["turn.started", "turn.failed"]


async def test_a_turn_that_died_beside_a_step_tells_the_same_twice(catalog, tmp_path):
    path = tmp_path / "s.db"
    dying = SqliteStore(path)
    claim = await dying.claim("", "default", Start(turn_id="t1", message=user("a"), report=REPORT))
    assert isinstance(claim, Claim)
    await dying.append(claim, (step("I look.", LOOK).message, Message("user", (result("u1", "seen"),))))
    await dying.aclose()
    async with process(catalog, path) as (registry, _):
        told = await outcome(registry, "t1")
        assert (told.status, told.reply) == ("interrupted", "")
        assert assistant("I look.", partial=True) not in await history(registry)


REPORT: JsonObject = {"status": "interrupted", "effective": {"model": "plain"}, "stop_reason": "cut_off"}
