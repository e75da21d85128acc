"""The tool calls in a reply of Anthropic Messages."""

import json

import pytest

from eai_mcp.calls import ToolUseStarted
from eai_mcp.messages import Message, TextBlock, ThinkingBlock, ToolUseBlock
from tests.providers.anthropic_events import begin, delta, end, finish, text, told, tool

DROPPED = "a tool call was dropped: the reply was cut off before it was complete"


async def test_parallel_calls_keep_their_order_and_their_pieces_apart():
    response, heard = await told(
        begin("tool_use", 0, id="toolu_1", name="look", input={}),
        begin("tool_use", 1, id="toolu_2", name="find", input={}),
        delta("input_json", 1, partial_json=""),
        delta("input_json", 0, partial_json='{"a":'),
        delta("input_json", 1, partial_json='{"b": [2]}'),
        delta("input_json", 0, partial_json="1}"),
        finish("tool_use"),
    )

    assert heard == [ToolUseStarted("look"), ToolUseStarted("find")]
    assert response.stop == "tools"
    assert response.message == Message(
        "assistant", (ToolUseBlock("toolu_1", "look", {"a": 1}), ToolUseBlock("toolu_2", "find", {"b": [2]}))
    )


@pytest.mark.parametrize(
    ("events", "used"),
    [
        (tool("look"), {}),
        (tool("look", " "), {}),
        (tool("look", input={"a": 1}), {"a": 1}),
        (tool("look", "[1]"), {"__invalid_json__": "[1]"}),
        (tool("look", '{"a'), {"__invalid_json__": '{"a'}),
        (tool("look", '{"a": NaN}'), {"__invalid_json__": '{"a": NaN}'}),
        (tool("look", input="odd"), {}),
    ],
)
async def test_arguments_are_an_object_or_kept_as_they_came(events, used):
    response, _ = await told(*events, finish("end_turn"))

    assert response.message.content == (ToolUseBlock("toolu_1", "look", used),)
    assert response.stop == "tools"


async def test_calls_without_an_id_or_with_the_same_one_get_ids_of_their_own():
    calls = [*tool("a", index=0, own=""), *tool("b", index=1), *tool("c", index=2)]
    response, _ = await told(*calls, *tool("", index=3), finish("tool_use"))

    uses = {use.name: use.id for use in response.message.content if isinstance(use, ToolUseBlock)}
    assert list(uses) == ["a", "b", "c"]
    assert len(set(uses.values())) == 3
    assert uses["b"] == "toolu_1"


async def test_a_call_that_was_cut_off_is_dropped_from_both_forms():
    thought = [begin("thinking", thinking="why"), delta("signature", signature="s"), end()]
    response, _ = await told(*thought, *text("a", 1), *tool("look", '{"a', index=2), finish("max_tokens"))

    assert (response.stop, response.warnings) == ("length", (DROPPED,))
    assert response.message.content == (ThinkingBlock("why", "s"), TextBlock("a"))
    assert response.message.state is not None
    assert "tool_use" not in json.dumps(response.message.state.data)
