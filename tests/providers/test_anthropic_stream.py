"""What Anthropic Messages sends, and what it means; sections 1 and 4 of the providers' facts, row by row."""

import httpx2
import pytest
from pydantic import JsonValue

from eai_mcp.calls import TextDelta, ThinkingDelta, ToolUseStarted, unheard
from eai_mcp.errors import RateLimited, Refused, Rejected, Unavailable
from eai_mcp.messages import (
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
    assistant,
)
from tests.providers.answering import HELLO, Answers, event
from tests.providers.anthropic_events import (
    STOP,
    begin,
    call,
    delta,
    end,
    failure,
    finish,
    start,
    text,
    told,
    tool,
)

DROPPED = "a tool call was dropped: the reply was cut off before it was complete"


async def test_a_reply_streams_and_comes_back_whole():
    response, heard = await told(
        begin("text", text=""),
        {"type": "ping"},
        delta("text", text="Hel"),
        delta("text", text=""),
        delta("text", text="lo"),
        end(),
        finish(),
    )

    assert heard == [TextDelta("Hel"), TextDelta("lo")]
    assert response.message == assistant("Hello")
    assert (response.stop, response.served_by, response.warnings) == ("end", "m", ())
    assert response.usage == Usage(input=11, output=7)


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        (
            {"cache_read_input_tokens": 5, "cache_creation_input_tokens": 2},
            {},
            Usage(input=18, output=7, cache_read=5, cache_write=2),
        ),
        ({}, {"input_tokens": 20, "cache_read_input_tokens": 4}, Usage(input=24, output=7, cache_read=4)),
        (
            {"cache_read_input_tokens": 5},
            {"input_tokens": None, "cache_read_input_tokens": None},
            Usage(input=16, output=7, cache_read=5),
        ),
        ({}, {"output_tokens_details": {"thinking_tokens": 3}}, Usage(input=11, output=7, reasoning=3)),
        ({"input_tokens": "many"}, {"output_tokens": -1}, Usage()),
    ],
    ids=["cache", "corrected", "null", "thinking", "odd"],
)
async def test_usage_has_one_meaning(first, last, usage):
    """Facts: total input = input + cache_read + cache_write; the last counts replace, they do not add."""
    response, _ = await told(start(**first), *text("a"), finish(usage=last), STOP, raw=True)

    assert response.usage == usage


async def test_thoughts_come_first_and_are_kept_whole_with_their_seal():
    """Issue 3: the provider's own assistant message is kept whole beside the neutral one."""
    response, heard = await told(
        begin("thinking", thinking="", signature=""),
        delta("thinking", thinking="wh"),
        delta("thinking", thinking="y"),
        delta("signature", signature="sealed"),
        end(),
        begin("redacted_thinking", 1, data="dark"),
        end(1),
        *text("ok", 2),
        *tool("look", '{"a"', ": 1}", index=3, caller={"type": "direct"}),
        finish("tool_use"),
    )

    assert heard == [ThinkingDelta("wh"), ThinkingDelta("y"), TextDelta("ok"), ToolUseStarted("look")]
    use = ToolUseBlock("toolu_1", "look", {"a": 1})
    assert response.message.content == (ThinkingBlock("why", "sealed"), TextBlock("ok"), use)
    wire_use: dict[str, JsonValue] = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}}
    assert response.message.state == ProviderState(
        "anthropic",
        "wire-1",
        [
            {"type": "thinking", "thinking": "why", "signature": "sealed"},
            {"type": "redacted_thinking", "data": "dark"},
            {"type": "text", "text": "ok"},
            {**wire_use, "caller": {"type": "direct"}},
        ],
    )


async def test_an_omitted_thought_is_kept_for_its_seal_alone():
    """Facts, section 4: with `display: omitted` a thinking block is empty but signed."""
    response, heard = await told(
        begin("thinking", thinking=""), delta("signature", signature="s"), end(), *text("a", 1), finish()
    )

    assert (heard, response.message.content) == ([TextDelta("a")], (TextBlock("a"),))
    assert response.message.state is not None
    assert response.message.state.data == [
        {"type": "thinking", "thinking": "", "signature": "s"},
        {"type": "text", "text": "a"},
    ]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", "end"),
        ("stop_sequence", "end"),
        ("tool_use", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "pause"),
        ("something_new", "end"),
    ],
)
async def test_the_stop_has_one_meaning(reason, stop):
    response, _ = await told(*text("a"), finish(reason))

    assert (response.stop, response.message) == (stop, assistant("a"))


async def test_a_reply_may_have_nothing_in_it():
    """Facts, section 4: `content` may be empty with `end_turn`."""
    response, _ = await told(finish())

    assert (response.stop, response.message) == ("end", Message("assistant", ()))


async def test_a_refusal_before_the_first_word_is_an_error_with_its_reason():
    """Facts, section 4: refusal comes with stop_details {category, explanation}."""
    details = {"type": "refusal", "category": "cyber", "explanation": "It may do harm."}
    error = await failure(Refused, start(), finish("refusal", stop_details=details), STOP)
    assert str(error) == (
        "model 'm' at api.example declined to answer (cyber: It may do harm). Say it in other words"
    )

    error = await failure(Refused, start(), finish("refusal"), STOP)
    assert str(error) == "model 'm' at api.example declined to answer. Say it in other words"


async def test_a_refusal_in_the_middle_leaves_what_was_said():
    events = [*text("a"), *tool("look", index=1), finish("refusal", stop_details={"category": "bio"})]
    response, _ = await told(*events)

    assert (response.stop, response.message) == ("refusal", assistant("a"))
    assert response.warnings == ("the model broke off: it declined to go on (bio)", DROPPED)


async def test_one_sentence_in_several_blocks_is_one_text():
    cited = delta("citations", 1, citation={"cited_text": "x"})
    response, _ = await told(*text("a "), begin("text", 1, text="b"), cited, end(1), finish())
    assert response.message == assistant("a b")

    between = [begin("server_tool_use", 1, id="s", name="web_search", input={}), end(1)]
    response, _ = await told(*text("a"), *between, *text("b", 2), *text("", 3), finish())
    assert response.message.content == (TextBlock("a"), TextBlock("b"))


async def test_blocks_that_we_do_not_know_are_kept_for_the_next_turn():
    """Facts, section 4: after pause_turn the content is sent back as it is to go on."""
    search = begin("server_tool_use", id="s1", name="web_search", input={})
    pieces = [search, delta("input_json", partial_json='{"q": 1}'), end()]
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"x": "\ud800"}]}
    response, heard = await told(
        *pieces, {**search, "index": 1, "content_block": found}, finish("pause_turn")
    )

    assert (heard, response.message.content, response.stop) == ([], (), "pause")
    assert response.message.state is not None
    assert response.message.state.data == [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": 1}},
        {**found, "content": [{"x": "\ufffd"}]},
    ]


async def test_unknown_fields_events_and_values_are_passed_over():
    """Facts, section 1: unknown event types, block types and fields are skipped."""
    response, _ = await told(
        b": keep-alive\n\n",
        event("not json", "heartbeat"),
        {"type": "surprise", "index": 0},
        event("7", "ping"),
        b"data:\n\n",
        begin("text", text=""),
        delta("surprise", text="no"),
        delta("thinking", thinking="no"),
        delta("text", 9, surprise=1),
        delta("signature", 8, signature="no"),
        {**delta("text", text="a"), "p": "xyz"},
        {"type": "content_block_delta", "index": 0, "delta": "odd"},
        finish(None, usage={"output_tokens": None}),
        finish(),
    )

    assert response.message == assistant("a")


async def test_a_piece_without_an_announcement_still_says_what_it_belongs_to():
    response, _ = await told(delta("thinking", thinking="why"), delta("text", 1, text="a"), finish())

    assert response.message.content == (ThinkingBlock("why"), TextBlock("a"))


async def test_names_of_events_may_be_missing_on_either_side():
    nameless = [event(value) for value in (start(), *text("a"), finish(), STOP)]
    assert (await told(*nameless, raw=True))[0].message == assistant("a")

    typeless = [event({**value, "type": None}, value["type"]) for value in (start(), *text("a"), finish())]
    assert (await told(*typeless, raw=True))[0].message == assistant("a")


async def test_characters_cut_in_two_by_the_server_are_whole_again():
    halves = [delta("text", text="\ud83d"), delta("text", text="\ude00")]
    response, heard = await told(begin("text", text=""), *halves, finish())

    assert (heard, response.message) == ([TextDelta("😀")], assistant("😀"))


@pytest.mark.parametrize(
    ("broken", "kind", "words"),
    [
        ({"error": {"type": "overloaded_error", "message": "Overloaded"}}, Unavailable, "available: Overl"),
        ({"error": {"type": "rate_limit_error", "message": "slow"}}, RateLimited, "asks to wait: slow"),
        ({"error": {"type": "invalid_request_error", "message": "no"}}, Rejected, "rejected the request: no"),
        ({}, Unavailable, "is not available"),
    ],
)
@pytest.mark.parametrize("finished", [[], [finish()]], ids=["open", "finished"])
async def test_an_error_inside_the_stream_is_an_error_with_the_text_so_far(broken, kind, words, finished):
    """Facts, section 1: errors inside a 200, `event: error`; overload also comes so."""
    error = await failure(kind, start(), *text("so far"), *finished, {"type": "error", **broken})

    assert error.partial == "so far"
    assert error.retryable is (kind is not Rejected)
    assert words in str(error)


async def test_an_error_event_that_is_not_json_is_an_error_too():
    assert "boom" in str(await failure(Unavailable, start(), event("boom", "error")))


async def test_a_piece_that_is_not_json_is_an_error_with_the_text_so_far():
    """Issue 3: a corrupt chunk is an error, with the partial text kept."""
    error = await failure(Unavailable, start(), *text("so far"), event('{"type', "content_block_delta"))

    assert (error.partial, "sent a piece of the reply that is not JSON" in str(error)) == ("so far", True)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ([], "ended the stream before the reply was finished"),
        ([finish(None)], "ended the stream before the reply was finished"),
        ([STOP], "ended the reply without a stop_reason"),
    ],
)
async def test_a_stream_without_its_end_is_an_error_with_the_text_so_far(last, words):
    """Issue 3: a stream that ends without its terminal event is an error (with the partial text kept)."""
    error = await failure(Unavailable, start(), *text("so far"), *last)

    assert (error.partial, error.retryable, words in str(error)) == ("so far", True, True)


async def test_a_reply_with_its_stop_reason_is_whole_whatever_follows():
    broken = event('{"type', "message_stop")

    for last in ([], [broken], [STOP, *text("more", 5)], [httpx2.ReadError("reset")]):
        response, _ = await told(start(), *text("a"), finish(), *last, raw=True)
        assert response.message == assistant("a")


async def test_a_reply_that_does_not_stream_is_taken_whole():
    blocks: list[JsonValue] = [
        {"type": "thinking", "thinking": "why", "signature": "s"},
        {"type": "text", "text": "ok"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
    ]
    used = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 5}
    whole = {"type": "message", "content": blocks, "stop_reason": "tool_use", "usage": used}
    response = await call(Answers(httpx2.Response(200, json=whole)))(HELLO, unheard)

    use = ToolUseBlock("toolu_1", "look", {"a": 1})
    assert response.message == Message(
        "assistant",
        (ThinkingBlock("why", "s"), TextBlock("ok"), use),
        state=ProviderState("anthropic", "wire-1", blocks),
    )
    assert (response.stop, response.usage) == ("tools", Usage(input=7, output=5, cache_read=4))
