from typing import Any

import pytest

from eai_mcp.calls import ToolUseStarted
from eai_mcp.messages import Block, ToolUseBlock, assistant
from tests.providers.answering import chunk, told


def tool(name: str = "", arguments: object = "", **fields: object) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"type": "function", "function": function, **fields}]})


async def calls(*pieces: dict[str, Any], finish: str = "tool_calls") -> list[Block]:
    response, _ = await told(*pieces, chunk({}, finish))
    assert response.stop == "tools"
    return list(response.message.content)


async def test_a_tool_call_in_pieces_is_gathered_by_its_index():
    response, heard = await told(
        tool("look", index=0, id="c1"),
        tool("", '{"a"', index=0),
        tool("find", "{", index=1, id="c2"),
        tool("", ":1}", index=0),
        tool("", "}", index=1),
        chunk({}, "tool_calls"),
    )

    assert heard == [ToolUseStarted("look"), ToolUseStarted("find")]
    assert response.message.content == (ToolUseBlock("c1", "look", {"a": 1}), ToolUseBlock("c2", "find", {}))


@pytest.mark.parametrize(
    "pieces",
    [
        [tool("look", '{"a":1}', index=0, id="c1")],
        [tool("look", '{"a":1}', id="c1")],
        [tool("look", index=1, id="c1"), tool("", '{"a":1}', index=1)],
        [tool("look", index=0, id="c1"), tool("", '{"a":1}', index=0, id="")],
        [tool("look", index=0, id="c1"), tool("", '{"a":1}', index=0, id="c9")],
        [tool("look", index=0, id="c1"), tool("look", '{"a":1}', index=0, id="c1")],
        [tool("look", id="c1"), tool("", '{"a":1}', id="c1")],
        [tool("look", id="c1"), tool("", '{"a":1}')],
        [tool("look", {"a": 1}, index=0, id="c1")],
    ],
    ids=[
        "whole",
        "whole, no index",
        "from 1",
        "empty id and name",
        "new ids",
        "repeated",
        "by id",
        "no index, no id",
        "object",
    ],
)
async def test_one_tool_call_is_one_however_it_is_numbered(pieces):
    assert await calls(*pieces) == [ToolUseBlock("c1", "look", {"a": 1})]


@pytest.mark.parametrize("index", [{"index": 0}, {}], ids=["all numbered 0", "not numbered"])
async def test_parallel_calls_that_are_numbered_alike_stay_apart(index):
    uses = await calls(
        tool("look", "{}", id="c1", **index), tool("look", "{}", id="c2", **index), finish="stop"
    )

    assert uses == [ToolUseBlock("c1", "look", {}), ToolUseBlock("c2", "look", {})]


async def test_calls_without_an_id_or_with_the_same_one_get_ids_of_their_own():
    blocks = await calls(tool("a", index=0), tool("b", index=1, id="x"), tool("c", index=2, id="x"))

    uses = {use.name: use.id for use in blocks if isinstance(use, ToolUseBlock)}
    assert list(uses) == ["a", "b", "c"]
    assert len(set(uses.values())) == 3
    assert uses["b"] == "x"


async def test_a_call_without_a_name_is_none():
    response, _ = await told(tool("", "{}", index=0, id="c1"), chunk({"content": "a"}, "tool_calls"))

    assert (response.message, response.stop) == (assistant("a"), "end")


@pytest.mark.parametrize("arguments", ["{broken", "[1]", '"text"', '{"a": NaN}'])
async def test_arguments_that_are_no_object_are_kept_as_they_came(arguments):
    assert await calls(tool("look", arguments, index=0, id="c1")) == [
        ToolUseBlock("c1", "look", {"__invalid_json__": arguments})
    ]


async def test_no_arguments_are_an_empty_object():
    assert await calls(tool("look", " ", index=0, id="c1")) == [ToolUseBlock("c1", "look", {})]


async def test_a_tool_call_that_was_cut_off_is_dropped_with_a_warning():
    response, _ = await told(chunk({"content": "a"}), tool("look", '{"a', index=0), chunk({}, "length"))

    assert (response.stop, response.message) == ("length", assistant("a"))
    assert response.warnings == ("a tool call was dropped: the reply was cut off before it was complete",)
