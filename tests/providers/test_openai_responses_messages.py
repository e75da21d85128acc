"""Our messages as input items, and what of a reply goes back unchanged."""

from typing import Any

import pytest

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
from eai_mcp.providers.openai_responses_messages import wire_input
from tests.providers.openai_responses_events import ended, entry, message, thought, told, use

IMAGE = ImageBlock("image/png", "aW1n")
IMAGE_PART = {"type": "input_image", "image_url": "data:image/png;base64,aW1n", "detail": "auto"}
DOCUMENT = DocumentBlock("application/pdf", "cGRm", "a.pdf")
DOCUMENT_PART = {
    "type": "input_file",
    "filename": "a.pdf",
    "file_data": "data:application/pdf;base64,cGRm",
}
USE = ToolUseBlock("c1", "look", {"b": 1, "a": "é"})
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"b":1,"a":"é"}'}


def wired(*messages: Message, wire_model: str = "wire-1") -> list[Any]:
    return wire_input(ModelRequest(messages=messages), entry(model=wire_model))


def text(words: str) -> dict[str, str]:
    return {"type": "input_text", "text": words}


def said(words: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": words, "annotations": []}
    return {"type": "message", "role": "assistant", "content": [part]}


def output(content: Any, call_id: str = "c1") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": content}


def result(*blocks, tool_use_id: str = "c1", failed: bool = False) -> ToolResultBlock:
    return ToolResultBlock(tool_use_id, blocks, failed)


def test_plain_talk_is_sent_as_it_was_said():
    assert wired(user("hello"), assistant("hi"), user((TextBlock("a"), TextBlock("b")))) == [
        {"role": "user", "content": "hello"},
        said("hi"),
        {"role": "user", "content": "a\n\nb"},
    ]


def test_pictures_and_files_are_parts_in_their_order():
    """Issue 3: images in user messages, documents where the API takes them."""
    assert wired(user((TextBlock("see"), IMAGE, TextBlock("and"), DOCUMENT))) == [
        {"role": "user", "content": [text("see"), IMAGE_PART, text("and"), DOCUMENT_PART]}
    ]


def test_parallel_calls_come_in_order_and_their_results_before_what_the_user_adds():
    """Issue 3: tool use single and parallel in order, tool results with errors and several blocks."""
    other = ToolUseBlock("c2", "find", {})
    turn = (
        Message("assistant", (ThinkingBlock("hm"), TextBlock("ok"), USE, other)),
        user(
            (result(TextBlock("a"), TextBlock("b")), TextBlock("so?"), result(tool_use_id="c2", failed=True))
        ),
    )

    assert wired(*turn) == [
        said("ok"),
        CALL,
        {"type": "function_call", "call_id": "c2", "name": "find", "arguments": "{}"},
        output("a\n\nb"),
        output("Error: ", "c2"),
        {"role": "user", "content": "so?"},
    ]


def test_a_failed_result_says_so():
    assert wired(user((result(TextBlock("no"), failed=True),))) == [output("Error: no")]
    assert wired(user((result(IMAGE, failed=True),))) == [output([text("Error:"), IMAGE_PART])]


def test_pictures_and_files_stay_in_the_result_that_they_are_of():
    """Issue 3: images in tool results."""
    blocks = (TextBlock("see"), IMAGE, DOCUMENT)
    assert wired(user((result(*blocks),))) == [output([text("see"), IMAGE_PART, DOCUMENT_PART])]


def test_what_a_role_cannot_say_is_left_out():
    odd = user((ThinkingBlock("hm"), USE))
    assert wired(odd, Message("assistant", (result(TextBlock("a")), IMAGE, TextBlock("")))) == [
        said("[image]")
    ]


@pytest.mark.parametrize("own", ["", "x" * 65])
def test_an_id_that_openai_refuses_is_changed_alike_in_call_and_result(own):
    call = ToolUseBlock(own, "look", {})
    asks, answers = wired(Message("assistant", (call,)), user((result(tool_use_id=own),)))

    assert asks["call_id"] == answers["call_id"]
    assert len(asks["call_id"]) == 64
    kept = ProviderState("openai_responses", "wire-1", [use(call_id=own)])
    assert wired(Message("assistant", (call,), state=kept))[0]["call_id"] == asks["call_id"]


async def test_reasoning_goes_back_unchanged_right_before_its_call():
    """Issue 3: reasoning that goes back unchanged in tool turns (encrypted items).

    Issue 3: every output item of the turn in order: `reasoning` with `encrypted_content` right before its
    `function_call`."""
    items: Any = [
        thought("why", sealed="one", id="rs_1"),
        message("I look", phase="commentary"),
        thought(sealed="two", id="rs_2"),
        use("look", "{}", "call_1", surprise=[1]),
        use("find", "{}", "call_2"),
    ]
    response, _ = await told(ended(*items))

    assert response.message.state == ProviderState("openai_responses", "wire-1", items)
    assert wired(response.message, user((result(TextBlock("a"), tool_use_id="call_1"),))) == [
        *items,
        output("a", "call_1"),
    ]


async def test_on_another_model_or_provider_the_words_are_kept_and_the_reasoning_is_dropped():
    """Issue 3: sent back to the same provider and model, dropped with the text kept on a switch."""
    response, _ = await told(ended(thought("why"), message("ok"), use("look", '{"a": 1}')))
    neutral = [
        said("ok"),
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"a":1}'},
    ]

    assert wired(response.message, wire_model="wire-2") == neutral
    blocks = response.message.content
    elsewhere = Message("assistant", blocks, state=ProviderState("openai_chat", "wire-1", [thought()]))
    assert wired(elsewhere) == neutral
    cut = Message("assistant", blocks, partial=True, state=response.message.state)
    assert wired(cut) == neutral


@pytest.mark.parametrize("phase", [None, "final_answer"])
async def test_reasoning_that_did_not_come_in_full_stays_away_with_the_ids_that_need_it(phase):
    """Issue 3: a reasoning item without its follower, or the reverse, is a 400."""
    items = [thought("why", sealed=None), message("ok", phase=phase)]
    response, _ = await told(ended(*items))

    if phase:
        unbound = {name: value for name, value in items[1].items() if name != "id"}
        assert wired(response.message) == [unbound]
    else:
        assert (response.message.state, wired(response.message)) == (None, [said("ok")])
    assert response.message.content == (ThinkingBlock("why"), TextBlock("ok"))


async def test_reasoning_in_the_open_goes_back_too():
    """Issue 3: `response.reasoning_text` (open models): nothing is encrypted there."""
    opened = thought(sealed="", content=[{"type": "reasoning_text", "text": "why"}])
    response, _ = await told(ended(opened, use()))

    assert response.message.content[0] == ThinkingBlock("why")
    assert wired(response.message) == [opened, use()]


async def test_reasoning_at_the_end_of_a_reply_that_was_cut_off_does_not_go_back():
    """Issue 3: a reasoning item without its follower is a 400."""
    cut: Any = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    first = [thought(id="rs_1"), message("ok")]

    response, _ = await told(ended(*first, thought(id="rs_2"), **cut))
    assert wired(response.message) == first
    response, _ = await told(ended(*first, thought(id="rs_2"), use("look", '{"a'), **cut))
    assert wired(response.message) == first
    response, _ = await told(ended(thought(id="rs_1"), use(), message("ok"), **cut))
    assert (response.message.state, wired(response.message)) == (None, [said("ok")])
    response, _ = await told(ended(thought("hm"), **cut))
    assert (response.message.state, wired(response.message)) == (None, [])


async def test_what_our_blocks_say_as_well_is_not_kept_twice():
    response, _ = await told(ended(message("ok"), use()))

    assert response.message.state is None
