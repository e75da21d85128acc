"""Who may use which tool, and what becomes of a use that goes wrong."""

import json

import pytest

from eai_mcp.catalog.entries import Card
from eai_mcp.chat.questions import ASK_USER
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Use
from eai_mcp.errors import ConfigError, LimitExceeded
from eai_mcp.messages import JsonObject, ToolUseBlock
from eai_mcp.wire import INVALID_JSON
from tests.chat.taking import ask, history, opened, results_in, told, uses
from tests.chat.toolbox.boxes import box, echo, tool
from tests.fakes import said

ECHO = tool("echo", echo)
LOUD = tool("loud", echo)


def card(*tools):
    return Card(name="c", title="C", tools=tools)


def test_a_turn_has_what_the_operator_allows_and_its_card_names():
    """Issue 7: "Allow-list = settings ∩ card"."""
    everything = box(ECHO, LOUD, usual=("loud",))
    assert everything.names(None) == ("loud",)
    assert everything.names(Card(name="c", title="C")) == ("loud",)
    assert everything.names(card("echo", "ask_user", "unknown")) == ("echo", "ask_user")
    assert everything.names(card()) == ()
    assert everything.names(card("echo", "loud"), frozenset({"loud"})) == ("loud",)

    some = box(ECHO, LOUD, usual=("echo",), allowed=("echo",))
    assert some.names(card("echo", "loud")) == ("echo",)
    assert not some.may_ask(None)
    assert everything.may_ask(None)
    assert not everything.may_ask(card("echo"))


def test_a_tool_that_is_not_there_cannot_be_allowed():
    for named in ({"allowed": ("nope",)}, {"approvals": {"nope": "ask"}}):
        with pytest.raises(ConfigError, match="no tool named 'nope'; there are: echo, ask_user"):
            box(ECHO, **named).check()
    with pytest.raises(ConfigError, match="ask_user is a question itself"):
        box(ECHO, approvals={"ask_user": "never"}).check()
    with pytest.raises(ConfigError, match="two tools named 'echo'"):
        box(ECHO, ECHO)


def test_a_model_is_told_of_arguments_without_what_only_costs_tokens():
    class Given(Arguments):
        """Not for the model."""

        path: str
        title: str | None = None
        count: int = 3

    async def run(given: Given, use: Use) -> JsonObject:
        return {}

    spec = Tool(name="t", description="Does.", arguments=Given, run=run).spec
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "title": {"type": "string"},
            "count": {"type": "integer", "default": 3},
        },
        "required": ["path"],
    }


async def test_the_model_is_told_of_its_tools_in_one_order(catalog):
    async with opened(catalog, said("hi"), toolbox=box(LOUD, ECHO)) as (registry, call):
        await ask(registry, "a")
        assert [spec.name for spec in call.requests[0].tools] == ["loud", "echo"]
        assert ASK_USER not in call.requests[0].tools


async def broken(given, use):
    raise ValueError("oops")


async def refused(given, use):
    raise LimitExceeded("too much of it")


async def ends_all(given, use):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("nope", {}, "there is no tool named 'nope'; there are: echo, broken, refused, ends"),
        ("echo", {INVALID_JSON: "{oh"}, "the arguments are not a JSON object; send them again"),
        ("echo", {"wrod": "x"}, "wrod: Extra inputs are not permitted (arguments: word)"),
        ("echo", {"word": [1]}, "word: Input should be a valid string (arguments: word)"),
        ("refused", {}, "limit_exceeded: too much of it"),
        ("broken", {}, "broken failed: internal error "),
        ("ends", {}, "ends failed: internal error "),
    ],
)
async def test_what_goes_wrong_with_a_tool_goes_back_to_the_model(catalog, name, given, wanted):
    """Issue 7: "unknown tool, bad JSON, a raising tool go back to the model as error results"."""
    tools = (ECHO, tool("broken", broken), tool("refused", refused), tool("ends", ends_all))
    steps = [uses(ToolUseBlock("u1", name, given)), said("I see.")]
    async with opened(catalog, *steps, toolbox=box(*tools)) as (registry, _):
        assert (await ask(registry, "a")).reply == "I see."
        (result,) = results_in((await history(registry))[2])
        assert result.failed
        assert told(result).startswith(wanted)


async def test_what_a_tool_says_is_json_for_the_model(catalog):
    steps = [uses(ToolUseBlock("u1", "echo", {"word": "grün"})), said("ok")]
    async with opened(catalog, *steps, toolbox=box(ECHO)) as (registry, _):
        await ask(registry, "a")
        (result,) = results_in((await history(registry))[2])
        assert not result.failed
        assert json.loads(told(result)) == {"said": "grün"}
        assert "grün" in told(result)
