"""An operator's own code in the server process: middleware, observers, and the log of facts."""

import json

import anyio
import pytest

from tests.e2e.silent_provider import told
from tests.e2e.wire import LEGACY, MODERN, served

RULES = """
from dataclasses import replace

from eai_mcp.calls import ResourcePushed
from eai_mcp.errors import Refused
from eai_mcp.messages import TextBlock, user
from eai_mcp.middleware import Ask, Refuse, ToolOutcome


class Rules:
    async def turn(self, given, go_on):
        text = given.message.text
        if text == "crash":
            raise ValueError("a secret")
        if text == "forbidden":
            return Refuse("not in this house")
        if given.asked is not None:
            return await go_on(given) if text == "yes" else Refuse("then not")
        if text == "sure?":
            return Ask("really?", {"n": 1})
        if text == "my name is Bond":
            given = replace(given, message=user("my name is X"))
        return await go_on(given)

    async def call(self, request, emit, go_on):
        if request.messages[-1].text == "no call":
            raise Refused("no calls on Sundays")
        if request.messages[-1].text == "push":
            await emit(ResourcePushed(kind="note", uri="house://note", payload="a note"))
        return await go_on(request, emit)

    async def tool(self, run, go_on):
        if run.name == "clock":
            return ToolOutcome((TextBlock("noon"),))
        if run.answer is None:
            return Ask(f"run {run.name} {run.input}?")
        if run.answer != "approve":
            return Refuse("the person said no")
        return ToolOutcome((TextBlock("removed"),))


heard = []


def hear(fact):
    heard.append(fact)
    with open(__file__ + ".facts", "a", encoding="utf-8") as file:
        file.write(f"{fact.seq} {fact.name} {fact.session}\\n")


def fails(fact):
    raise RuntimeError("no")
"""
MODEL = """provider = "scripted"
model = "m"
quirks = { replies = [
    { text = "gone", when = { after_tool = "rm" } },
    { text = "it is noon", when = { after_tool = "clock" } },
    { tools = [{ name = "rm", input = { path = "/x" } }], when = { exact = "remove" } },
    { tools = [{ name = "clock" }], when = { exact = "time?" } },
] }
"""


@pytest.fixture
def house(installed, environment, tmp_path):
    """How to start a server with the rules of the house."""
    (tmp_path / "house_rules.py").write_text(RULES, encoding="utf-8")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.toml").write_text(MODEL, encoding="utf-8")
    command = [str(installed / "eai-mcp"), "serve", "--models", str(tmp_path / "models"), "--model", "m"]

    def start(*options, era=MODERN, **variables):
        variables = {**environment, "PYTHONPATH": str(tmp_path), **variables}
        return served([*command, *options], variables, era=era)

    return start


@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_middleware_named_in_the_settings_stands_round_turns_calls_and_tools(house, era):
    """Issue 6: "middleware in the three places ... by `module:attribute` in the settings"."""
    async with house("--middleware", "house_rules:Rules", era=era) as wire:
        assert (await told(wire, "talk", content="my name is Bond"))["reply"] == "my name is X"
        error = await wire.error("talk", content="forbidden")
        assert (error["code"], error["message"], error["retryable"]) == (
            "refused",
            "not in this house",
            False,
        )
        assert (await wire.error("talk", content="no call"))["message"] == "no calls on Sundays"
        error = await wire.error("talk", content="crash")
        assert (error["code"], error["details"]["middleware"]) == ("internal", "house_rules:Rules")
        assert error["message"].startswith("middleware house_rules:Rules failed: internal error ")
        assert "secret" not in json.dumps(error)
        assert (await told(wire, "talk", content="time?"))["reply"] == "it is noon"
        page = await told(wire, "get_history", chat_session="default")
        said = [block.get("text") for message in page["messages"] for block in message["content"]]
        assert [text for text in said if text] == ["my name is X", "my name is X", "time?", "it is noon"]


@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_a_question_of_middleware_is_answered_refused_and_dropped(house, era):
    """Issue 6: "Yield and resume: `awaiting_input` ... by a middleware, by an approval"."""
    async with house("--middleware", "house_rules:Rules", era=era) as wire:
        asked = await told(wire, "talk", content="sure?")
        assert (asked["status"], asked["reply"]) == ("awaiting_input", "really?")
        (row,) = (await told(wire, "list_sessions"))["sessions"]
        assert (row["status"], row["question"]) == ("awaiting_input", "really?")
        error = await wire.error("talk", content="no")
        assert error["message"].startswith("then not (the question is still open")
        done = await told(wire, "talk", content="yes")
        assert (done["status"], done["turn_id"]) == ("completed", asked["turn_id"])

        asked = await told(wire, "talk", content="remove")
        assert asked["reply"] == "run rm {'path': '/x'}?"
        done = await told(wire, "talk", content="approve")
        assert (done["reply"], done["turn_id"]) == ("gone", asked["turn_id"])

        await told(wire, "talk", content="remove")
        assert (await told(wire, "interrupt", chat_session="default"))["status"] == "interrupted"
        assert (await told(wire, "talk", content="time?"))["reply"] == "it is noon"


async def test_a_question_has_its_time(house):
    """Issue 6: "expiry"."""
    async with house("--middleware", "house_rules:Rules", "--question-limit", "0.1") as wire:
        asked = await told(wire, "talk", content="sure?")
        await anyio.sleep(0.2)
        error = await wire.error("talk", content="yes")
        assert (error["code"], error["details"]["turn_id"]) == ("conflict", asked["turn_id"])
        assert "has expired and was dropped; nothing was sent" in error["message"]
        assert (await told(wire, "talk", content="yes"))["reply"] == "yes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--middleware", "house_rules:nobody"], "middleware 'house_rules:nobody' cannot be loaded: Attr"),
        (["--observer", "nowhere:x"], "observer 'nowhere:x' cannot be loaded: ModuleNotFoundError"),
        (["--middleware", "house_rules:heard"], "has none of the methods turn, call, tool, failed"),
    ],
)
async def test_a_server_does_not_start_without_what_was_asked_to_stand_in_it(
    installed, environment, tmp_path, options, message
):
    """Issue 6: "never silently open"."""
    (tmp_path / "house_rules.py").write_text(RULES, encoding="utf-8")
    command = [str(installed / "eai-mcp"), "serve", *options]
    done = await anyio.run_process(command, env={**environment, "PYTHONPATH": str(tmp_path)}, check=False)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n"), message in said) == (2, b"", 1, True), said


async def test_every_line_of_the_log_is_an_object_and_facts_come_in_order(house, tmp_path):
    """Issue 6: "Facts ... in order, with session, turn and request ids and sequence numbers"; "Sinks: JSON or
    plain log on stderr ... user sinks. A failing sink never fails a turn"."""
    options = ("--log-format", "json", "--log-level", "info", "--middleware", "house_rules:Rules")
    sinks = {"EAI_MCP_OBSERVERS": "house_rules:fails,house_rules:hear"}
    async with house(*options, **sinks) as wire:
        done = await told(wire, "talk", content="push", chat_session="work", request_id="r1")
        await wire.error("talk", content="crash", chat_session="work")
        assert await wire.leave() < 5
    lines = [json.loads(line) for line in wire.errors.splitlines()]
    facts = [line for line in lines if "fact" in line]
    assert [fact["fact"] for fact in facts] == [
        "session.opened",
        "turn.received",
        "turn.started",
        "call.started",
        "resource.pushed",
        "provider.attempt",
        "provider.answered",
        "call.completed",
        "turn.completed",
        "turn.received",
        "turn.started",
        "turn.failed",
    ]
    assert [fact["seq"] for fact in facts] == [*range(1, 13)]
    assert {fact["turn_id"] for fact in facts[1:9]} == {done["turn_id"]}
    assert {fact["request_id"] for fact in facts[1:9]} == {"r1"}
    assert {fact["session"] for fact in facts} == {"work"}
    assert "a note" not in json.dumps(facts)
    assert any("a secret" in json.dumps(line) for line in lines if "fact" not in line)  # the bug's traceback
    kept = (tmp_path / "house_rules.py.facts").read_text(encoding="utf-8").splitlines()
    assert kept == [f"{fact['seq']} {fact['fact']} work" for fact in facts]
