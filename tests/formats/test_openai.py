import hashlib
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from openai.types.chat import ChatCompletionMessageParam

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid
from eai_mcp.formats.openai import Reader, Writer
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


class Expected:
    """A history after the losses that the module tells."""

    def __init__(self, history):
        self.messages: list[Message] = []
        self._late: list[TextBlock | ImageBlock | DocumentBlock] = []
        self._names: dict[str, str] = {}
        for message in history:
            if message.role == "user":
                self._heard(message)
            else:
                self._said(message)
        self._catch_up([])

    def _heard(self, message):
        for block in message.content:
            if isinstance(block, ToolResultBlock):
                self.messages.append(user((self._result(block),)))
        rest = [block for block in message.content if not isinstance(block, ToolResultBlock)]
        kept = [shown(block) for block in rest if block != TextBlock("")]
        if all(isinstance(block, TextBlock) for block in rest) and kept and not self._late:
            kept = [TextBlock("\n\n".join(block.text for block in kept))]
        if kept:
            self._catch_up(kept)

    def _result(self, block):
        texts = []
        for piece in map(shown, block.content):
            if isinstance(piece, TextBlock):
                texts.append(piece.text)
            else:
                texts.append(f"[{piece.type}: in the next message]")
                name = wire.mended(self._names[block.tool_use_id])
                self._late += [TextBlock(f"[{piece.type} from {name}]"), piece]
        text = ("Error: " if block.failed else "") + "\n\n".join(text for text in texts if text)
        return ToolResultBlock(tool_id(block.tool_use_id), (TextBlock(text),) if text else ())

    def _said(self, message):
        self._catch_up([])
        blocks = [block for block in message.content if not isinstance(block, ThinkingBlock)]
        uses = [block for block in blocks if isinstance(block, ToolUseBlock)]
        texts = [
            wire.mended(block.text) if isinstance(block, TextBlock) else f"[{block.type}]"
            for block in blocks
            if not isinstance(block, ToolUseBlock)
        ]
        text = "\n\n".join(text for text in texts if text)
        self._names = {use.id: use.name for use in uses}
        called = [ToolUseBlock(tool_id(use.id), wire.mended(use.name), mended(use.input)) for use in uses]
        if text or called:
            self.messages.append(Message("assistant", (*([TextBlock(text)] if text else []), *called)))

    def _catch_up(self, blocks):
        if self._late or blocks:
            self.messages.append(user((*self._late, *blocks)))
        self._late = []


def shown(block):
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
    if len(own) <= 40 and wire.mended(own) == own:
        return own
    return hashlib.sha256(own.encode("utf-8", "surrogatepass")).hexdigest()[:40]


@settings(max_examples=150)
@given(histories())
def test_a_history_comes_back_with_the_documented_losses(history):
    """Issue 5: export → import equal, …; for the others, exactly the documented losses."""
    found, repairs = read(Reader, written(Writer(), history))
    assert found == joined(Expected(history).messages)
    assert repairs == []


@given(histories())
def test_an_export_is_what_the_sdk_sends(history):
    """Issue 5: exported `openai` … histories validate against the official SDKs' request types."""
    accepted.by_type(ChatCompletionMessageParam, written(Writer(), history))


@pytest.mark.parametrize(
    "message",
    [
        {"role": "boss", "content": "hi"},
        {"role": "user", "content": [{"type": "zap"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi", "color": "red"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": "data:"}]},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "n"}}]},
        {"role": "tool", "content": [{"type": "image_url", "image_url": {"url": "x"}}], "tool_call_id": "a"},
    ],
)
def test_a_broken_export_is_not_what_the_sdk_sends(message):
    with pytest.raises((AssertionError, pydantic.ValidationError)):
        accepted.by_type(ChatCompletionMessageParam, [message])


def test_pictures_of_results_follow_the_last_of_them():
    uses = Message(
        "assistant", (TextBlock("hm"), ToolUseBlock("a", "look", {"x": 1}), ToolUseBlock("b", "run", {}))
    )
    results = user(
        (ToolResultBlock("a", (PNG, TextBlock("one"))), ToolResultBlock("b", (TextBlock("no"),), True))
    )
    assert written(Writer(), [uses, results, user((TextBlock("and?"),))]) == [
        {
            "role": "assistant",
            "content": "hm",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"x":1}'}},
                {"id": "b", "type": "function", "function": {"name": "run", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "[image: in the next message]\n\none"},
        {"role": "tool", "tool_call_id": "b", "content": "Error: no"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "[image from look]"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                {"type": "text", "text": "and?"},
            ],
        },
    ]


def test_words_alone_are_a_string_and_others_are_parts():
    history = [user((TextBlock("a"), TextBlock("b"))), user((TextBlock("c"), PDF)), assistant("")]
    assert written(Writer(), history) == [
        {"role": "user", "content": "a\n\nb"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "c"},
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
                },
            ],
        },
    ]


def test_the_ways_of_other_servers_are_read():
    elements: Any = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBERi0="}}]},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
            "reasoning_content": "hm",
            "reasoning": "hm",
            "refusal": "c",
            "tool_calls": [
                {"id": "1", "function": {"name": "n", "arguments": {"x": 1}}},
                {"id": "2", "type": "function", "function": {"name": "n", "arguments": ""}},
                {"id": "3", "type": "function", "function": {"name": "n", "arguments": "{oops"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "Error: kept"}]},
        {"role": "tool", "tool_call_id": "2", "content": None},
    ]
    assert read(Reader, elements) == (
        [
            user((DocumentBlock("application/pdf", "JVBERi0="),)),
            Message(
                "assistant",
                (
                    ThinkingBlock("hm"),
                    TextBlock("a"),
                    TextBlock("b"),
                    TextBlock("c"),
                    ToolUseBlock("1", "n", {"x": 1}),
                    ToolUseBlock("2", "n", {}),
                    ToolUseBlock("3", "n", {wire.INVALID_JSON: "{oops"}),
                ),
            ),
            user((ToolResultBlock("1", (TextBlock("Error: kept"),)), ToolResultBlock("2", ()))),
        ],
        [
            "a system message was left out: talk's `system` sets it (message 1)",
            "a tool's input that is no JSON object was kept as text (message 3)",
        ],
    )


@pytest.mark.parametrize(
    ("message", "repair"),
    [
        ({"content": [{"type": "input_audio"}]}, "a part of unknown kind 'input_audio' was left out"),
        ({"content": [{"text": "a"}]}, "a part without a kind was left out"),
        ({"content": 7}, "a content that is neither text nor a list was left out"),
        ({"content": ["a"]}, "a part that is no object was left out"),
        ({"refusal": 7}, "a text that is no string was left out"),
        ({"tool_calls": {}}, "tool_calls that are no list were left out"),
        ({"tool_calls": [7]}, "a tool use without a name was left out"),
        ({"tool_calls": [{"id": 7}]}, "a tool use without an id was left out"),
        ({"tool_calls": [{"id": "a", "function": {}}]}, "a tool use without a name was left out"),
        ({"tool_calls": [{"id": "a", "type": "custom"}]}, "a tool use of unknown kind 'custom' was left out"),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "data:image/png,%89PNG"}}]},
            "an image whose data is no base64 was left out",
        ),
        ({"content": [{"type": "image_url", "image_url": 7}]}, "an image without data was left out"),
        ({"content": [{"type": "file", "file": {"filename": "a"}}]}, "a document without data was left out"),
    ],
)
def test_what_cannot_be_kept_is_left_out_and_noted(message, repair):
    found, repairs = read(Reader, [{"role": "assistant", **message}])
    assert found == []
    assert repairs == [f"{repair} (message 1)", "a message without content was left out (message 1)"]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}, "[image: https://a.b/c.png]"),
        ({"type": "image_url", "image_url": "https://a.b/c.png"}, "[image: https://a.b/c.png]"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "[document: file-1]"),
    ],
)
def test_what_stands_elsewhere_is_not_fetched(part, text):
    found, repairs = read(Reader, [{"role": "user", "content": [part]}])
    assert found == [user(text)]
    assert ["was not fetched from its address, which is kept as text" in repair for repair in repairs] == [
        True
    ]


def test_a_user_cannot_call_a_tool():
    call = {"id": "a", "type": "function", "function": {"name": "n", "arguments": "{}"}}
    assert read(Reader, [{"role": "user", "content": "hi", "reasoning": "hm", "tool_calls": [call]}]) == (
        [user("hi")],
        [
            "a thought said by the user was left out (message 1)",
            "a tool use said by the user was left out (message 1)",
        ],
    )


def test_a_tool_message_without_an_id_is_left_out():
    _, repairs = read(Reader, [{"role": "tool", "content": "a"}])
    assert repairs[0] == "a tool result without an id was left out (message 1)"


def test_calls_and_results_without_ids_are_brought_together():
    """Issue 5: unpaired tool uses: repaired or refused."""

    def asked(*names):
        calls = [{"function": {"name": name, "arguments": {"at": 1}}} for name in names]
        return {"role": "assistant", "content": "", "tool_calls": calls}

    history = [
        asked("look", "hear"),
        {"role": "tool", "tool_name": "hear", "content": "waves"},
        {"role": "tool", "content": "the sea"},
        {"role": "assistant", "function_call": {"name": "smell", "arguments": "{}"}},
        {"role": "function", "name": "smell", "content": "salt"},
    ]
    uses = (ToolUseBlock("call_1_0", "look", {"at": 1}), ToolUseBlock("call_1_1", "hear", {"at": 1}))
    assert read(Reader, history) == (
        [
            Message("assistant", uses),
            user(
                (
                    ToolResultBlock("call_1_1", (TextBlock("waves"),)),
                    ToolResultBlock("call_1_0", (TextBlock("the sea"),)),
                )
            ),
            Message("assistant", (ToolUseBlock("call_4_0", "smell", {}),)),
            user((ToolResultBlock("call_4_0", (TextBlock("salt"),)),)),
        ],
        [],
    )


def test_what_was_spoken_is_read_as_words():
    spoken = {"role": "assistant", "content": None, "audio": {"id": "audio_1", "transcript": "Ahoy."}}
    assert read(Reader, [spoken]) == ([Message("assistant", (TextBlock("Ahoy."),))], [])


def test_an_unknown_role_is_refused():
    with pytest.raises(ImportInvalid, match=r"message 1 has the role 'wizard'; known are user, .*, tool"):
        read(Reader, [{"role": "wizard", "name": "n", "content": "a"}])


def test_arguments_nested_too_deep_are_refused_unless_they_are_text():
    deep: Any = {}
    for _ in range(wire.DEEPEST + 1):
        deep = {"x": deep}
    calls = [
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "n", "arguments": arguments}}]}
        for arguments in (wire.written(deep), "[" * 100_000, deep)
    ]
    for call in calls[:2]:
        (message,), _ = read(Reader, [call])
        (use,) = message.content
        assert isinstance(use, ToolUseBlock)
        assert [*use.input] == [wire.INVALID_JSON]
    with pytest.raises(ImportInvalid, match="nested more than 128 levels deep"):
        read(Reader, calls[2:])


@given(ELEMENTS)
def test_any_json_is_read_or_refused(elements):
    """Issue 5: no input makes the importer raise outside the error tree."""
    holds_up(Reader, elements)


@given(spoiled(Writer, histories(longest=2)))
def test_a_spoiled_export_is_read_or_refused(elements):
    """Issue 5: no input makes the importer raise outside the error tree."""
    holds_up(Reader, elements)
