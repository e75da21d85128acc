"""The history as Gemini is told it; facts are those of sections 6 and 9 of the providers' facts."""

from typing import Any

from pydantic import JsonValue

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
from eai_mcp.providers.gemini_messages import FOREIGN, wire_contents
from eai_mcp.providers.gemini_quirks import Quirks
from tests.providers.answering import model

CAT = ImageBlock("image/png", "Q0FU")
PDF = DocumentBlock("application/pdf", "UERG", "a.pdf")
CAT_PART = {"inlineData": {"mimeType": "image/png", "data": "Q0FU"}}
PDF_PART = {"inlineData": {"mimeType": "application/pdf", "data": "UERG"}}


def contents(*messages: Message, **quirks: Any) -> Any:
    return wire_contents(ModelRequest(messages=messages), model(), Quirks(**quirks))


def kept(*parts: JsonValue, provider: str = "gemini", wire_model: str = "wire-1") -> ProviderState:
    return ProviderState(provider, wire_model, [*parts])


def result(own: str, *content: Any, **fields: Any) -> ToolResultBlock:
    return ToolResultBlock(own, content, **fields)


def test_roles_are_user_and_model_and_pictures_and_files_are_inline():
    """Issue 3: images in user messages, documents where the API takes them."""
    said = contents(user((TextBlock("see"), CAT, PDF)), assistant("a cat"), user("no"))

    assert said == [
        {"role": "user", "parts": [{"text": "see"}, CAT_PART, PDF_PART]},
        {"role": "model", "parts": [{"text": "a cat"}]},
        {"role": "user", "parts": [{"text": "no"}]},
    ]


def test_neighbours_are_one_content_and_what_is_empty_is_left_out():
    said = contents(user("a"), user(""), assistant(""), user("b"), assistant("c"), assistant("d"))

    assert said == [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "user", "parts": [{"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
    ]


def test_results_follow_their_calls_together_and_alone_in_order():
    """Issue 3: tool use single and parallel in order, tool results with errors and several blocks."""
    uses = (ToolUseBlock("1", "look", {"a": 1}), ToolUseBlock("2", "find", {}))
    said = contents(
        Message("assistant", (TextBlock("so"), *uses)),
        user((TextBlock("wait"), result("1", TextBlock("x"), TextBlock("y")))),
        user((result("2", TextBlock("gone"), failed=True), result("3"))),
    )

    first = {"functionCall": {"id": "1", "name": "look", "args": {"a": 1}}, "thoughtSignature": FOREIGN}
    assert said == [
        {
            "role": "model",
            "parts": [{"text": "so"}, first, {"functionCall": {"id": "2", "name": "find", "args": {}}}],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "look", "id": "1", "response": {"output": "x\n\ny"}}},
                {"functionResponse": {"name": "find", "id": "2", "response": {"error": "gone"}}},
                {"functionResponse": {"name": "unknown", "id": "3", "response": {"output": ""}}},
            ],
        },
        {"role": "user", "parts": [{"text": "wait"}]},
    ]


def test_a_call_of_another_model_is_marked_as_such_only_where_signatures_are_asked_for():
    """Facts, section 9: on Gemini 3 a missing `thoughtSignature` is a 400; signatures do not pass on."""
    theirs = Message("assistant", (ToolUseBlock("1", "look", {}),), state=kept({"x": 1}, provider="other"))

    assert "thoughtSignature" in contents(theirs)[0]["parts"][0]
    assert "thoughtSignature" not in contents(theirs, thinking="budget")[0]["parts"][0]


def test_pictures_in_results_follow_them():
    """Issue 3: images in tool results."""
    use = Message("assistant", (ToolUseBlock("1", "look", {}),))
    _, answer, after = contents(use, user((result("1", TextBlock("seen"), CAT, PDF),)))

    response = {"output": "seen\n\n[image: below]\n\n[document: below]"}
    assert answer["parts"] == [{"functionResponse": {"name": "look", "id": "1", "response": response}}]
    assert after == {
        "role": "user",
        "parts": [
            {"text": "[image from look]"},
            CAT_PART,
            {"text": "[document from look]"},
            PDF_PART,
        ],
    }


def test_pictures_stand_in_results_where_the_model_takes_them_there():
    use = Message("assistant", (ToolUseBlock("1", "look", {}),))
    _, answer = contents(use, user((result("1", CAT),)), media_in_results=True)

    held = {"name": "look", "id": "1", "parts": [CAT_PART], "response": {"output": ""}}
    assert answer["parts"] == [{"functionResponse": held}]


def test_its_own_parts_go_back_as_they_came():
    """Issue 3: reasoning that goes back unchanged in tool turns (`thoughtSignature`); facts, section 9: on
    the same part; in parallel calls only the first has one."""
    parts: list[JsonValue] = [
        {"text": "hm", "thought": True},
        {"text": "I look.", "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "look", "args": {"a": 1}}, "thoughtSignature": "c2lnMg=="},
        {"functionCall": {"name": "look", "args": {"a": 2}, "id": "own"}},
    ]
    uses = (ToolUseBlock("call_1", "look", {"a": 1}), ToolUseBlock("own", "look", {"a": 2}))
    message = Message("assistant", (ThinkingBlock("hm"), TextBlock("I look."), *uses), state=kept(*parts))
    said, answer = contents(message, user((result("call_1"), result("own"))))

    assert said == {"role": "model", "parts": parts}
    assert [part["functionResponse"].get("id") for part in answer["parts"]] == [None, "own"]
    assert [part["functionResponse"]["name"] for part in answer["parts"]] == ["look", "look"]


def test_another_models_partial_and_damaged_state_is_dropped_and_the_text_kept():
    """Issue 3: sent back to the same provider and model, dropped with the text kept on a switch."""
    blocks: tuple[Block, ...] = (ThinkingBlock("hm"), TextBlock("hi"))
    part: JsonValue = {"text": "other", "thoughtSignature": "c2ln"}
    for message in (
        Message("assistant", blocks, state=kept(part, provider="anthropic")),
        Message("assistant", blocks, state=kept(part, wire_model="wire-2")),
        Message("assistant", blocks, state=kept(part), partial=True),
        Message("assistant", blocks, state=ProviderState("gemini", "wire-1", "gone")),
        Message("assistant", blocks, state=kept(part, {"functionCall": {"name": "look"}})),
    ):
        assert contents(message) == [{"role": "model", "parts": [{"text": "hi"}]}]


def test_what_a_role_cannot_say_is_left_out():
    said = contents(
        user((ThinkingBlock("hm"), ToolUseBlock("1", "x", {}), TextBlock("a"))),
        Message("assistant", (result("1"), CAT, TextBlock("b"))),
    )

    assert said == [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "[image]"}, {"text": "b"}]},
    ]
