"""Questions that one server process asks and another answers, drops, or dies over."""

import anyio
import pytest

from tests.e2e.silent_provider import answered, begun, told

pytestmark = pytest.mark.timeout(60)
RULES = """
from pathlib import Path

import anyio

from eai_mcp.messages import TextBlock
from eai_mcp.middleware import Ask, Refuse, ToolOutcome

HERE = Path(__file__).parent


class Rules:
    async def turn(self, given, go_on):
        if given.asked is not None and given.message.text == "hold":
            (HERE / "holding").touch()
            await anyio.sleep_forever()
        if given.message.text == "sure?":
            return Ask("really?", {"n": 1})
        return await go_on(given)

    async def tool(self, run, go_on):
        if run.answer is None:
            return Ask(f"run {run.name}?")
        if run.answer == "hold":
            (HERE / "holding").touch()
            await anyio.sleep_forever()
        if run.answer not in ("approve", "approve slowly"):
            return Refuse("the person said no")
        with (HERE / "ran").open("a", encoding="utf-8") as file:
            file.write(run.answer + "\\n")
        return ToolOutcome((TextBlock(run.answer),))


class Slow:
    async def call(self, request, emit, go_on):
        last = request.messages[-1].content[0]
        if getattr(last, "content", ()) and last.content[0].text == "approve slowly":
            (HERE / "holding").touch()
            await anyio.sleep_forever()
        return await go_on(request, emit)
"""
MODEL = """provider = "scripted"
model = "m"
quirks = { replies = [
    { text = "gone", when = { after_tool = "rm" } },
    { tools = [{ name = "rm" }], when = { exact = "remove" } },
    { tools = [{ name = "ask_user", input = { question = "Which colour?" } }], when = { exact = "paint" } },
    { text = "Painted.", when = { after_tool = "ask_user" } },
] }
"""


@pytest.fixture
def rules(house):
    """A house whose servers ask before tools run, and hold still when they are told to."""
    (house.folder / "rules.py").write_text(RULES, encoding="utf-8")
    (house.folder / "models" / "m.toml").write_text(MODEL, encoding="utf-8")
    house.environment |= {
        "PYTHONPATH": str(house.folder),
        "EAI_MCP_MIDDLEWARE": "rules:Rules,rules:Slow",
        "EAI_MCP_MODEL": "m",
    }
    house.command[house.command.index("--model") + 1] = "m"
    return house


def ran(house):
    file = house.folder / "ran"
    return file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []


async def open_question(wire):
    """The text of the question that the session waits with, None if it waits with none."""
    (row,) = (await told(wire, "list_sessions"))["sessions"]
    return row.get("question")


async def resumed(house, here, there, content, answer):
    """Let a process ask, and hold still in the middle of the answer; the call's number and the turn's id."""
    asked = await told(here, "talk", content=content)
    assert asked["status"] == "awaiting_input"
    number = await begun(here, content=answer)
    with anyio.fail_after(10):
        while not (house.folder / "holding").exists():
            await told(there, "list_sessions")
    return number, asked["turn_id"]


@pytest.mark.parametrize(
    ("content", "question", "answer", "reply"),
    [
        ("sure?", "really?", "yes", "yes"),
        ("remove", "run rm?", "approve", "gone"),
        ("paint", "Which colour?", "blue", "Painted."),
    ],
)
async def test_what_one_process_asks_another_is_told(rules, content, question, answer, reply):
    """Issue 6: "Yield and resume: `awaiting_input` by the model's `ask_user`, by a middleware, by an
    approval"; "the answer goes to the paused step, not to a fresh turn"."""
    async with rules.server() as here, rules.server() as there:
        asked = await told(here, "talk", content=content)
        assert (asked["reply"], await open_question(there)) == (question, question)
        done = await told(there, "talk", content=answer)
        assert (done["status"], done["reply"], done["turn_id"]) == ("completed", reply, asked["turn_id"])
        assert await open_question(here) is None
        assert (await told(here, "wait_for_reply", chat_session="default"))["reply"] == reply


async def test_two_processes_that_answer_at_once_run_the_tool_once(rules):
    """Issue 6: "the answer goes to the paused step": there is one answer, and who comes second hears so."""
    async with rules.server() as here, rules.server() as there:
        number, turn_id = await resumed(rules, here, there, "remove", "approve slowly")
        error = await there.error("talk", content="approve")
        assert (error["code"], error["details"]["turn_id"]) == ("busy", turn_id)
        await told(there, "interrupt", chat_session="default")
        assert (await answered(here, number))["status"] == "interrupted"
    assert ran(rules) == ["approve slowly"]


async def test_an_interrupt_from_another_process_drops_a_question_whose_answer_is_on_its_way(rules):
    """Issue 6: "`interrupt` drops it"."""
    async with rules.server() as here, rules.server() as there:
        number, turn_id = await resumed(rules, here, there, "remove", "hold")
        stopped = await told(there, "interrupt", chat_session="default")
        assert (stopped["status"], stopped["turn_id"]) == ("interrupted", turn_id)
        assert (await answered(here, number))["status"] == "interrupted"
        assert await open_question(there) is None
        fresh = await told(there, "talk", content="approve")
        assert (fresh["reply"], fresh["turn_id"] == turn_id) == ("approve", False)
    assert ran(rules) == []


async def test_a_process_killed_before_the_tool_ran_leaves_the_question_and_says_so(rules):
    """Issue 6: "a rejected or failed resume keeps the question"."""
    async with rules.server() as here, rules.server() as there:
        _, turn_id = await resumed(rules, here, there, "remove", "hold")
        here.process.kill()
        await here.process.wait()
        cut = await told(there, "wait_for_reply", chat_session="default")
        assert (cut["status"], cut["stop_reason"], cut["turn_id"]) == ("interrupted", "cut_off", turn_id)
        assert "the question is still open" in cut["warnings"][0]
        assert await open_question(there) == "run rm?"
        done = await told(there, "talk", content="approve")
        assert (done["reply"], done["turn_id"]) == ("gone", turn_id)
    assert ran(rules) == ["approve"]


async def test_a_process_killed_after_the_tool_ran_does_not_let_it_run_again(rules):
    """Issue 6: "the answer goes to the paused step"; what was done with an answer is done once."""
    async with rules.server() as here, rules.server() as there:
        _, turn_id = await resumed(rules, here, there, "remove", "approve slowly")
        here.process.kill()
        await here.process.wait()
        assert await open_question(there) is None
        page = await told(there, "get_history", chat_session="default")
        (result,) = page["messages"][-1]["content"]
        assert (result["type"], result["failed"]) == ("tool_result", False)
        done = await told(there, "talk", content="approve")
        assert (done["reply"], done["turn_id"] == turn_id) == ("approve", False)
    assert ran(rules) == ["approve slowly"]
