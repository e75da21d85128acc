import hashlib
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from openai.types.responses import ResponseInputItemParam

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats.responses import MOST_ITEMS, Reader, Writer
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    assistant,
    user,
)
from tests.formats import accepted
from tests.formats.histories import BROKEN, histories
from tests.formats.trips import ELEMENTS, holds_up, joined, mended, read, spoiled, written

PNG = ImageBlock("image/png", "QQ==")
PDF = DocumentBlock("application/pdf", "QQ==", "a.pdf")


def expected(history):
    """A history after the losses that the module tells."""
    found: list[Message] = []
    for message in history:
        if message.role == "user":
            results = [block for block in message.content if isinstance(block, ToolResultBlock)]
            others = [block for block in message.content if not isinstance(block, ToolResultBlock)]
            found += [user((_result(block),)) for block in results]
            if kept := shown(others):
                found.append(user(kept))
        elif kept := _said(message.content):
            before = found.pop().content if found and found[-1].role == "assistant" else ()
            found.append(Message("assistant", (*before, *kept)))
    return joined(found)


def _said(content):
    kept: tuple[TextBlock | ToolUseBlock, ...] = ()
    for block in content:
        match block:
            case ToolUseBlock(id=own, name=name, input=given):
                kept += (ToolUseBlock(tool_id(own), wire.mended(name), mended(given)),)
            case ImageBlock() | DocumentBlock():
                kept += (TextBlock(f"[{block.type}]"),)
            case TextBlock():
                kept += shown([block])
            case _:
                assert isinstance(block, ThinkingBlock)
    return kept


def _result(block):
    content = shown(block.content)
    if block.failed and len(content) < 2 and all(isinstance(piece, TextBlock) for piece in content):
        content = (TextBlock("Error: " + "".join(piece.text for piece in content)),)
    elif block.failed:
        content = (TextBlock("Error:"), *content)
    return ToolResultBlock(tool_id(block.tool_use_id), content)


def shown(blocks):
    return tuple(_shown(block) for block in blocks if block != TextBlock(""))


def _shown(block):
    match block:
        case TextBlock(text=text):
            return TextBlock(wire.mended(text))
        case ImageBlock(media_type=kind, data=data):
            return TextBlock("[image]") if data in ("", BROKEN) or kind == "png" else block
        case DocumentBlock(media_type=kind, data=data, name=name):
            name = wire.mended(name)
            return (
                TextBlock(f"[document: {name}]") if data in ("", BROKEN) else DocumentBlock(kind, data, name)
            )
        case _:
            raise AssertionError(block)


def tool_id(own):
    if len(own) <= 64 and wire.mended(own) == own:
        return own
    return hashlib.sha256(own.encode("utf-8", "surrogatepass")).hexdigest()


@settings(max_examples=150)
@given(histories())
def test_a_history_comes_back_with_the_documented_losses(history):
    """Issue 5: export → import equal, …; for the others, exactly the documented losses."""
    found, repairs = read(Reader, written(Writer(), history))
    assert found == expected(history)
    assert repairs == []


@given(histories())
def test_an_export_is_what_the_sdk_sends(history):
    """Issue 5: exported `openai` … histories validate against the official SDKs' request types."""
    accepted.by_type(ResponseInputItemParam, written(Writer(), history))


@pytest.mark.parametrize(
    "item",
    [
        {"role": "boss", "content": "hi"},
        {"role": "user", "content": [{"type": "zap"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]},
        {"type": "function_call", "call_id": "a", "name": "n"},
        {"type": "function_call", "call_id": "a", "name": "n", "arguments": "{}", "color": "red"},
        {"type": "function_call_output", "call_id": "a", "output": {}},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "output_text", "text": "a"}]},
    ],
)
def test_a_broken_export_is_not_what_the_sdk_sends(item):
    with pytest.raises((AssertionError, pydantic.ValidationError)):
        accepted.by_type(ResponseInputItemParam, [item])


def test_items_stand_in_order():
    use = ToolUseBlock("a", "look", {"x": 1})
    history = [
        user("hi"),
        Message("assistant", (ThinkingBlock("hm"), TextBlock("one"), use, TextBlock("two"))),
        user((ToolResultBlock("a", (TextBlock("no"), PNG), True), TextBlock("see"), PDF)),
    ]
    assert written(Writer(), history) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "one"},
        {"type": "function_call", "call_id": "a", "name": "look", "arguments": '{"x":1}'},
        {"role": "assistant", "content": "two"},
        {
            "type": "function_call_output",
            "call_id": "a",
            "output": [
                {"type": "input_text", "text": "Error:"},
                {"type": "input_text", "text": "no"},
                {"type": "input_image", "image_url": "data:image/png;base64,QQ==", "detail": "auto"},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
            ],
        },
    ]


def test_the_output_of_a_reply_is_one_message():
    said: Any = {"type": "output_text", "text": "a", "annotations": []}
    elements: Any = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "…"},
        {"type": "message", "role": "assistant", "content": [said, {"type": "refusal", "refusal": "b"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "1", "name": "n", "arguments": "[1]"},
        {"role": "system", "content": "be kind"},
        {"type": "function_call", "call_id": "2", "name": "n", "arguments": ""},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "ok"}]},
        {"type": "function_call_output", "call_id": "2", "output": "ok"},
        {"role": "assistant", "content": "done"},
    ]
    assert read(Reader, elements) == (
        [
            Message(
                "assistant",
                (
                    TextBlock("a"),
                    TextBlock("b"),
                    ToolUseBlock("1", "n", {wire.INVALID_JSON: "[1]"}),
                    ToolUseBlock("2", "n", {}),
                ),
            ),
            user((ToolResultBlock("1", (TextBlock("ok"),)), ToolResultBlock("2", (TextBlock("ok"),)))),
            assistant("done"),
        ],
        [
            "a sealed thought was left out (message 1)",
            "a tool's input that is no JSON object was kept as text (message 3)",
            "a system message was left out: talk's `system` sets it (message 4)",
        ],
    )


@pytest.mark.parametrize(
    ("item", "repair"),
    [
        ({"type": "item_reference", "id": "a"}, "an item of unknown kind 'item_reference' was left out"),
        ({"type": "web_search_call"}, "an item of unknown kind 'web_search_call' was left out"),
        ({}, "an item without a kind was left out"),
        ({"type": 7}, "an item without a kind was left out"),
        ({"type": "function_call", "name": "n"}, "a tool use without an id was left out"),
        ({"type": "function_call", "call_id": "a"}, "a tool use without a name was left out"),
        ({"type": "function_call_output", "output": "a"}, "a tool result without an id was left out"),
        (
            {"role": "user", "content": [{"type": "input_audio"}]},
            "a part of unknown kind 'input_audio' was left out",
        ),
        (
            {"role": "user", "content": [{"type": "input_file", "file_data": "*"}]},
            "a document whose data is no base64 was left out",
        ),
        ({"role": "assistant", "content": []}, "a message without content was left out"),
    ],
)
def test_what_cannot_be_kept_is_left_out_and_noted(item, repair):
    found, repairs = read(Reader, [item])
    assert found == []
    assert repairs[0] == f"{repair} (message 1)"


def test_what_stands_elsewhere_is_not_fetched():
    content: Any = [
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "file_url": "https://a.b/c.pdf"},
    ]
    found, _ = read(Reader, [{"type": "message", "role": "user", "content": content}])
    assert found == [user((TextBlock("[image: file-1]"), TextBlock("[document: https://a.b/c.pdf]")))]


def test_an_unknown_role_is_refused():
    with pytest.raises(ImportInvalid, match="message 1 has the role 'tool'; known are user, assistant"):
        read(Reader, [{"type": "message", "role": "tool", "content": "a"}])


def test_a_message_without_end_is_refused():
    with pytest.raises(ImportInvalid, match=r"item 10001 is one of more than 10,000"):
        read(Reader, [{"role": "assistant", "content": "a"}] * (MOST_ITEMS + 1))


@given(ELEMENTS)
def test_any_json_is_read_or_refused(elements):
    """Issue 5: no input makes the importer raise outside the error tree."""
    holds_up(Reader, elements)


@given(spoiled(Writer, histories(longest=2)))
def test_a_spoiled_export_is_read_or_refused(elements):
    """Issue 5: no input makes the importer raise outside the error tree."""
    holds_up(Reader, elements)


@pytest.mark.parametrize(
    "thought",
    [
        {"summary": [{"type": "summary_text", "text": "hm"}, {"type": "summary_text", "text": "so"}]},
        {"summary": [], "content": [{"type": "reasoning_text", "text": "hm\n\nso"}]},
    ],
)
def test_a_thought_that_can_be_read_is_kept(thought):
    items = [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "x", **thought},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Fish."}]},
    ]
    assert read(Reader, items) == (
        [Message("assistant", (ThinkingBlock("hm\n\nso"), TextBlock("Fish.")))],
        [],
    )
