"""What servers of Responses were seen to send, and what it means."""

import json
from typing import Any

import pytest

from eai_mcp.calls import TextDelta, ThinkingDelta, ToolUseStarted
from eai_mcp.errors import (
    AuthFailed,
    CallError,
    ContextOverflow,
    RateLimited,
    Refused,
    Rejected,
    Unavailable,
)
from eai_mcp.messages import Message, TextBlock, ThinkingBlock, ToolUseBlock, Usage, assistant
from tests.providers.answering import event
from tests.providers.openai_responses_events import (
    added,
    declined,
    done,
    ended,
    message,
    said,
    thought,
    told,
    use,
)

CREATED = {"type": "response.created", "response": {"status": "in_progress", "output": [], "error": None}}
CUT: Any = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


async def test_a_reply_streams_and_comes_back_whole():
    """Issue 3: the stream, from `response.created` to `response.completed`; Issue 3: usage in one meaning."""
    response, heard = await told(
        CREATED,
        added(message()),
        {
            "type": "response.content_part.added",
            "output_index": 0,
            "part": {"type": "output_text", "text": ""},
        },
        said("Hel", obfuscation="x9"),
        said("lo"),
        {"type": "response.output_text.done", "output_index": 0, "text": "Hello"},
        done(message("Hello")),
        ended(message("Hello")),
    )

    assert heard == [TextDelta("Hel"), TextDelta("lo")]
    assert response.message == assistant("Hello")
    assert (response.stop, response.served_by, response.warnings) == ("end", "m", ())
    assert response.usage == Usage(input=11, output=7, cache_read=5, cache_write=2, reasoning=3)


@pytest.mark.parametrize(
    ("used", "usage"),
    [
        (None, Usage()),
        ({"input_tokens": 3, "output_tokens": 4, "input_tokens_details": None}, Usage(input=3, output=4)),
        ({"input_tokens": 3, "output_tokens": "many", "cost": 0.25}, Usage(input=3, cost_usd=0.25)),
    ],
)
async def test_usage_may_be_absent_or_odd(used, usage):
    response, _ = await told(ended(message("a"), usage=used))

    assert response.usage == usage


async def test_reasoning_is_heard_in_paragraphs_before_the_words():
    """Issue 3: thinking. Issue 3: `response.reasoning_summary_part/_text`."""
    summary: Any = {"kind": "reasoning_summary_text"}
    response, heard = await told(
        added(thought(sealed="part")),
        said("", **summary, summary_index=0),
        said("Wh", **summary, summary_index=0),
        said("y", **summary, summary_index=0),
        said("How", **summary, summary_index=1),
        done(thought("Why", "How")),
        said("So", index=1),
        ended(thought("Why", "How"), message("So")),
    )

    assert heard == [
        ThinkingDelta("Wh"),
        ThinkingDelta("y"),
        ThinkingDelta("\n\nHow"),
        TextDelta("So"),
    ]
    assert response.message.content == (ThinkingBlock("Why\n\nHow"), TextBlock("So"))


async def test_calls_are_announced_and_come_in_order():
    """Issue 3: tool use single and parallel in order. Issue 3: `call_id` links, `id` does not."""
    arguments: Any = {"kind": "function_call_arguments"}
    response, heard = await told(
        added(use("look", "", "call_1")),
        said('{"a"', **arguments),
        added(use("find", "", "call_2"), 1),
        said("{}", 1, **arguments),
        said(":1}", **arguments),
        ended(use("look", '{"a":1}', "call_1"), use("find", "", "call_2")),
    )

    assert heard == [ToolUseStarted("look"), ToolUseStarted("find")]
    assert response.message.content == (
        ToolUseBlock("call_1", "look", {"a": 1}),
        ToolUseBlock("call_2", "find", {}),
    )
    # Issue 3: tools, or `completed` with calls present (Responses always).
    assert response.stop == "tools"


@pytest.mark.parametrize("output", [{"output": []}, {"output": None}])
async def test_where_the_last_event_does_not_repeat_the_output_its_items_count(output):
    """Issue 3: if its `output` is empty (some gateways) from the `output_item.done` events."""
    items = [thought("why"), message("a"), use()]
    response, _ = await told(*[done(item, index) for index, item in enumerate(items)], ended(**output))

    assert response.message.content == (
        ThinkingBlock("why"),
        TextBlock("a"),
        ToolUseBlock("call_1", "look", {}),
    )
    assert response.message.state is not None
    assert response.message.state.data == items


async def test_where_nobody_sends_the_items_whole_their_pieces_count():
    response, _ = await told(
        added(thought(sealed="part")),
        said("why", kind="reasoning_summary_text"),
        added(message(phase="commentary"), 1),
        said("a", 1),
        said("b", 1),
        added(use("look", "", "call_1"), 2),
        said('{"a":', 2, "function_call_arguments"),
        said("1}", 2, "function_call_arguments"),
        added(use("find", "", "call_2"), 3),
        {"type": "response.function_call_arguments.done", "output_index": 3, "arguments": '{"b": 2}'},
        added(use("whole", '{"c": 3}', "call_3"), 4),
        added({"type": "web_search_call", "id": "ws_1"}, 5),
        ended(),
    )

    assert response.message.content == (
        ThinkingBlock("why"),
        TextBlock("ab"),
        ToolUseBlock("call_1", "look", {"a": 1}),
        ToolUseBlock("call_2", "find", {"b": 2}),
        ToolUseBlock("call_3", "whole", {"c": 3}),
    )
    # What was announced of the encrypted thought may be a part of it: it does not go back.
    assert response.message.state is not None
    assert "part" not in json.dumps(response.message.state.data)


async def test_pieces_of_what_was_never_announced_count_as_well():
    response, _ = await told(
        said("why", 0, "reasoning_text"),
        said("a", 1),
        said("no", 1, "refusal"),
        said("{}", 2, "function_call_arguments"),
        ended(),
    )

    assert response.message.content == (ThinkingBlock("why"), TextBlock("ano"))
    assert response.stop == "refusal"


async def test_ids_that_change_from_event_to_event_do_not_part_an_item():
    """Issue 3: ids of one item may differ from event to event: link by `output_index`."""
    response, _ = await told(
        added(message(id="one")),
        said("a", item_id="two"),
        said("b", item_id="three"),
        done(message("ab", id="four")),
        ended(),
    )

    assert response.message == assistant("ab")


async def test_items_without_an_index_are_told_apart_by_their_ids():
    """As llama.cpp sends them."""
    events = [
        added(use("look", "", "call_1")),
        said("{}", kind="function_call_arguments", item_id="fc_call_1"),
        added(message()),
        said("a", item_id="msg_1"),
        done(use("look", "{}", "call_1")),
        done(message("a")),
    ]
    for each in events:
        del each["output_index"]
    response, heard = await told(*events, ended())

    assert heard == [ToolUseStarted("look"), TextDelta("a")]
    assert response.message.content == (ToolUseBlock("call_1", "look", {}), TextBlock("a"))


async def test_the_encrypted_thought_of_the_item_survives_a_last_event_without_it():
    """Issue 3: encrypted reasoning is whole only in `output_item.done`."""
    sealed = thought("why")
    for last in (thought("why", sealed=None), thought("why", sealed="")):
        response, _ = await told(done(sealed), done(use(), 1), ended(last, use()))
        assert response.message.state is not None
        assert response.message.state.data == [sealed, use()]


async def test_the_last_event_is_the_truth_and_what_was_not_heard_before_is_heard_then():
    response, heard = await told(said("Hel"), ended(thought("why"), message("Hello", " you"), use()))
    assert heard == [TextDelta("Hel"), ThinkingDelta("why"), TextDelta("lo you"), ToolUseStarted("look")]
    assert response.message.content[1] == TextBlock("Hello you")

    response, heard = await told(said("Help"), ended(message("Hello")))
    assert (heard, response.message) == ([TextDelta("Help")], assistant("Hello"))


async def test_unknown_events_and_items_are_passed_over():
    """Issue 3: unknown events and fields are skipped. Issue 3: `keepalive`, server-tool events."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    response, heard = await told(
        {"type": "keepalive", "sequence_number": 3},
        event("not json", "ping"),
        event("7"),
        b": comment\n\ndata:\n\n",
        {"type": "response.web_search_call.searching", "output_index": 0, "error": "for the search only"},
        {"type": "response.output_text.annotation.added", "annotation": {}},
        added(search),
        said("a", 1, surprise=1),
        {"type": "response.output_text.delta", "output_index": 1, "delta": 7},
        ended(search, message("a"), "odd", {"no": "type"}, {"type": 7}, use("")),
    )

    assert heard == [TextDelta("a")]
    assert (response.message.content, response.stop) == ((TextBlock("a"),), "end")
    assert response.message.state is not None
    assert response.message.state.data == [search, message("a")]


async def test_events_without_a_type_go_by_their_names():
    last = ended(message("a"))
    response, _ = await told(event({"response": last["response"]}, "response.completed"))

    assert response.message == assistant("a")


async def test_messages_of_several_phases_stay_apart():
    """Issue 3: `message` (`phase: commentary|final_answer` since 5.5)."""
    items = [message("I look", phase="commentary"), message("Found", phase="final_answer")]
    response, _ = await told(said("I look"), said("Found", 1), ended(*items))

    assert response.message.content == (TextBlock("I look"), TextBlock("Found"))
    assert response.message.state is not None
    assert response.message.state.data == items


@pytest.mark.parametrize("reason", ["max_output_tokens", "max_messages", None])
async def test_a_reply_at_its_limit_says_so(reason):
    """Issue 3: length: `incomplete` with `max_output_tokens`."""
    details = reason and {"reason": reason}
    response, _ = await told(ended(message("a"), status="incomplete", incomplete_details=details))

    assert (response.stop, response.message, response.warnings) == ("length", assistant("a"), ())
    assert response.usage.output == 7


async def test_a_call_that_was_cut_off_is_dropped_with_a_warning():
    response, _ = await told(ended(message("a"), use("look", '{"a'), **CUT))

    assert (response.stop, response.message) == ("length", assistant("a"))
    assert response.warnings == ("a tool call was dropped: the reply was cut off before it was complete",)


async def test_a_refusal_is_text_with_a_stop_of_its_own():
    """Issue 3: `message` (parts `output_text`, `refusal`)."""
    response, heard = await told(
        said("I can", kind="refusal"), said("not.", kind="refusal"), ended(declined("I cannot."))
    )

    assert heard == [TextDelta("I can"), TextDelta("not.")]
    assert (response.stop, response.message) == ("refusal", assistant("I cannot."))


async def test_a_filter_that_cuts_in_leaves_what_was_said_and_one_that_leaves_nothing_is_an_error():
    """Issue 3: `incomplete_details.reason` max_output_tokens or content_filter."""
    cut: Any = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    response, _ = await told(ended(message("a"), **cut))
    assert (response.stop, response.message) == ("refusal", assistant("a"))

    with pytest.raises(Refused, match="declined to answer: its filter let nothing through"):
        await told(ended(**cut))


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ({"type": "error", "code": "server_error", "message": "boom", "param": None}, Unavailable),
        ({"type": "error", "error": {"type": "server_error", "message": "boom"}}, Unavailable),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "boom"}, RateLimited),
        ({"type": "error", "error": {"code": "context_length_exceeded", "message": "boom"}}, ContextOverflow),
        (event("boom", "error"), Unavailable),
        (event({"message": "boom", "code": "invalid_api_key"}, "error"), AuthFailed),
        ({"error": {"message": "boom", "code": 429}}, RateLimited),
        (ended(status="failed", error={"code": "server_error", "message": "boom"}), Unavailable),
        (ended(status="failed", error={"code": "rate_limit_exceeded", "message": "boom"}), RateLimited),
        (ended(status="failed", error={"code": "invalid_prompt", "message": "boom"}), Rejected),
        (ended(status="failed", error={"code": "invalid_base64_image", "message": "boom"}), Rejected),
        (ended(status="failed", error={"code": "bio_policy", "message": "boom"}), Refused),
        (ended(status="failed", error={"code": "x_policy_violation", "message": "boom"}), Refused),
        ({**ended(status="failed", error={"message": "boom"}), "type": "response.completed"}, Unavailable),
    ],
)  # fmt: skip
async def test_an_error_inside_the_stream_is_an_error_with_the_text_so_far(broken, kind):
    """Issue 3: errors inside a 200. Issue 3: `error` event, flat or nested, or `response.failed`."""
    with pytest.raises(CallError, match="boom") as caught:
        await told(said("so far"), broken)

    assert (type(caught.value), caught.value.partial) == (kind, "so far")
    assert caught.value.retryable is (kind in (Unavailable, RateLimited))


async def test_a_failure_without_words_and_a_cancelled_reply_are_errors():
    with pytest.raises(Unavailable, match="is not available"):
        await told(ended(status="failed"))
    with pytest.raises(Unavailable, match="cancelled the reply") as caught:
        await told(said("so far"), ended(status="cancelled"))
    assert caught.value.partial == "so far"


async def test_the_status_in_the_last_event_wins_unless_it_is_out_of_date():
    response, _ = await told({**ended(message("a"), **CUT), "type": "response.completed"})
    assert response.stop == "length"
    for status in ("in_progress", None):
        response, _ = await told({**ended(message("a"), status=status), "type": "response.completed"})
        assert response.stop == "end"


async def test_calls_without_an_id_or_with_the_same_one_get_ids_of_their_own():
    calls = [use("a", call_id="x"), use("b", call_id="x"), use("c", call_id="", id="fc_9")]
    response, _ = await told(ended(thought(), *calls))

    ids = {block.name: block.id for block in response.message.content if isinstance(block, ToolUseBlock)}
    assert (ids["a"], ids["c"]) == ("x", "fc_9")
    assert ids["b"].startswith("call_")
    assert response.message.state is not None
    kept = response.message.state.data
    assert isinstance(kept, list)
    assert [item["call_id"] for item in kept[1:] if isinstance(item, dict)] == list(ids.values())


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("{broken", {"__invalid_json__": "{broken"}),
        ("[1]", {"__invalid_json__": "[1]"}),
        (" ", {}),
        (None, {}),
        ({"a": 1}, {"a": 1}),
    ],
)
async def test_arguments_that_are_no_object_are_kept_as_they_came(arguments, given):
    """Issue 3: `arguments` is a JSON string and can be invalid JSON: report, do not crash."""
    response, _ = await told(ended(use("look", arguments)))

    assert response.message.content == (ToolUseBlock("call_1", "look", given),)


async def test_content_that_is_a_string_is_the_words():
    response, _ = await told(ended(message(content="a")))

    assert response.message == assistant("a")


async def test_characters_cut_in_two_by_the_server_are_whole_again():
    response, heard = await told(
        b'data: {"type":"response.output_text.delta","delta":"a\\ud83d"}\n\n',
        b'data: {"type":"response.output_text.delta","delta":"\\ude00"}\n\n',
        ended(),
    )

    assert heard == [TextDelta("a"), TextDelta("😀")]
    assert response.message == Message("assistant", (TextBlock("a😀"),))
