"""What becomes of a reply of Gemini; facts are those of section 6 of the providers' facts."""

import json
from typing import Any

import pytest

from eai_mcp.calls import TextDelta, ThinkingDelta, ToolUseStarted
from eai_mcp.errors import AuthFailed, ContextOverflow, RateLimited, Refused, Unavailable
from eai_mcp.messages import (
    ImageBlock,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
    assistant,
)
from eai_mcp.wire import INVALID_JSON
from tests.providers.gemini_chunks import STOP, USED, chunk, event, failure, text, thought, told, tool

SIGNED = {"thoughtSignature": "c2ln"}


def state(*parts: Any) -> ProviderState:
    return ProviderState("gemini", "wire-1", [*parts])


async def test_text_streams_and_is_put_together():
    response, heard = await told(chunk(text("he")), chunk(text("llo"), text(" ")), STOP)

    assert heard == [TextDelta("he"), TextDelta("llo"), TextDelta(" ")]
    assert (response.message, response.stop) == (assistant("hello "), "end")
    assert (response.usage, response.served_by) == (Usage(input=11, output=7), "m")


async def test_thoughts_are_heard_apart_and_signatures_stay_on_their_parts():
    """Facts: `text`, `thought: true`, `thoughtSignature` on any part."""
    response, heard = await told(
        chunk(thought("h")), chunk(thought("m")), chunk(text("a")), chunk(text("b")),
        chunk(text("c", **SIGNED)), chunk(text("d")), chunk(text("", **SIGNED), finish="STOP"),
    )  # fmt: skip

    assert heard[:3] == [ThinkingDelta("h"), ThinkingDelta("m"), TextDelta("a")]
    assert response.message == Message(
        "assistant",
        (ThinkingBlock("hm"), TextBlock("abcd")),
        state=state(thought("hm"), text("ab"), text("c", **SIGNED), text("d"), text("", **SIGNED)),
    )


async def test_calls_come_in_order_each_with_an_id_of_its_own():
    """Issue 3: tool use single and parallel in order; facts: `functionCall {name, args, id?}`."""
    parts = (tool("look", {"a": 1}, **SIGNED), tool("find", id="x"), tool("find", {}, id="x"))
    response, heard = await told(chunk(text("so")), chunk(*parts), STOP)

    assert heard[1:] == [ToolUseStarted("look"), ToolUseStarted("find"), ToolUseStarted("find")]
    said, first, second, third = response.message.content
    assert (said, response.stop) == (TextBlock("so"), "tools")
    assert isinstance(first, ToolUseBlock)
    assert isinstance(third, ToolUseBlock)
    assert (first.name, first.input, second) == ("look", {"a": 1}, ToolUseBlock("x", "find", {}))
    assert len({first.id, "x", third.id}) == 3
    assert response.message.state == state(text("so"), *parts)


async def test_a_pause_for_other_parts_parts_the_texts_too():
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    response, heard = await told(
        chunk(text("a"), code, {}, {"inlineData": {"mimeType": "image/png", "data": "Q0FU"}}, text("b")), STOP
    )

    assert heard == [TextDelta("a"), TextDelta("b")]
    assert response.message.content == (TextBlock("a"), ImageBlock("image/png", "Q0FU"), TextBlock("b"))
    assert response.message.state is not None


async def test_media_other_than_pictures_and_pictures_of_thoughts_are_kept_for_the_model_only():
    parts = (
        {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}},
        {"inlineData": {"mimeType": "image/png", "data": "Q0FU"}, "thought": True},
    )
    response, _ = await told(chunk(*parts, text("x")), STOP)

    assert response.message.content == (TextBlock("x"),)
    assert response.message.state == state(*parts, text("x"))


@pytest.mark.parametrize(
    ("args", "value"),
    [(None, {}), ({"a": [1]}, {"a": [1]}), ([1], {INVALID_JSON: "[1]"}), ("x", {INVALID_JSON: '"x"'})],
)
async def test_arguments_that_are_no_object_are_handed_on_as_they_are(args, value):
    response, _ = await told(chunk(tool("look", args)), STOP)
    (use,) = response.message.content

    assert isinstance(use, ToolUseBlock)
    assert use.input == value


async def test_half_a_character_and_a_number_beyond_all_are_made_fit_to_keep():
    call = b'{"functionCall": {"name": "a", "args": {"b": 1e999}}}'
    half = b'{"text": "\\ud83d"}, {"text": "\\ude00", "thoughtSignature": "\\ud83d"}'
    raw = b'data: {"candidates": [{"content": {"parts": [%b, %b]}, "finishReason": "STOP"}]}\n\n'
    response, _ = await told(raw % (call, half))
    use, *_ = response.message.content

    assert isinstance(use, ToolUseBlock)
    assert list(use.input) == [INVALID_JSON]
    json.dumps(response.message.state.data, allow_nan=False).encode()  # type: ignore[union-attr]  # there is one


async def test_arguments_in_pieces_are_not_taken_for_whole_ones():
    """Facts: Vertex may stream `functionCall.partialArgs` with `willContinue`, where it is asked to."""
    piece = {"jsonPath": "$.a", "stringValue": "x"}
    for call in ({"name": "look", "willContinue": True}, {"partialArgs": [piece]}):
        error = await failure(Unavailable, chunk(text("so")), chunk({"functionCall": call}), STOP)
        assert "sent the arguments of a tool call in pieces" in str(error)
        assert error.partial == "so"


async def test_a_call_without_a_name_is_none():
    response, _ = await told(chunk(text("a"), {"functionCall": {}}), STOP)

    assert (response.message, response.stop) == (assistant("a"), "end")


@pytest.mark.parametrize(
    ("used", "usage"),
    [
        ({"promptTokenCount": 9, "thoughtsTokenCount": 5}, Usage(input=9, output=5, reasoning=5)),
        (
            {"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 3,
             "thoughtsTokenCount": 5, "toolUsePromptTokenCount": 2},
            Usage(input=11, output=8, cache_read=4, reasoning=5),
        ),
        ({"promptTokenCount": "9", "candidatesTokenCount": None}, Usage()),
    ],
)  # fmt: skip
async def test_the_last_usage_counts_and_thoughts_are_part_of_the_output(used, usage):
    """Facts, section 1: reasoning tokens are outside the output count at Gemini, cached ones inside the
    input; section 6: usageMetadata repeats in each chunk: take the last."""
    early = {"promptTokenCount": 1, "candidatesTokenCount": 1}
    response, _ = await told(
        chunk(text("a"), usageMetadata=early), chunk(finish="STOP"), {"usageMetadata": used}
    )

    assert response.usage == usage


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("STOP", "end"),
        ("SOMETHING_NEW", "end"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "refusal"),
        ("RECITATION", "refusal"),
        ("LANGUAGE", "refusal"),
        ("BLOCKLIST", "refusal"),
        ("PROHIBITED_CONTENT", "refusal"),
        ("SPII", "refusal"),
        ("MODEL_ARMOR", "refusal"),
        ("IMAGE_SAFETY", "refusal"),
    ],
)
async def test_each_reason_to_stop_has_one_meaning(reason, stop):
    """Facts, section 1, "Stop, one meaning"."""
    response, _ = await told(chunk(text("so")), chunk(finish=reason))

    assert (response.stop, response.message) == (stop, assistant("so"))
    declined = (f"the model broke off: it declined to go on ({reason})",)
    assert response.warnings == (declined if stop == "refusal" else ())


@pytest.mark.parametrize(
    "reason",
    [
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "NO_IMAGE",
        "OTHER",
    ],
)
async def test_a_broken_reply_is_an_error_with_what_was_said(reason):
    """Facts, section 1: broken: `MALFORMED_FUNCTION_CALL`, `UNEXPECTED_TOOL_CALL`."""
    last = chunk(finish=reason)
    last["candidates"][0]["finishMessage"] = "Malformed call: print(1)."
    error = await failure(Unavailable, chunk(text("so")), last)

    assert f"broke the reply off ({reason}: Malformed call: print(1))" in str(error)
    assert (error.partial, error.details["request_id"]) == ("so", "r1")


@pytest.mark.parametrize("reason", ["MAX_TOKENS", "SAFETY"])
async def test_a_call_in_a_reply_that_was_cut_off_is_dropped_with_a_warning(reason):
    response, _ = await told(chunk(text("so"), tool("look", {}, **SIGNED)), chunk(finish=reason))

    assert response.message == assistant("so")
    assert response.warnings[-1] == ("a tool call was dropped: the reply was cut off before it was complete")


async def test_a_limit_that_thinking_used_up_leaves_an_empty_reply():
    """Facts: `content` may lack `parts` (thinking used up the limit)."""
    last = chunk(finish="MAX_TOKENS", usageMetadata={**USED, "thoughtsTokenCount": 9})
    last["candidates"][0]["content"] = {"role": "model"}
    response, heard = await told(last)

    assert (response.message.content, response.stop, heard) == ((), "length", [])


async def test_a_question_that_is_blocked_is_refused():
    """Facts: `promptFeedback.blockReason` with no candidate at all."""
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "Not this."}
    error = await failure(Refused, {"promptFeedback": feedback, "usageMetadata": USED, "responseId": "r1"})

    assert str(error) == (
        "model 'm' at api.example declined to answer (PROHIBITED_CONTENT: Not this). Say it in other words"
    )
    assert (error.details["request_id"], error.retryable) == ("r1", False)


async def test_a_reply_that_is_blocked_before_a_word_is_refused():
    assert "declined to answer (SAFETY)" in str(await failure(Refused, chunk(thought("hm"), finish="SAFETY")))


async def test_a_reply_that_is_blocked_later_keeps_its_words():
    response, _ = await told(chunk(text("so")), {"promptFeedback": {"blockReason": "OTHER"}})

    assert (response.message, response.stop) == (assistant("so"), "refusal")


@pytest.mark.parametrize(
    ("said", "kind", "wait_s"),
    [
        ({"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}, Unavailable, None),
        ({"code": 400, "message": "API key not valid. Please pass a valid API key."}, AuthFailed, None),
        (
            {
                "code": 400,
                "message": "The input token count (9) exceeds the maximum number of tokens allowed",
            },
            ContextOverflow,
            None,
        ),
        (
            {
                "code": 429,
                "message": "Quota exceeded",
                "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}],
            },
            RateLimited,
            34.4,
        ),
    ],
)
@pytest.mark.parametrize("as_list", [False, True])
async def test_an_error_in_the_stream_is_the_error_that_it_says(said, kind, wait_s, as_list):
    """Issue 3: errors inside a 200."""
    error = await failure(kind, chunk(text("so")), [{"error": said}] if as_list else {"error": said})

    assert (error.partial, error.retry_after_s) == ("so", wait_s)
    assert error.details["request_id"] == "r1"


@pytest.mark.parametrize(
    "data", [b"event: error\ndata: down\n\n", b'event: error\ndata: {"message": "down"}\n\n']
)
async def test_an_event_named_error_is_one(data):
    assert "down" in str(await failure(Unavailable, chunk(text("so")), data))


async def test_a_stream_that_ends_without_a_reason_is_broken():
    """Issue 3: a stream that ends without its terminal event is an error (with the partial text kept)."""
    error = await failure(Unavailable, chunk(text("so"), usageMetadata=USED))

    assert "ended the stream before the reply was finished" in str(error)
    assert error.partial == "so"


async def test_a_corrupt_chunk_is_an_error_until_the_reply_is_finished():
    """Issue 3: as is a corrupt chunk."""
    corrupt = b'data: {"candidates": [\n\n'
    error = await failure(Unavailable, chunk(text("so")), corrupt, STOP)
    assert ("not JSON" in str(error), error.partial) == (True, "so")

    response, _ = await told(chunk(text("so")), STOP, corrupt)
    assert response.message == assistant("so")


async def test_what_is_unknown_is_passed_over():
    """Issue 3: unknown events and fields are skipped."""
    strange: list[Any] = [
        {},
        {"news": 1},
        [],
        chunk({"hologram": {}}),
        chunk(text("so"), glow=1),
        {"candidates": []},
    ]
    response, _ = await told(*strange, b"data: 7\n\n", b": comment\n\n", b"data:\n\n", STOP)

    assert response.message.text == "so"


async def test_a_done_of_a_gateway_is_the_end():
    response, _ = await told(chunk(text("so"), finish="STOP"), b"data: [DONE]\n\n", None)

    assert response.message == assistant("so")


async def test_a_done_before_any_reason_is_none():
    assert (await failure(Unavailable, chunk(text("so")), b"data: [DONE]\n\n")).partial == "so"


async def test_line_separators_within_the_text_stay_there():
    """Issue 3: streams parsed at byte level: U+2028 inside JSON."""
    words = "a\u2028b\u2029c\x85d😀"
    raw = f"data: {json.dumps(chunk(text(words)), ensure_ascii=False)}\r\n\r\n".encode()
    response, _ = await told(raw, event(STOP))

    assert response.message.text == words
