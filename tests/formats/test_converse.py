import hashlib
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats.converse import Reader, Writer
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

TYPES = {
    "application/pdf": "application/pdf",
    "text/plain": "text/plain",
    "text/markdown": "text/markdown",
    "text/csv; charset=utf-8": "text/csv",
    "text/x-python": "text/plain",
    "application/json": "text/plain",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    ),
}
PICTURES = {
    "image/png": "image/png",
    "image/png; q=1": "image/png",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/gif": "image/gif",
    "IMAGE/WEBP": "image/webp",
}


class Expected:
    """A history after the losses that the module tells."""

    def __init__(self, history):
        self._names = set()
        self.messages: list[Message] = []
        for message in history:
            content = [kept for block in message.content for kept in self._kept(message.role, block)]
            if content and self.messages and self.messages[-1].role == message.role:
                content = [*self.messages.pop().content, *content]
            if content:
                content.sort(key=lambda block: not isinstance(block, ToolResultBlock))
                self.messages.append(Message(message.role, tuple(content)))

    def _kept(self, role, block):
        match block:
            case TextBlock(text=text):
                return [TextBlock(wire.mended(text))] if text.strip() else []
            case ThinkingBlock(text=text, signature=seal):
                return [ThinkingBlock(wire.mended(text), seal if seal is None else wire.mended(seal))]
            case ToolUseBlock(id=own, name=name, input=given):
                name = "".join(c if re.match("[a-zA-Z0-9_-]", c) else "_" for c in name)[:64]
                return [ToolUseBlock(tool_id(own), name, mended(given))]
            case ToolResultBlock(tool_use_id=own, content=content, failed=failed):
                said = [kept for piece in content for kept in self._kept("user", piece)]
                return [ToolResultBlock(tool_id(own), tuple(said) or (TextBlock("(no output)"),), failed)]
            case _:
                return [TextBlock(f"[{block.type}]") if role == "assistant" else self._media(block)]

    def _media(self, block):
        is_image = isinstance(block, ImageBlock)
        kind = (PICTURES if is_image else TYPES).get(block.media_type)
        if kind is None or block.data in ("", BROKEN):
            return TextBlock("[image]" if is_image else f"[document: {wire.mended(block.name)}]")
        return (
            ImageBlock(kind, block.data)
            if is_image
            else DocumentBlock(kind, block.data, self._name(block.name))
        )

    def _name(self, name):
        plain = "".join(c if c.isspace() or re.match(r"[A-Za-z0-9()\[\]-]", c) else "-" for c in name)
        plain = " ".join(plain.split())[:180].strip("- ") or "document"
        number, found = 1, plain
        while found in self._names:
            number += 1
            found = f"{plain} {number}"
        self._names.add(found)
        return found


def tool_id(own):
    if re.fullmatch("[a-zA-Z0-9_.:-]{1,64}", own):
        return own
    return hashlib.sha256(own.encode("utf-8", "surrogatepass")).hexdigest()


@settings(max_examples=150)
@given(histories())
def test_a_history_comes_back_with_the_documented_losses(history):
    """Issue 5: export → import equal, …; for the others, exactly the documented losses."""
    found, repairs = read(Reader, written(Writer(), history))
    assert found == joined(Expected(history).messages)
    assert repairs == []


@given(histories())
def test_an_export_is_what_boto3_sends(history):
    """Issue 5: exported `converse` histories validate against boto3's service model."""
    exported = written(Writer(), history)
    accepted.by_service_model(exported)
    roles = [message["role"] for message in exported]
    assert all(role != following for role, following in pairwise(roles))


@pytest.mark.parametrize(
    "content",
    [
        {"text": 5},
        {"toolUse": {"toolUseId": "a b", "name": "n", "input": {}}},
        {"image": {"format": "bmp", "source": {"bytes": "QQ=="}}},
        {"document": {"format": "pdf", "source": {"bytes": "QQ=="}}},
        {"reasoningContent": {"reasoningText": {"text": "hm", "zap": "x"}}},
    ],
)
def test_a_broken_export_is_not_what_boto3_sends(content):
    with pytest.raises((AssertionError, KeyError)):
        accepted.by_service_model([{"role": "assistant", "content": [content]}])


def test_neighbours_are_one_message_whose_results_come_first():
    history = [user("one"), user((TextBlock("two"), ToolResultBlock("a", ()))), assistant("three")]
    assert written(Writer(), history) == [
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "a", "content": [{"text": "(no output)"}]}},
                {"text": "one"},
                {"text": "two"},
            ],
        },
        {"role": "assistant", "content": [{"text": "three"}]},
    ]


def test_documents_of_one_name_are_told_apart():
    pdf = DocumentBlock("application/pdf", "QQ==", "a/b.pdf")
    (message,) = written(Writer(), [user((pdf, pdf, DocumentBlock("application/pdf", "QQ==", "a-b-pdf 2")))])
    assert [block["document"]["name"] for block in message["content"]] == [
        "a-b-pdf",
        "a-b-pdf 2",
        "a-b-pdf 2 2",
    ]


def test_the_dialect_of_eai_is_read():
    elements = [
        {
            "role": "assistant",
            "content": [{"thinking": "hm"}, {"toolUseId": "a", "name": "run", "input": {"x": 1}}],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "ok"}]}}]},
        {"role": "user", "content": [{"image": {"format": "jpg", "source": {"bytes": "QQ=="}}}]},
    ]
    assert read(Reader, elements) == (
        [
            Message("assistant", (ThinkingBlock("hm"), ToolUseBlock("a", "run", {"x": 1}))),
            user((ToolResultBlock("a", (TextBlock("ok"),)),)),
            user((ImageBlock("image/jpeg", "QQ=="),)),
        ],
        [],
    )


@pytest.mark.parametrize(
    ("content", "blocks", "repair"),
    [
        ("hi", (TextBlock("hi"),), "string content was taken as text"),
        ([{"cachePoint": {}}], (), "a block of unknown kind 'cachePoint' was left out"),
        ([{"y" * 50: 1}], (), f"a block of unknown kind '{'y' * 39}…' was left out"),
        ([{}], (), "a block without a kind was left out"),
        ([7], (), "a part that is no object was left out"),
        ({"text": "a"}, (), "a content that is neither text nor a list was left out"),
        ([{"text": 7}], (), "a text that is no string was left out"),
        ([{"reasoningContent": {"redactedContent": "QQ=="}}], (), "a sealed thought was left out"),
        ([{"thinking": 7}], (), "a thought that is no string was left out"),
        ([{"thinking": "hm"}], (), "a thought said by the user was left out"),
        ([{"toolUse": {"toolUseId": "a", "name": "n"}}], (), "a tool use said by the user was left out"),
        ([{"toolUse": {"name": "n"}}], (), "a tool use without an id was left out"),
        ([{"toolUse": {"toolUseId": "a"}}], (), "a tool use without a name was left out"),
        ([{"toolResult": {"content": []}}], (), "a tool result without an id was left out"),
        (
            [{"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/" + "k" * 300}}}}],
            (TextBlock(f"[image: s3://b/{'k' * 193}]"),),
            "an image was not fetched from its address, which is kept as text",
        ),
        ([{"image": {}}], (), "an image without data was left out"),
        (
            [{"image": {"format": "png", "source": {"bytes": "*"}}}],
            (),
            "an image whose data is no base64 was left out",
        ),
        ([{"image": {"source": {"bytes": "QQ=="}}}], (), "an image without a media type was left out"),
        (
            [{"citationsContent": {"content": [{"text": "a"}, {"text": "b"}]}}],
            (TextBlock("ab"),),
            "citations were left out",
        ),
        (
            [{"toolResult": {"toolUseId": "a", "content": [{"json": {"x": 1}}]}}],
            (ToolResultBlock("a", (TextBlock('{"x":1}'),)),),
            "a tool's JSON was taken as text",
        ),
        (
            [{"toolResult": {"toolUseId": "a", "content": [{"searchResult": {}}]}}],
            (ToolResultBlock("a", ()),),
            "a block of unknown kind 'searchResult' was left out",
        ),
    ],
)
def test_what_cannot_be_kept_is_mended_and_noted(content, blocks, repair):
    found, repairs = read(Reader, [{"role": "user", "content": content}])
    assert found == ([user(blocks)] if blocks else [])
    assert repairs[0] == f"{repair} (message 1)"
    assert blocks or repairs[-1] == "a message without content was left out (message 1)"


def test_text_documents_and_guarded_text_are_read():
    content: Any = [
        {"guardContent": {"text": {"text": "careful"}}},
        {"document": {"format": "md", "name": "a", "source": {"text": "# A"}}},
        {"document": {"name": "b", "source": {"content": [{"text": "B"}]}}},
        {"document": {"source": {"bytes": "QQ=="}}},
    ]
    assert read(Reader, [{"role": "user", "content": content}]) == (
        [
            user(
                (
                    TextBlock("careful"),
                    DocumentBlock("text/markdown", "IyBB", "a"),
                    DocumentBlock("text/plain", "Qg==", "b"),
                    DocumentBlock("application/octet-stream", "QQ=="),
                )
            )
        ],
        [],
    )


def test_a_system_message_is_left_out():
    found, repairs = read(Reader, [{"role": "system", "content": [{"text": "be kind"}]}])
    assert (found, repairs) == ([], ["a system message was left out: talk's `system` sets it (message 1)"])


@pytest.mark.parametrize(
    ("element", "said"),
    [({"role": "boss"}, "the role 'boss'"), ({"role": 5}, "no role"), ({}, "no role")],
)
def test_an_unknown_role_is_refused(element, said):
    with pytest.raises(
        ImportInvalid, match=f"message 1 has {said}; known are user, assistant, system, developer"
    ):
        read(Reader, [element])


@pytest.mark.parametrize("kind", ["input", "json"])
def test_what_is_nested_too_deep_is_refused(kind):
    deep: Any = []
    for _ in range(wire.DEEPEST + 2):
        deep = [deep]
    block: Any = (
        {"toolUse": {"toolUseId": "a", "name": "n", "input": {"x": deep}}}
        if kind == "input"
        else {"toolResult": {"toolUseId": "a", "content": [{"json": deep}]}}
    )
    with pytest.raises(ImportInvalid, match=r"message 1 has a tool's .* nested"):
        read(Reader, [{"role": "user", "content": [block]}])


@given(ELEMENTS)
def test_any_json_is_read_or_refused(elements):
    """Issue 5: no input makes the importer raise outside the error tree."""
    holds_up(Reader, elements)


@given(spoiled(Writer, histories(longest=2)))
def test_a_spoiled_export_is_read_or_refused(elements):
    """Issue 5: no input makes the importer raise outside the error tree."""
    holds_up(Reader, elements)
