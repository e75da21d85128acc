"""Conversations as Converse takes them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp import wire
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
from eai_mcp.providers.bedrock_messages import Transcript, tool_id
from tests.providers.bedrock_bytes import calls, end, folded, text, thinking

PNG = ImageBlock("image/png", "aGk=")
PDF = DocumentBlock("application/pdf", "aGk=", "The report")
CALL = Message("assistant", (ToolUseBlock("t1", "add", {"x": 1}),))
START = {"role": "user", "content": [{"text": "(The conversation begins.)"}]}


def sent(*messages: Message, model: str = "w", back: bool = True, marked: bool = False) -> list[Any]:
    transcript = Transcript(ModelRequest(messages=messages), model=model, reasoning_back=back)
    return transcript.messages(marked=marked)


def result(*content, failed: bool = False) -> Message:
    return user((ToolResultBlock("t1", content, failed),))


def test_words_go_out_in_turns():
    assert sent(user("a"), assistant("b"), user("c")) == [
        {"role": "user", "content": [{"text": "a"}]},
        {"role": "assistant", "content": [{"text": "b"}]},
        {"role": "user", "content": [{"text": "c"}]},
    ]


def test_the_roles_take_turns_and_the_user_begins():
    assert sent(assistant("a"), assistant("b"), user("c"), user("d")) == [
        START,
        {"role": "assistant", "content": [{"text": "a"}, {"text": "b"}]},
        {"role": "user", "content": [{"text": "c"}, {"text": "d"}]},
    ]
    assert sent() == [START]


def test_blank_text_is_left_out():
    """Facts on Bedrock: text blocks may not be empty."""
    blank = user((TextBlock(" \n"), TextBlock("a"), TextBlock("")))

    assert sent(blank, assistant(""), user("b")) == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
    ]


def test_pictures_and_documents_go_along():
    """Issue 3: images in user messages, documents where the API takes them."""
    assert sent(user((TextBlock("look"), PNG, ImageBlock("image/jpg; q=1", "aGk="), PDF))) == [
        {
            "role": "user",
            "content": [
                {"text": "look"},
                {"image": {"format": "png", "source": {"bytes": "aGk="}}},
                {"image": {"format": "jpeg", "source": {"bytes": "aGk="}}},
                {"document": {"format": "pdf", "name": "The report", "source": {"bytes": "aGk="}}},
            ],
        }
    ]


def test_a_document_stands_beside_some_text():
    assert sent(user((PDF,)))[0]["content"][1] == {"text": "(The document is attached.)"}


@pytest.mark.parametrize(
    ("media_type", "known"),
    [
        ("text/plain; charset=utf-8", "txt"),
        ("text/x-python", "txt"),
        ("application/json", "txt"),
        ("text/csv", "csv"),
        ("text/html", "html"),
        ("text/markdown", "md"),
        ("application/msword", "doc"),
        ("application/epub", "epub"),
    ],
)
def test_a_documents_format_comes_from_its_type(media_type, known):
    (message,) = sent(user((TextBlock("a"), DocumentBlock(media_type, ""))))

    assert message["content"][1]["document"]["format"] == known


def test_the_names_of_documents_are_plain_and_unlike():
    names = ["a_b.pdf", "a_b.pdf", "a-b-pdf", "  x \n y ", "日本", "../../etc", "n" * 300]
    (message,) = sent(user((TextBlock("a"), *(DocumentBlock("text/plain", "", name) for name in names))))

    assert [block["document"]["name"] for block in message["content"][1:]] == [
        "a-b-pdf", "a-b-pdf 2", "a-b-pdf 3", "x y", "document", "etc", "n" * 190,
    ]  # fmt: skip


@given(st.lists(st.text(max_size=250), max_size=4))
def test_any_name_becomes_one_that_is_taken(names):
    (message,) = sent(user((TextBlock("a"), *(DocumentBlock("text/plain", "", name) for name in names))))
    found = [block["document"]["name"] for block in message["content"][1:]]

    assert len({*found}) == len(names)
    for name in found:
        assert 1 <= len(name) <= 200
        assert "  " not in name
        assert name.isascii()


def test_tool_results_keep_their_blocks_and_their_failure():
    """Issue 3: tool results with errors and several blocks, images in tool results."""
    messages = sent(user("a"), CALL, result(TextBlock("no"), PNG, PDF, failed=True), user("go on"))

    assert messages[1]["content"] == [{"toolUse": {"toolUseId": "t1", "name": "add", "input": {"x": 1}}}]
    assert messages[2]["content"] == [
        {
            "toolResult": {
                "toolUseId": "t1",
                "content": [
                    {"text": "no"},
                    {"image": {"format": "png", "source": {"bytes": "aGk="}}},
                    {"document": {"format": "pdf", "name": "The report", "source": {"bytes": "aGk="}}},
                ],
                "status": "error",
            }
        },
        {"text": "go on"},
    ]


def test_results_come_first_in_a_message_and_say_something():
    both = user((TextBlock("by the way"), ToolResultBlock("t1", (TextBlock(""),))))

    assert sent(user("a"), CALL, both)[2]["content"] == [
        {"toolResult": {"toolUseId": "t1", "content": [{"text": "(no output)"}]}},
        {"text": "by the way"},
    ]


def test_ids_and_names_of_other_providers_are_made_fit():
    strange = "call|" + "x" * 100
    use = Message("assistant", (ToolUseBlock(strange, "do.it now", {}), ToolUseBlock("u", "", {})))
    messages = sent(user("a"), use, user((ToolResultBlock(strange, (TextBlock("b"),)),)))

    (first, second), (back,) = messages[1]["content"], messages[2]["content"]
    assert first["toolUse"]["toolUseId"] == back["toolResult"]["toolUseId"] == tool_id(strange)
    assert len(tool_id(strange)) == 64
    assert (first["toolUse"]["name"], second["toolUse"]["name"]) == ("do_it_now", "_")


def test_what_a_role_cannot_say_is_left_out_or_named():
    odd = Message("user", (ThinkingBlock("hm"), ToolUseBlock("x", "y", {}), TextBlock("a")))
    shown = Message("assistant", (ThinkingBlock("hm"), ToolResultBlock("x", ()), PNG, PDF))

    assert sent(odd, shown) == [
        {"role": "user", "content": [{"text": "a"}]},
        {"role": "assistant", "content": [{"text": "[image]"}, {"text": "[document]"}]},
    ]


def answered(*more: bytes) -> Message:
    pieces = [
        thinking(0, text="Hm"),
        thinking(0, signature="c2lnbg=="),
        thinking(1, redactedContent="c2VhbA=="),
        text(" ", 2),
        text("a", 3),
        *more,
    ]
    return folded(pieces).message


def kept(said: Message) -> list[Any]:
    assert said.state is not None
    return wire.items(said.state.data)


REASONING = [
    {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "c2lnbg=="}}},
    {"reasoningContent": {"redactedContent": "c2VhbA=="}},
]
USE = {"toolUse": {"toolUseId": "t1", "name": "add", "input": {}}}


def test_reasoning_goes_back_unchanged_to_the_model_that_made_it():
    """Facts, section 9: Bedrock wants its reasoningContent blocks back, in place and unchanged."""
    said = answered(calls(4, "t1", "add"), end("tool_use"))

    messages = sent(user("q"), said, result(TextBlock("1")))
    assert messages[1]["content"] == [*REASONING, {"text": "a"}, USE]
    assert {"text": " "} in kept(said)


@pytest.mark.parametrize("case", ["other model", "other provider", "not wanted", "other tools"])
def test_on_a_switch_reasoning_is_dropped_and_the_text_is_kept(case):
    """Issue 3: sent back to the same provider and model, dropped with the text kept on a switch."""
    said = answered(calls(4, "t1", "add"), end("tool_use"))
    assert said.state is not None
    if case == "other provider":
        said = Message("assistant", said.content, state=ProviderState("x", "w", said.state.data))
    if case == "other tools":
        said = Message("assistant", said.content[:-1], state=said.state)

    messages = sent(
        user("q"), said, user("r"), model="v" if case == "other model" else "w", back=case != "not wanted"
    )
    assert messages[1]["content"] == [{"text": "a"}, *([USE] if case != "other tools" else [])]


def test_a_message_of_nothing_but_thinking_is_left_out():
    said = folded([thinking(0, text="Hm", signature="s"), end("max_tokens")]).message

    assert sent(user("q"), said, user("r")) == [{"role": "user", "content": [{"text": "q"}, {"text": "r"}]}]


def test_an_id_that_is_not_taken_is_made_fit_in_the_models_own_message_too():
    said = folded([thinking(0, signature="s"), calls(1, "a b", "add"), end("tool_use")]).message
    own = sent(user("q"), said)[1]["content"]

    assert own[1]["toolUse"]["toolUseId"] == tool_id("a b")
    assert kept(said)[1]["toolUse"]["toolUseId"] == "a b"  # what is kept stays as it came


def test_the_mark_stands_at_the_end_of_the_users_last_message():
    mark = {"cachePoint": {"type": "default"}}
    messages = sent(user("a"), assistant("b"), user("c"), assistant("d"), marked=True)

    assert messages[2]["content"] == [{"text": "c"}, mark]
    assert str(messages).count("cachePoint") == 1


def test_a_longer_conversation_begins_as_the_shorter_one_did():
    """Issue 3: byte-stable prefixes."""
    history = (user("a"), CALL, result(PNG, PDF), answered(end()), user((PDF,)), assistant("b"))

    whole = sent(*history)
    assert all(whole[:-1][:length] == sent(*history)[:length] for length in range(len(whole)))
    assert sent(*history[:4]) == whole[:4]
