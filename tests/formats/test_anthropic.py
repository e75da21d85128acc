import base64
import hashlib
import re
from typing import Any

import pydantic
import pytest
from anthropic.types import MessageParam
from hypothesis import given, settings

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats.anthropic import Reader, Writer
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

PICTURES = {
    "image/png": "image/png",
    "image/png; q=1": "image/png",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/gif": "image/gif",
    "IMAGE/WEBP": "image/webp",
}


def expected(history):
    """A history after the losses that the module tells."""
    found = []
    for message in history:
        content = [kept for block in message.content for kept in _kept(message.role, block)]
        content.sort(key=lambda block: not isinstance(block, ToolResultBlock))
        if content:
            found.append(Message(message.role, tuple(content)))
    return joined(found)


def _kept(role, block):
    match block:
        case TextBlock(text=text):
            return [TextBlock(wire.mended(text))] if text.strip() else []
        case ThinkingBlock(text=text, signature=seal):
            return [ThinkingBlock(wire.mended(text), wire.mended(seal))] if seal else []
        case ToolUseBlock(id=own, name=name, input=given):
            return [ToolUseBlock(tool_id(own), wire.mended(name), mended(given))]
        case ToolResultBlock(tool_use_id=own, content=content, failed=failed):
            said = [kept for piece in content for kept in _kept("user", piece)]
            empty = [TextBlock("(no output)")] if failed else []
            return [ToolResultBlock(tool_id(own), tuple(said or empty), failed)]
        case _:
            return [TextBlock(f"[{block.type}]") if role == "assistant" else _media(block)]


def _media(block):
    broken = block.data in ("", BROKEN)
    if isinstance(block, ImageBlock):
        kind = PICTURES.get(block.media_type)
        return TextBlock("[image]") if broken or kind is None else ImageBlock(kind, block.data)
    name = wire.mended(block.name) if block.name.strip() else "document"
    if block.media_type == "application/pdf" and not broken:
        return DocumentBlock("application/pdf", block.data, name)
    if block.media_type.startswith("text/") and not broken:
        words = base64.b64decode(block.data).decode(errors="replace")
        return DocumentBlock("text/plain", base64.b64encode(words.encode()).decode(), name)
    return TextBlock(f"[document: {wire.mended(block.name)}]")


def tool_id(own):
    if re.fullmatch("[a-zA-Z0-9_-]+", own):
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
    """Issue 5: exported … `anthropic` … histories validate against the official SDKs' request types."""
    accepted.by_type(MessageParam, written(Writer(), history))


@pytest.mark.parametrize(
    "content",
    [
        5,
        [{"type": "zap"}],
        [{"type": "text", "text": "hi", "color": "red"}],
        [{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "QQ=="}}],
        [{"type": "document", "source": {"type": "text", "media_type": "text/csv", "data": "a"}}],
        [{"type": "thinking", "thinking": "hm"}],
        [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "thinking", "thinking": "hm"}]}],
    ],
)
def test_a_broken_export_is_not_what_the_sdk_sends(content):
    with pytest.raises((AssertionError, pydantic.ValidationError)):
        accepted.by_type(MessageParam, [{"role": "user", "content": content}])


def test_each_block_has_its_form():
    thoughts = (ThinkingBlock("hm", "c2VhbA=="), ThinkingBlock("lost"), ThinkingBlock("lost", ""))
    results = (ToolResultBlock("a", ()), ToolResultBlock("b", (), True))
    text = DocumentBlock("text/csv", "YSxi", "a.csv")
    history = [
        Message("assistant", (*thoughts, TextBlock(" "), ToolUseBlock("a", "n", {"x": 1}))),
        user((TextBlock("see"), *results, ImageBlock("image/png", "QQ=="), text)),
        assistant(""),
    ]
    assert written(Writer(), history) == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2VhbA=="},
                {"type": "tool_use", "id": "a", "name": "n", "input": {"x": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [{"type": "text", "text": "(no output)"}],
                    "is_error": True,
                },
                {"type": "text", "text": "see"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "a,b"},
                    "title": "a.csv",
                },
            ],
        },
    ]


def test_what_the_api_allows_is_read():
    base64_pdf = {"type": "base64", "media_type": "application/pdf", "data": "QQ\n=="}
    parts = {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    elements: Any = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "n", "input": None}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "ok", "is_error": False},
                {"type": "document", "source": base64_pdf, "title": None},
                {"type": "document", "source": parts, "title": "b"},
            ],
        },
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}]},
    ]
    pdf, text = DocumentBlock("application/pdf", "QQ=="), DocumentBlock("text/plain", "YQoKYg==", "b")
    assert read(Reader, elements) == (
        [
            user("hi"),
            Message("assistant", (ToolUseBlock("a", "n", {}),)),
            user((ToolResultBlock("a", (TextBlock("ok"),)), pdf, text)),
            Message("assistant", (ThinkingBlock("hm"),)),
        ],
        [],
    )


@pytest.mark.parametrize(
    ("role", "block", "repair"),
    [
        ("assistant", {"type": "server_tool_use"}, "a block of unknown kind 'server_tool_use' was left out"),
        ("assistant", {"text": "a"}, "a block without a kind was left out"),
        ("assistant", {"type": "redacted_thinking", "data": "a"}, "a sealed thought was left out"),
        ("assistant", {"type": "thinking"}, "a thought that is no string was left out"),
        ("user", {"type": "thinking", "thinking": "hm"}, "a thought said by the user was left out"),
        ("assistant", {"type": "tool_use", "name": "n"}, "a tool use without an id was left out"),
        ("user", {"type": "tool_use", "id": "a", "name": "n"}, "a tool use said by the user was left out"),
        (
            "assistant",
            {"type": "tool_result", "tool_use_id": "a"},
            "a tool result said by the assistant was left out",
        ),
        ("user", {"type": "tool_result", "tool_use_id": 7}, "a tool result without an id was left out"),
        (
            "user",
            {"type": "image", "source": {"type": "base64"}},
            "an image without a media type was left out",
        ),
        ("user", {"type": "document"}, "a document without data was left out"),
        ("user", {"type": "text", "text": {}}, "a text that is no string was left out"),
    ],
)
def test_what_cannot_be_kept_is_left_out_and_noted(role, block, repair):
    found, repairs = read(Reader, [{"role": role, "content": [block]}])
    assert found == []
    assert repairs == [f"{repair} (message 1)", "a message without content was left out (message 1)"]


def test_what_stands_elsewhere_is_not_fetched():
    content: Any = [
        {"type": "image", "source": {"type": "url", "url": "https://a.b/c.png"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]
    found, _ = read(Reader, [{"role": "user", "content": content}])
    assert found == [user((TextBlock("[image: https://a.b/c.png]"), TextBlock("[document: file_1]")))]


def test_an_input_that_is_no_object_is_kept_as_text():
    block = {"type": "tool_use", "id": "a", "name": "n", "input": [1]}
    found, repairs = read(Reader, [{"role": "assistant", "content": [block]}])
    assert found == [Message("assistant", (ToolUseBlock("a", "n", {wire.INVALID_JSON: "[1]"}),))]
    assert repairs == ["a tool's input that is no JSON object was kept as text (message 1)"]


def test_a_system_message_is_left_out_and_an_unknown_role_refused():
    found, repairs = read(Reader, [{"role": "system", "content": "be kind"}])
    assert (found, repairs) == ([], ["a system message was left out: talk's `system` sets it (message 1)"])
    with pytest.raises(ImportInvalid, match="message 1 has the role 'human'; known are user, assistant"):
        read(Reader, [{"role": "human", "content": "hi"}])


@given(ELEMENTS)
def test_any_json_is_read_or_refused(elements):
    """Issue 5: no input makes the importer raise outside the error tree."""
    holds_up(Reader, elements)


@given(spoiled(Writer, histories(longest=2)))
def test_a_spoiled_export_is_read_or_refused(elements):
    """Issue 5: no input makes the importer raise outside the error tree."""
    holds_up(Reader, elements)
