"""What Converse streams were seen to hold, and what it means."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eai_mcp.calls import TextDelta, ThinkingDelta, ToolUseStarted
from eai_mcp.errors import (
    AuthFailed,
    CallTimeout,
    ContextOverflow,
    EaiError,
    LimitExceeded,
    RateLimited,
    Refused,
    Rejected,
    Unavailable,
)
from eai_mcp.messages import ProviderState, TextBlock, ThinkingBlock, ToolUseBlock, Usage, assistant
from eai_mcp.providers.bedrock_frames import FrameDecoder
from eai_mcp.providers.bedrock_stream import Reply
from tests.providers.bedrock_bytes import (
    EVENTS,
    HERE,
    SHAPES,
    calls,
    cut,
    delta,
    end,
    event,
    exception,
    folded,
    message,
    reply,
    start,
    stop,
    streams,
    text,
    thinking,
    usage,
)

DROPPED = "a tool call was dropped: the reply was cut off before it was complete"


def heard(*pieces: bytes):
    """What is to be heard in these messages, and the reply."""
    built = Reply(HERE)
    return [one for found in FrameDecoder().feed(b"".join(pieces)) for one in built.take(found)], built


def failure(kind: type[EaiError], *pieces: bytes):
    with pytest.raises(kind) as caught:
        folded(pieces)
    assert type(caught.value) is kind
    return caught.value


def test_a_reply_streams_and_comes_back_whole():
    said, _ = heard(start(), text(""), text("Hel"), text("lo"), stop(), end(), usage())
    response = folded([start(), text("Hel"), text("lo"), stop(), end(), usage()])

    assert said == [TextDelta("Hel"), TextDelta("lo")]
    assert response.message == assistant("Hello")
    assert (response.stop, response.usage) == ("end", Usage(input=11, output=7))
    assert (response.served_by, response.warnings) == ("m", ())


def test_a_reply_is_finished_before_its_usage_and_done_after_it():
    """Facts on Bedrock: metadata (usage) comes after messageStop."""
    _, built = heard(start(), text("a"), stop(), end())
    assert (built.is_begun, built.is_finished, built.is_done) == (True, True, False)

    _, built = heard(reply(), exception("internalServerException", {"message": "late"}))
    assert built.is_done


def test_usage_has_one_meaning():
    """Issue 3: usage in one meaning; Bedrock counts cached tokens beside the input."""
    counted = usage(cacheReadInputTokens=100, cacheWriteInputTokens=20)

    assert folded([text("a"), end(), counted]).usage == Usage(
        input=131, output=7, cache_read=100, cache_write=20
    )
    assert folded([text("a"), end()]).usage == Usage()
    assert folded([text("a"), end(), event("metadata", {"usage": "odd"})]).usage == Usage()
    assert folded([text("a"), end(), event("metadata", b"{")]).usage == Usage()


def test_thinking_comes_before_the_words_and_is_kept_as_it_came():
    """Issue 3: reasoning that goes back unchanged in tool turns."""
    pieces = [
        thinking(0, text="Hm"),
        thinking(0, text="."),
        thinking(0, signature="c2lnbg=="),
        stop(0),
        thinking(1, redactedContent="c2VhbA=="),
        stop(1),
        text("a", 2),
        stop(2),
        calls(3, "t1", "add", '{"x":', "1}"),
        end("tool_use"),
        usage(),
    ]

    said, _ = heard(*pieces)
    assert said == [ThinkingDelta("Hm"), ThinkingDelta("."), TextDelta("a"), ToolUseStarted("add")]
    response = folded(pieces)
    assert response.stop == "tools"
    assert response.message.content == (
        ThinkingBlock("Hm.", "c2lnbg=="),
        TextBlock("a"),
        ToolUseBlock("t1", "add", {"x": 1}),
    )
    assert response.message.state == ProviderState(
        "bedrock",
        "w",
        [
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2lnbg=="}}},
            {"reasoningContent": {"redactedContent": "c2VhbA=="}},
            {"text": "a"},
            {"toolUse": {"toolUseId": "t1", "name": "add", "input": {"x": 1}}},
        ],
    )
    assert folded(pieces, reasoning_back=False).message.state is None


def test_empty_thinking_with_a_signature_is_kept_and_without_one_is_nothing():
    """Facts, section 9: all thinking blocks go back, even empty ones with a signature."""
    response = folded([thinking(0, text="", signature="s"), stop(0), text("a", 1), end()])
    assert response.message.content == (TextBlock("a"),)
    assert response.message.state is not None
    assert response.message.state.data == [
        {"reasoningContent": {"reasoningText": {"text": "", "signature": "s"}}},
        {"text": "a"},
    ]

    assert folded([thinking(0, text=""), stop(0), text("a", 1), end()]).message == assistant("a")


def test_reasoning_in_pieces_is_put_together():
    sealed = folded([thinking(redactedContent="YQ=="), thinking(redactedContent="Yg=="), text("a", 1), end()])
    assert sealed.message.state is not None
    assert sealed.message.state.data == [{"reasoningContent": {"redactedContent": "YWI="}}, {"text": "a"}]

    odd = folded([thinking(redactedContent="a"), thinking(redactedContent="b"), text("a", 1), end()])
    assert odd.message.state is not None
    assert odd.message.state.data == [{"reasoningContent": {"redactedContent": "ab"}}, {"text": "a"}]


def test_parallel_calls_keep_their_order_and_ids():
    response = folded(
        [calls(0, "a", "one"), calls(1, "b", "two", "", '{"x":"\u2028"}'), end("tool_use"), usage()]
    )
    assert response.message.content == (
        ToolUseBlock("a", "one", {}),
        ToolUseBlock("b", "two", {"x": "\u2028"}),
    )
    assert response.stop == "tools"


def test_calls_without_an_id_of_their_own_get_one():
    response = folded([calls(0, "", "one"), calls(1, "x", "two"), calls(2, "x", "two"), end("tool_use")])

    ids = [block.id for block in response.message.content if isinstance(block, ToolUseBlock)]
    assert len({*ids}) == 3
    assert ids[1] == "x"


@pytest.mark.parametrize("written", ["{", "[1]", '{"a":NaN}', "7"])
def test_arguments_that_are_no_object_are_handed_on_as_they_came(written):
    response = folded([calls(0, "a", "one", written), end("tool_use")])

    assert response.message.content == (ToolUseBlock("a", "one", {"__invalid_json__": written}),)


def test_what_the_service_runs_itself_is_not_ours_to_run():
    own = {"toolUseId": "s", "name": "grounding", "type": "server_tool_use"}
    begun = event("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": own}})

    assert folded(
        [begun, delta(0, toolUse={"input": "{}"}), stop(0), text("a", 1), end()]
    ).message == assistant("a")


def test_blocks_of_different_kinds_at_one_index_are_two():
    response = folded([thinking(0, text="Hm"), text("a", 0), stop(0), text("b", 0), end()])

    assert response.message.content == (ThinkingBlock("Hm"), TextBlock("a"), TextBlock("b"))


def test_half_a_character_waits_for_its_other_half():
    halves = [
        event("contentBlockDelta", b'{"delta":{"text":"' + half + b'"}}') for half in (b"\\ud83d", b"\\ude00")
    ]

    assert heard(*halves)[0] == [TextDelta("😀")]


@pytest.mark.parametrize(
    ("reason", "stop_"),
    [
        ("end_turn", "end"),
        ("stop_sequence", "end"),
        ("tool_use", "end"),
        ("anything_new", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "refusal"),
        ("content_filtered", "refusal"),
    ],
)
def test_each_reason_to_stop_has_its_meaning(reason, stop_):
    assert folded([text("a"), end(reason)]).stop == stop_


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_reply_that_is_broken_is_an_error_with_the_text_so_far(reason):
    error = failure(Unavailable, text("so far"), end(reason))

    assert (error.partial, str(error)) == (
        "so far",
        f"model 'm' at api.example broke the reply off ({reason})",
    )


def test_a_reply_may_be_empty_but_not_when_a_filter_made_it_so():
    """Facts on Bedrock: content may come empty with a guardrail."""
    assert folded([start(), end(), usage()]).message.content == ()
    assert "its filter let nothing through" in str(failure(Refused, start(), end("guardrail_intervened")))


def test_a_call_that_the_limit_cut_off_is_dropped_with_a_warning():
    response = folded(
        [thinking(0, text="Hm", signature="s"), text("a", 1), calls(2, "t", "add", '{"x'), end("max_tokens")]
    )
    assert (response.stop, response.warnings) == ("length", (DROPPED,))
    assert response.message.content == (ThinkingBlock("Hm", "s"), TextBlock("a"))
    assert response.message.state is not None
    assert "toolUse" not in str(response.message.state.data)


def test_unknown_events_blocks_and_fields_are_passed_over():
    """Issue 3: unknown events and fields are skipped."""
    response = folded(
        [
            event("initial-response", b"not json"),
            event("", b""),
            start(),
            event("contentBlockStart", {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}),
            delta(0, image={"source": {}}),
            delta(0, citation={"title": "x"}),
            delta(0, toolUse={"input": "{}"}),
            delta(0, reasoningContent={"new": 1}),
            event("contentBlockDelta", ["odd"]),
            event("contentBlockDelta", {"contentBlockIndex": "odd", "delta": {"text": 7}}),
            stop(9),
            text("a", 1),
            event("messageStop", {"stopReason": 7}),
            end(),
            usage(),
        ]
    )
    assert response.message == assistant("a")


@pytest.mark.parametrize("whole", [start() + text("so far"), start() + text("so far") + stop() + end()[:-1]])
def test_a_stream_that_ends_early_is_not_finished(whole):
    assert failure(Unavailable, whole).partial == "so far"


def test_a_piece_that_is_not_json_is_an_error_with_the_text_so_far():
    """Issue 3: as is a corrupt chunk."""
    error = failure(Unavailable, text("so far"), event("contentBlockDelta", b"{"))

    assert (error.partial, error.retryable) == ("so far", True)
    assert "sent a piece of the reply that is not JSON" in str(error)


@pytest.mark.parametrize(
    ("name", "said", "kind", "retryable"),
    [
        ("throttlingException", {"message": "Too many tokens, slow down"}, RateLimited, True),
        ("throttlingException", {"message": "Too many tokens per day"}, RateLimited, False),
        ("validationException", {"message": "bad"}, Rejected, False),
        ("validationException", {"message": "Input is too long"}, ContextOverflow, False),
        ("internalServerException", {"message": "bad"}, Unavailable, True),
        ("serviceUnavailableException", {"message": "bad"}, Unavailable, True),
        ("modelStreamErrorException", {"message": "bad"}, Unavailable, True),
        ("modelStreamErrorException", {"message": "bad", "originalStatusCode": 400}, Rejected, False),
        ("modelStreamErrorException", {"message": "bad", "originalStatusCode": 429}, RateLimited, True),
        ("modelStreamErrorException", {"message": "bad", "originalStatusCode": 424}, Unavailable, True),
        ("modelStreamErrorException", {"originalMessage": "bad"}, Unavailable, True),
        ("modelTimeoutException", {"message": "bad"}, CallTimeout, True),
        ("accessDeniedException", {"Message": "bad"}, AuthFailed, False),
        ("anythingNew", ["odd"], Unavailable, True),
    ],
)  # fmt: skip
def test_exceptions_inside_the_stream_are_errors_with_the_text_so_far(name, said, kind, retryable):
    """Issue 3: errors inside a 200."""
    error = failure(kind, text("so far"), exception(name, said))

    assert (error.partial, error.retryable) == ("so far", retryable)
    assert "bad" in str(error) or "bad" not in str(said)


def test_an_exception_may_come_after_the_end_but_not_after_the_usage():
    failure(Unavailable, text("a"), end(), exception("internalServerException", {}))
    failure(Unavailable, message({":message-type": "exception"}, b"{"))
    assert folded([reply("a") + exception("internalServerException", {})]).message == assistant("a")


@settings(max_examples=60)
@given(streams(), st.data())
def test_any_stream_split_anywhere_folds_to_the_same(messages, data):
    """Issue 3: any valid event stream, split anywhere, folds to the same response."""
    whole = b"".join(messages)
    at = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]

    assert folded(pieces) == folded([whole]) == folded(cut(whole, 1))


def survives(pieces: list[bytes]) -> None:
    """As the exchange does it: bytes that cannot be followed are an error of the reply, nothing else is."""
    decoder, built = FrameDecoder(), Reply(HERE)
    with contextlib.suppress(EaiError):
        for piece in pieces:
            try:
                found = decoder.feed(piece)
            except ValueError:
                return
            for each in found:
                built.take(each)
        built.response(served_by="m", model="w", warnings=())


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=80), max_size=4))
def test_no_bytes_raise_anything_else(pieces):
    """Issue 3: no byte string makes an adapter raise anything outside the error tree or hang."""
    survives(pieces)


@settings(max_examples=300)
@given(streams(), st.data())
def test_no_damage_to_a_stream_raises_anything_else(messages, data):
    """Issue 3, the same for what was a valid stream."""
    whole = bytearray(b"".join(messages))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "double", "insert"])):
            case "flip":
                whole[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del whole[at : at + data.draw(st.integers(1, 40))]
                whole += b"x"
            case "double":
                whole[at:at] = whole[at : at + 30]
            case _:
                whole[at:at] = data.draw(st.binary(max_size=5))
    survives(cut(bytes(whole), 50))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.booleans(), EVENTS, SHAPES), max_size=6))
def test_no_json_in_sound_messages_raises_anything_else(told):
    """Issue 3, the same for bytes that are sound and JSON that is not."""
    make = {True: event, False: exception}
    survives([make[well](name, body) for well, name, body in told])


def test_a_limit_is_one_of_ours():
    with pytest.raises(LimitExceeded):
        FrameDecoder(longest=20).feed(reply())
