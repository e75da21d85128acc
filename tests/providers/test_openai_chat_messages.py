from typing import Any

import pytest
from pydantic import JsonValue

from eai_mcp.calls import ModelRequest
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    assistant,
    user,
)
from eai_mcp.providers.openai_chat_messages import wire_messages
from eai_mcp.providers.openai_chat_quirks import Quirks
from tests.providers.answering import model

IMAGE = ImageBlock("image/png", "aW1n")
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aW1n"}}
DOCUMENT = DocumentBlock("application/pdf", "cGRm", "a.pdf")
DOCUMENT_PART = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"},
}
USE = ToolUseBlock("c1", "look", {"b": 1, "a": "é"})
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"b":1,"a":"é"}'}}


def wired(*messages: Message, system: str | None = None, **quirks) -> list[Any]:
    request = ModelRequest(messages=messages, system=system)
    return wire_messages(request, model(), Quirks(**quirks))


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def result(*blocks, tool_use_id: str = "c1", failed: bool = False) -> ToolResultBlock:
    return ToolResultBlock(tool_use_id, blocks, failed)


def test_plain_talk_is_sent_as_it_was_said():
    assert wired(user("hello"), assistant("hi"), user("bye"), system="be kind") == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "bye"},
    ]


def test_several_texts_are_one_string():
    assert wired(user((TextBlock("a"), TextBlock("b")))) == [{"role": "user", "content": "a\n\nb"}]


def test_pictures_and_files_are_parts_in_their_order():
    assert wired(user((TextBlock("see"), IMAGE, TextBlock("and"), DOCUMENT))) == [
        {"role": "user", "content": [text("see"), IMAGE_PART, text("and"), DOCUMENT_PART]}
    ]


def test_a_tool_call_and_its_result_are_paired():
    assert wired(
        user("look"), Message("assistant", (TextBlock("ok"), USE)), user((result(TextBlock("seen")),))
    ) == [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": "ok", "tool_calls": [TOOL_CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
    ]


def test_a_tool_that_failed_says_so_in_words():
    assert wired(user((result(TextBlock("no file"), failed=True),))) == [
        {"role": "tool", "tool_call_id": "c1", "content": "Error: no file"}
    ]


def test_a_call_without_words_has_no_content():
    assert wired(Message("assistant", (USE,))) == [
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    ]


def test_pictures_out_of_tools_follow_after_the_last_result():
    uses = (USE, ToolUseBlock("c2", "find", {}))
    picture, plain = result(TextBlock("here"), IMAGE), result(tool_use_id="c2")

    for messages in ([user((picture, plain))], [user((picture,)), user((plain,))]):
        assert wired(Message("assistant", uses), *messages, assistant("nice"))[1:] == [
            {"role": "tool", "tool_call_id": "c1", "content": "here\n\n[image: in the next message]"},
            {"role": "tool", "tool_call_id": "c2", "content": ""},
            {"role": "user", "content": [text("[image from look]"), IMAGE_PART]},
            {"role": "assistant", "content": "nice"},
        ]


def test_pictures_out_of_tools_join_what_the_user_says_next():
    assert wired(user((result(DOCUMENT), TextBlock("and?")))) == [
        {"role": "tool", "tool_call_id": "c1", "content": "[document: in the next message]"},
        {"role": "user", "content": [text("[document from the tool]"), DOCUMENT_PART, text("and?")]},
    ]


def test_thinking_is_left_out():
    assert wired(Message("assistant", (ThinkingBlock("why"), TextBlock("a")))) == [
        {"role": "assistant", "content": "a"}
    ]


def test_what_a_role_cannot_say_is_left_out_or_marked():
    assert wired(user((ThinkingBlock("x"), USE))) == []
    assert wired(Message("assistant", (ThinkingBlock("x"),)), Message("assistant", ())) == []
    assert wired(Message("assistant", (TextBlock("a"), IMAGE))) == [
        {"role": "assistant", "content": "a\n\n[image]"}
    ]


def test_reasoning_goes_back_to_the_model_that_it_came_from():
    state = ProviderState("openai_chat", "wire-1", {"reasoning_content": "why"})
    asking, saying = (
        Message("assistant", (USE,), state=state),
        Message("assistant", (TextBlock("a"),), state=state),
    )

    with_reasoning, without = wired(asking, saying, reasoning_back="reasoning_content")
    assert with_reasoning["reasoning_content"] == "why"
    assert "reasoning_content" not in without
    assert "reasoning_content" not in wired(asking)[0]


@pytest.mark.parametrize(
    "state",
    [
        None,
        ProviderState("openai_chat", "wire-2", {"reasoning_content": "why", "reasoning_details": [{}]}),
        ProviderState("anthropic", "wire-1", {"reasoning_content": "why", "reasoning_details": [{}]}),
        ProviderState("openai_chat", "wire-1", "odd"),
    ],
)
def test_reasoning_of_another_model_stays_where_it_is(state):
    asking = Message("assistant", (USE,), state=state)

    assert wired(asking, reasoning_back="reasoning_content")[0]["reasoning_content"] == ""
    assert "reasoning_details" not in wired(asking, reasoning_back="reasoning_details")[0]


def test_reasoning_details_go_back_unchanged_with_and_without_tools():
    details: list[JsonValue] = [{"type": "reasoning.text", "text": "why", "signature": "s"}]
    state = ProviderState("openai_chat", "wire-1", {"reasoning_details": details})

    for block in (USE, TextBlock("a")):
        (sent,) = wired(Message("assistant", (block,), state=state), reasoning_back="reasoning_details")
        assert sent["reasoning_details"] == details


def test_tool_ids_are_cut_down_to_what_the_endpoint_takes():
    use = ToolUseBlock("toolu_" + "x" * 60, "look", {})
    messages = (Message("assistant", (use,)), user((result(TextBlock("a"), tool_use_id=use.id),)))

    asked, answered = wired(*messages)
    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert len(answered["tool_call_id"]) == 40


def test_mistral_gets_nine_letters_and_digits_and_the_tools_name():
    messages = (Message("assistant", (USE,)), user((result(TextBlock("a")),)))

    asked, answered = wired(*messages, mistral_tools=True)
    own = asked["tool_calls"][0]["id"]
    assert own.isalnum()
    assert len(own) == 9
    assert answered == {"role": "tool", "tool_call_id": own, "name": "look", "content": "a"}
    kept = Message("assistant", (ToolUseBlock("aB3456789", "look", {}),))
    assert wired(kept, mistral_tools=True)[0]["tool_calls"][0]["id"] == "aB3456789"
