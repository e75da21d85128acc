import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.calls import ModelRequest
from eai_mcp.messages import (
    Block,
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
from eai_mcp.providers.anthropic_messages import lacks_thought, wire_messages, wire_system
from tests.providers.answering import model

MARK = {"cache_control": {"type": "ephemeral"}}
IMAGE = ImageBlock("image/png", "aW1n")
WIRE_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aW1n"}}
PDF = DocumentBlock("application/pdf", "cGRm", "a.pdf")
WIRE_PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "cGRm"},
    "title": "a.pdf",
}
USE = ToolUseBlock("c1", "look", {"b": 1, "a": "é"})
WIRE_USE = {"type": "tool_use", "id": "c1", "name": "look", "input": {"b": 1, "a": "é"}}
KEPT: list[Any] = [
    {"type": "thinking", "thinking": "", "signature": "sealed"},
    {"type": "redacted_thinking", "data": "x"},
    {"type": "text", "text": "ok", "citations": None},
    WIRE_USE,
]


def wired(*messages: Message, marked: bool = False) -> list[Any]:
    return wire_messages(ModelRequest(messages=messages), model(), marked=marked)


def content(*messages: Message, marked: bool = False) -> list[Any]:
    (message,) = wired(*messages, marked=marked)
    found: list[Any] = message["content"]
    return found


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def result(*blocks: Any, tool_use_id: str = "c1", failed: bool = False) -> ToolResultBlock:
    return ToolResultBlock(tool_use_id, blocks, failed)


def wire_result(*blocks: Any, tool_use_id: str = "c1") -> dict[str, Any]:
    said = {"content": [*blocks]} if blocks else {}
    return {"type": "tool_result", "tool_use_id": tool_use_id, **said}


def kept(*, provider: str = "anthropic", wire_model: str = "wire-1", **fields: Any) -> Message:
    state = ProviderState(provider, wire_model, fields.pop("data", KEPT))
    return Message("assistant", (ThinkingBlock("why", "s"), TextBlock("ok"), USE), state=state, **fields)


def test_plain_talk_is_sent_as_it_was_said():
    assert wired(user("hello"), assistant("hi"), user("bye")) == [
        {"role": "user", "content": [text("hello")]},
        {"role": "assistant", "content": [text("hi")]},
        {"role": "user", "content": [text("bye")]},
    ]


def test_pictures_and_files_are_blocks_in_their_order():
    """Issue 3: images in user messages, documents where the API takes them."""
    said = (TextBlock("see"), IMAGE, TextBlock("and"), PDF)

    assert content(user(said)) == [text("see"), WIRE_IMAGE, text("and"), WIRE_PDF]


def test_a_plain_text_is_a_document_of_words():
    data = base64.b64encode("naïve".encode()).decode()
    source = {"type": "text", "media_type": "text/plain", "data": "naïve"}

    plain = DocumentBlock("text/plain", data, "a.txt")
    assert content(user((plain,))) == [{"type": "document", "source": source, "title": "a.txt"}]
    assert content(user((DocumentBlock("text/markdown", data, " "),))) == [
        {"type": "document", "source": source}
    ]


def test_a_plain_text_that_is_not_base64_goes_as_it_is():
    (sent,) = content(user((DocumentBlock("text/plain", "a", "a.txt"),)))

    assert sent["source"] == {"type": "base64", "media_type": "text/plain", "data": "a"}


def test_results_of_parallel_calls_stand_together_and_first():
    """Facts, section 4: tool results go in one user message, first in its content."""
    find = ToolUseBlock("c2", "find", {})
    wire_find = {**WIRE_USE, "id": "c2", "name": "find", "input": {}}
    asking = Message("assistant", (TextBlock("ok"), USE, find))
    pictured = result(TextBlock("here"), IMAGE, PDF)
    answers = (user((TextBlock("so"), pictured)), user((result(tool_use_id="c2"), TextBlock("go"))))

    assert wired(asking, *answers) == [
        {"role": "assistant", "content": [text("ok"), WIRE_USE, wire_find]},
        {
            "role": "user",
            "content": [
                wire_result(text("here"), WIRE_IMAGE, WIRE_PDF),
                wire_result(tool_use_id="c2"),
                text("so"),
                text("go"),
            ],
        },
    ]  # fmt: skip


def test_a_tool_that_failed_says_so_and_never_says_nothing():
    failed = {"is_error": True}

    assert content(user((result(TextBlock("no file"), failed=True),))) == [
        {**wire_result(text("no file")), **failed}
    ]
    assert content(user((result(failed=True),))) == [
        {**wire_result(text("The tool failed and said nothing.")), **failed}
    ]


def test_blocks_without_a_word_are_left_out():
    """Facts, section 5, and here alike: text blocks may not be empty."""
    assert wired(user(" \n"), assistant(""), user((TextBlock(""),))) == []
    assert content(user((TextBlock(""), IMAGE, result(TextBlock(" "))))) == [wire_result(), WIRE_IMAGE]
    assert content(kept(data=[text(""), *KEPT, text(" ")])) == KEPT


def test_neighbours_of_one_role_are_one_message():
    assert wired(user("a"), assistant(""), user("b"), assistant("c"), assistant("d")) == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
    ]


def test_what_a_role_cannot_say_is_left_out_or_marked():
    assert wired(user((ThinkingBlock("x"), USE))) == []
    assert content(Message("assistant", (TextBlock("a"), IMAGE, result()))) == [text("a"), text("[image]")]


def test_thoughts_go_back_unchanged_to_the_model_that_had_them():
    """Facts, section 9: all thinking blocks, in place, unchanged, even empty ones with a signature."""
    assert content(kept()) == KEPT


@pytest.mark.parametrize(
    "message",
    [
        kept(provider="bedrock"),
        kept(wire_model="wire-2"),
        kept(partial=True),
        Message("assistant", kept().content),
    ],
    ids=["provider", "model", "partial", "no state"],
)
def test_thoughts_of_another_model_are_dropped_and_the_words_kept(message):
    """Issue 3: sent back to the same provider and model, dropped with the text kept on a switch."""
    assert content(message) == [text("ok"), WIRE_USE]


def test_a_reply_that_was_cut_off_in_thought_loses_the_thought():
    thought, cut = KEPT[0], {"type": "thinking", "thinking": "so"}

    assert content(kept(data=[thought, text("ok"), cut])) == [thought, text("ok")]
    assert wired(kept(data=[thought, cut])) == []
    assert wired(kept(data="odd")) == []


def test_tool_ids_of_other_providers_become_ones_that_are_taken():
    use = ToolUseBlock("functions.look:0", "look", {})
    messages = (Message("assistant", (use,)), user((result(tool_use_id=use.id),)))

    asking, answering = wired(*messages)
    own = asking["content"][0]["id"]
    assert own == answering["content"][0]["tool_use_id"]
    assert own.replace("_", "").isalnum()


SEEN = user((result(TextBlock("seen")),))
OTHERS = Message("assistant", (USE,))


@pytest.mark.parametrize(
    ("messages", "lacks"),
    [
        ([user("a")], False),
        ([user("a"), OTHERS, SEEN], True),
        ([user("a"), kept(), SEEN], False),
        ([user("a"), kept(), SEEN, OTHERS, SEEN], False),
        ([user("a"), OTHERS, SEEN, kept(), SEEN], True),
        ([user("a"), OTHERS, SEEN, assistant("b"), user("c")], False),
        ([user("a"), assistant("b")], True),
        ([], False),
    ],
)
def test_a_turn_is_known_to_have_begun_without_a_thought(messages, lacks):
    assert lacks_thought(wired(*messages)) is lacks


def test_the_ends_of_system_and_history_are_marked_for_the_cache():
    """Issue 3: cache marks for Anthropic."""
    assert wire_system("be kind", marked=True) == [{**text("be kind"), **MARK}]
    assert wire_system("be kind", marked=False) == "be kind"
    assert wire_system(" ", marked=True) is wire_system(None, marked=True) is None

    first, last = wired(user("a"), kept(), marked=True)
    assert first == {"role": "user", "content": [text("a")]}
    assert last["content"] == [*KEPT[:3], {**WIRE_USE, **MARK}]
    assert "cache_control" not in KEPT[3]
    assert wired(marked=True) == []


def test_a_block_that_bears_no_mark_is_passed_over():
    search = {"type": "web_search_tool_result", "content": []}

    assert content(kept(data=[text("a"), search]), marked=True) == [{**text("a"), **MARK}, search]
    assert content(kept(data=[search]), marked=True) == [search]


WORDS = st.sampled_from(["", "a", "b c", "\u2028"])
BLOCKS = st.one_of(st.builds(TextBlock, WORDS), st.just(IMAGE))
TURNS = st.lists(
    st.one_of(
        st.builds(lambda blocks: user(tuple(blocks)), st.lists(BLOCKS, max_size=3)),
        st.builds(assistant, WORDS),
        st.just(kept()),
    ),
    max_size=6,
)


@given(turns=TURNS, length=st.integers(0, 6))
def test_a_longer_history_begins_with_what_the_shorter_one_was(turns, length):
    """Issue 3: byte-stable prefixes, apart from the marks."""

    def flat(messages: list[Message]) -> list[tuple[str, Any]]:
        return [(said["role"], block) for said in wired(*messages) for block in said["content"]]

    shorter = flat(turns[:length])
    assert flat(turns)[: len(shorter)] == shorter
    marked = str(wired(*turns, marked=True))
    assert marked.count("cache_control") <= 1
    assert marked.replace(", 'cache_control': {'type': 'ephemeral'}", "") == str(wired(*turns))


def test_every_kind_of_block_is_wired():
    every: tuple[Block, ...] = (TextBlock("a"), ThinkingBlock("b"), IMAGE, PDF, USE, result())

    for role in ("user", "assistant"):
        assert wired(Message(role, every))
