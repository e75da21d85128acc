"""Tools of an operator's own."""

from typing import Any

import pytest

from eai_mcp.chat.toolbox import own
from eai_mcp.errors import ConfigError, NotFound
from eai_mcp.messages import TextBlock
from eai_mcp.middleware import ToolOutcome
from tests.chat.toolbox.using import step, using
from tests.fakes import said

SCHEMA = {"type": "object", "properties": {"at": {"type": "string", "title": "Place"}}, "required": ["at"]}


class Weather:
    """Says what it was asked."""

    name = "weather"
    description = "Tell the weather."
    parameters = SCHEMA

    async def run(self, run) -> Any:
        match run.input.get("at"):
            case "sea":
                return "rain"
            case "hill":
                return {"wind": 3}
            case "moon":
                return ToolOutcome((TextBlock("none"),), failed=True)
            case "nowhere":
                raise NotFound("there is no such place")
            case "exit":
                raise SystemExit(3)
            case "odd":
                return 7
            case "blocks":
                return ToolOutcome(tuple[Any, ...](["text"]))
            case _:
                raise ZeroDivisionError


class Nameless:
    description: Any = "d"
    parameters: Any = SCHEMA
    run: Any = Weather.run


class Misnamed(Nameless):
    name = "the weather"


class Undescribed(Nameless):
    name, description = "a", " "


class Shapeless(Nameless):
    name, parameters = "a", {"type": "string"}


class Unwritable(Nameless):
    name, parameters = "a", {"type": "object", "properties": {1, 2}}


class Idle(Nameless):
    name, run = "a", 5


async def weather(catalog, *places):
    """What the model heard of each place."""
    steps = [*[step("weather", at=place) for place in places], said("done")]

    def tools(registry):
        return (own.load(f"{__name__}:Weather"),)

    async with using(catalog, tools, {"boss": steps}, usual=("weather",)) as talking:
        await talking.ask()
        (spec,) = talking.voices["boss"].requests[0].tools
        assert (spec.name, spec.description, spec.parameters) == ("weather", "Tell the weather.", SCHEMA)
        return [talking.heard(request=number)[0] for number in range(1, len(places) + 1)]


async def test_an_operators_tool_says_text_an_object_or_blocks(catalog):
    """DESIGN section 7: "toolbox tools of one's own load the same way"."""
    assert await weather(catalog, "sea", "hill", "moon") == [
        ("rain", False),
        ({"wind": 3}, False),
        ("none", True),
    ]


async def test_its_mistakes_go_back_to_the_model_under_its_name(catalog, caplog):
    """Issue 7: "a raising tool go[es] back to the model as error results"."""
    heard = await weather(catalog, "nowhere", "exit", "odd", "blocks", "x")
    assert [failed for _, failed in heard] == [True] * 5
    assert heard[0][0] == "not_found: there is no such place"
    assert all(text.startswith("weather failed: internal error ") for text, _ in heard[1:])
    assert "tool weather returned int, not text" in caplog.text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Nameless", "needs name, description, parameters, and a method run"),
        ("Misnamed", "1 to 64 letters, digits, _ and -, not 'the weather'"),
        ("Undescribed", "its description must be a text"),
        ("Shapeless", '"type": "object"'),
        ("Unwritable", "cannot be written as JSON"),
        ("Idle", "its run must be a method"),
        ("Missing", "cannot be loaded"),
    ],
)
def test_what_is_no_tool_is_told_before_anything_starts(name, why):
    with pytest.raises(ConfigError, match=why) as caught:
        own.load(f"{__name__}:{name}")
    assert f"{__name__}:{name}" in caught.value.message
