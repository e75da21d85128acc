import re
from pathlib import Path

import pytest

from eai_mcp.catalog.entries import Breaker, Reliability
from eai_mcp.catalog.models import read_reliability
from eai_mcp.errors import ConfigError, Refused, Unavailable
from eai_mcp.messages import TextBlock, ToolResultBlock, ToolUseBlock
from eai_mcp.middleware import blamed, load, named
from eai_mcp.pipeline.numbers import Numbers, settled
from tests.chat.layering import layers
from tests.chat.taking import ask, opened, texts, uses
from tests.fakes import said

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


class Named:
    """Found as `tests.test_middleware:Named`."""

    async def failed(self, failure):
        """Take note."""


def example(language: str, word: str) -> str:
    (found,) = [code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if word in code]
    return str(found)


async def test_the_readmes_middleware_does_what_it_says(catalog, capsys):
    house: dict[str, type] = {}
    exec(compile(example("python", "class House"), "README.md", "exec"), house)
    steps = [uses(ToolUseBlock("u1", "rm", {})), said("done"), said("deployed"), Unavailable("503")]
    async with opened(catalog, *steps, layers=layers(house["House"]())) as (registry, call):
        with pytest.raises(Refused, match="no secrets"):
            await ask(registry, "a secret")
        assert (await ask(registry, " clean up ")).reply == "done"
        assert await texts(registry) == ["clean up", "", "", "done"]
        refused = ToolResultBlock("u1", (TextBlock("refused: not here"),), failed=True)
        assert call.requests[1].messages[-1].content == (refused,)
        assert (await ask(registry, "deploy it")).reply == "Really deploy?"
        assert (await ask(registry, "yes")).reply == "deployed"
        with pytest.raises(Unavailable):
            await ask(registry, "hi")
    assert capsys.readouterr().out == "turn refused\nturn provider_unavailable\n"


def test_the_readmes_numbers_are_those_that_hold_where_nothing_is_said():
    table = example("toml", "backoff_longest_s").partition("\n")[2]
    faults: list[tuple[str | None, str]] = []
    read = read_reliability(table.encode(), lambda *fault: faults.append(fault))
    assert read == Reliability(
        attempts=3,
        backoff_first_s=0.5,
        backoff_longest_s=20.0,
        breaker=Breaker(failures=5, recovery_s=30.0),
    )
    assert (faults, settled(read, Reliability())) == ([], Numbers())


def test_a_middleware_is_loaded_under_its_whole_name():
    """Issue 6: "by `module:attribute` in the settings"."""
    (loaded,) = named([load("tests.test_middleware:Named")])
    assert (loaded.name, type(loaded.layer).__name__) == ("tests.test_middleware:Named", "Named")


@pytest.mark.parametrize("name", ["", "x", ":x", "x:", "tests.nowhere:x", "tests.test_middleware:nobody"])
def test_what_is_not_there_cannot_be_loaded(name):
    with pytest.raises(ConfigError, match="middleware"):
        load(name)


def test_a_bug_is_told_under_the_name_of_the_middleware_and_not_in_its_words(caplog):
    error = blamed("mine", ValueError("a secret"))
    assert error.message.startswith("middleware mine failed: internal error ")
    assert error.details == {"middleware": "mine", "error_id": error.details["error_id"]}
    assert "a secret" in caplog.text
