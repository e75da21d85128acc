"""Questions that the model asks: the turn waits with one, and the next talk answers it."""

import pytest

from eai_mcp.calls import Samplers
from eai_mcp.chat.ending import RESUMED
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.questions import ASK_USER, NAME, ONE_AT_A_TIME, WITHDRAWN, WITHOUT_TEXT
from eai_mcp.errors import LimitExceeded, NoTask, Unavailable
from eai_mcp.messages import ImageBlock, Message, TextBlock, ToolResultBlock, ToolUseBlock, assistant, user
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import (
    ask,
    asks,
    begin,
    history,
    opened,
    outcome,
    process,
    result,
    uses,
)
from tests.fakes import Held, said
from tests.store.taking import unpaired

ASKED = Message("assistant", (asks("red or blue?"),))
QUESTION = said("", message=ASKED, stop="tools")


def answered(text, *, failed=False):
    return user((result("q1", text, failed=failed),))


async def test_a_question_is_the_reply_and_the_next_talk_answers_it(catalog):
    """Issue 4: a turn that yields, the answer: the turn completes."""
    async with opened(catalog, QUESTION, said("red it is")) as (registry, call):
        asked = await ask(registry, "a wall", session="work")
        assert (asked.status, asked.reply, asked.stop_reason) == ("awaiting_input", "red or blue?", "tools")
        assert await outcome(registry, session="work") == asked
        assert await history(registry, "work") == []
        row = await registry.session("", "work")
        assert row.question is not None
        assert (row.question.turn_id, row.question.text) == (asked.turn_id, "red or blue?")

        done = await ask(registry, "red", session="work")
        assert (done.status, done.reply, done.turn_id) == ("completed", "red it is", asked.turn_id)
        whole = [user("a wall"), ASKED, answered("red")]
        assert call.requests[1].messages == tuple(whole)
        assert await history(registry, "work") == [*whole, assistant("red it is")]
        row = await registry.session("", "work")
        assert (row.question, row.turns, row.message_count) == (None, 1, 4)
        assert await outcome(registry, session="work") == done


async def test_questions_may_follow_each_other(catalog):
    second = Message("assistant", (TextBlock("Good."), asks("how dark?", "q2")))
    async with opened(catalog, QUESTION, said("", message=second), said("done"), said("next")) as (
        registry,
        call,
    ):
        first = await ask(registry, "a wall")
        again = await ask(registry, "red")
        assert (again.status, again.reply, again.turn_id) == ("awaiting_input", "how dark?", first.turn_id)
        assert await history(registry) == []
        assert (await ask(registry, "very")).status == "completed"
        whole = [user("a wall"), ASKED, answered("red"), second, user((result("q2", "very"),))]
        assert call.requests[2].messages == tuple(whole)
        await ask(registry, "thanks")
        assert call.requests[3].messages == (*whole, assistant("done"), user("thanks"))


async def test_other_tools_of_the_step_have_their_results_beside_the_answer(catalog):
    """Issue 4: tool pairing always valid."""
    step = (ToolUseBlock("u1", "look", {}), asks("which?"), asks("and when?", "q2"))
    picture = ImageBlock("image/png", "aGk=")
    async with opened(catalog, uses(*step), said("ok")) as (registry, call):
        assert (await ask(registry, "a")).reply == "which?"
        await ask(registry, (TextBlock("this"), picture))
        answer = call.requests[1].messages[-1]
        assert answer.content == (
            result("u1", "there is no tool named 'look'", failed=True),
            ToolResultBlock("q1", (TextBlock("this"), picture)),
            result("q2", ONE_AT_A_TIME, failed=True),
        )
        assert unpaired(await history(registry)) == []


@pytest.mark.parametrize(("given", "text"), [({"text": "what?"}, "what?"), ({}, WITHOUT_TEXT)])
async def test_a_question_in_other_words_is_one_too(catalog, given, text):
    async with opened(catalog, uses(ToolUseBlock("q1", NAME, given))) as (registry, _):
        assert (await ask(registry, "a")).reply == text


async def test_the_tool_is_offered_where_the_card_lists_it(catalog, tmp_path):
    text = '{"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "A", "extensions": %s}}'
    card = text % '{"eai": {"tools": ["ask_user"]}}'
    (tmp_path / "cards" / "asker.json").write_text(card, encoding="utf-8")
    async with opened(catalog, said("1"), said("2")) as (registry, call):
        await ask(registry, "a", card="asker")
        await ask(registry, "b", card="")
        assert [request.tools for request in call.requests] == [(ASK_USER,), ()]


@pytest.mark.parametrize("fault", [Unavailable("503"), ValueError("a bug")])
async def test_an_answer_that_fails_leaves_the_question_open(catalog, fault):
    """DESIGN section 4: a question is removed only once the resume succeeded."""
    async with opened(catalog, QUESTION, fault, said("red it is")) as (registry, call):
        asked = await ask(registry, "a wall")
        with pytest.raises(Exception, match=r"503|internal error"):
            await ask(registry, "blue")
        row = await registry.session("", "default")
        assert row.question is not None
        assert await history(registry) == []
        done = await ask(registry, "red")
        assert (done.status, done.turn_id) == ("completed", asked.turn_id)
        assert call.requests[2].messages == (user("a wall"), ASKED, answered("red"))


async def test_an_answer_that_was_interrupted_is_kept_with_its_pairs(catalog):
    held = Held()
    async with opened(catalog, QUESTION, held, said("next")) as (registry, call):
        asked = await ask(registry, "a wall")
        await begin(registry, "red")
        await held.reached.wait()
        stopped = await registry.interrupt("", "default")
        assert (stopped.status, stopped.turn_id) == ("interrupted", asked.turn_id)
        assert (await registry.session("", "default")).question is None
        await ask(registry, "go on")
        assert call.requests[2].messages == (user("a wall"), ASKED, answered("red"), user("go on"))


async def test_a_question_survives_a_restart(catalog, tmp_path):
    """Issue 4: a turn that yields, a restart of the server, the answer: the turn completes."""
    path = tmp_path / "sessions.db"
    async with process(catalog, path, QUESTION) as (registry, _):
        asked = await ask(registry, "a wall", samplers=Samplers(temperature=0.0, stop_sequences=("x",)))
    async with process(catalog, path, said("red it is"), said("next")) as (registry, call):
        assert await outcome(registry) == asked
        done = await ask(registry, "red", samplers=Samplers(max_tokens=9))
        assert (done.status, done.turn_id) == ("completed", asked.turn_id)
        assert call.requests[0].samplers == Samplers(temperature=0.0, stop_sequences=("x",), max_tokens=9)
        assert await history(registry) == [
            user("a wall"),
            ASKED,
            answered("red"),
            assistant("red it is"),
        ]
        await ask(registry, "next")
        assert call.requests[1].samplers == Samplers()


async def test_a_question_is_answered_once_where_two_processes_try(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    async with process(catalog, path, QUESTION, held) as (here, _), process(catalog, path) as (there, _):
        asked = await ask(here, "a wall")
        turn = await begin(here, "red")
        await held.reached.wait()
        joined = await there.find("", "default")
        assert joined.turn_id == asked.turn_id
        with pytest.raises(Exception, match="is busy"):
            await begin(there, "blue")
        held.let_go.set()
        assert (await there.reply(joined, 5)).reply == (await here.reply(turn, 5)).reply == "done"


async def test_an_interrupt_withdraws_the_question(catalog):
    """DESIGN section 4: `interrupt` drops it."""
    async with opened(catalog, QUESTION, said("next")) as (registry, call):
        asked = await ask(registry, "a wall", metadata={"n": 1})
        with pytest.raises(NoTask):
            await registry.interrupt("", "default", "t_other")
        stopped = await registry.interrupt("", "default", asked.turn_id)
        assert (stopped.status, stopped.reply, stopped.turn_id) == ("interrupted", "", asked.turn_id)
        assert (stopped.stop_reason, stopped.metadata) == ("interrupted", {"n": 1})
        closed = [user("a wall"), ASKED, answered(WITHDRAWN, failed=True)]
        assert await history(registry) == closed
        assert (await outcome(registry)).status == "interrupted"
        assert (await registry.session("", "default")).question is None
        with pytest.raises(NoTask):
            await registry.interrupt("", "default")
        await ask(registry, "another")
        assert call.requests[1].messages == (*closed, user("another"))


async def test_an_interrupt_from_another_process_withdraws_the_question(catalog, tmp_path):
    path = tmp_path / "sessions.db"
    async with process(catalog, path, QUESTION) as (here, _), process(catalog, path) as (there, _):
        await ask(here, "a wall")
        stopped = await there.interrupt("", "default")
        assert await outcome(here) == await outcome(there) == stopped
        assert unpaired(await history(here)) == []


async def test_an_answer_whose_process_died_leaves_the_question_open(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held()
    dying = SqliteStore(path)
    async with opened(catalog, QUESTION, held, store=dying) as (here, _):
        asked = await ask(here, "a wall")
        await begin(here, "blue")
        await held.reached.wait()
        async with process(catalog, path, said("red it is")) as (there, call):
            await dying.aclose()
            cut = await outcome(there)
            assert (cut.status, cut.stop_reason, cut.warnings) == ("interrupted", "cut_off", (RESUMED,))
            assert (await registry_row(there)).question is not None
            done = await ask(there, "red")
            assert (done.reply, done.turn_id) == ("red it is", asked.turn_id)
            assert call.requests[0].messages == (user("a wall"), ASKED, answered("red"))


async def registry_row(registry):
    return await registry.session("", "default")


async def test_the_answer_is_part_of_the_turn_that_a_limit_let_begin(catalog):
    limits = Limits(session_turns=1)
    async with opened(catalog, QUESTION, said("ok"), limits=limits) as (registry, _):
        await ask(registry, "a wall")
        assert (await ask(registry, "red")).reply == "ok"
        with pytest.raises(LimitExceeded, match="1 turns of the 1"):
            await ask(registry, "more")


async def test_a_question_may_be_answered_with_another_model(catalog):
    async with opened(catalog, QUESTION, said("ok"), said("ok")) as (registry, _):
        assert (await ask(registry, "a wall", prompt="coder")).effective.model == "plain"
        done = await ask(registry, "red", model="other")
        assert (done.effective.model, done.effective.prompt) == ("other", "coder")
        assert (await ask(registry, "b")).effective == done.effective
