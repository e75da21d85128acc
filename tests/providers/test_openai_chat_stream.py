"""What servers of Chat Completions were seen to send, and what it means."""

from typing import Any

import pytest

from eai_mcp.calls import TextDelta, ThinkingDelta
from eai_mcp.errors import AuthFailed, CallError, ContextOverflow, RateLimited, Refused, Unavailable
from eai_mcp.messages import (
    JsonObject,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    Usage,
    assistant,
)
from tests.providers.answering import chunk, event, told

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def tool(name: str = "", arguments: object = "", **fields: object) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"type": "function", "function": function, **fields}]})


async def test_a_reply_streams_and_comes_back_whole():
    response, heard = await told(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        {"choices": [], "usage": USAGE},
        "[DONE]",
    )

    assert heard == [TextDelta("Hel"), TextDelta("lo")]
    assert response.message == assistant("Hello")
    assert (response.stop, response.served_by, response.warnings) == ("end", "m", ())
    assert response.usage == Usage(input=11, output=7)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({}, "stop"), {"choices": [], "usage": USAGE}, "[DONE]"],
        [chunk({}, "stop", usage=USAGE), "[DONE]"],
        [chunk({}, "stop", x_groq={"usage": USAGE}), "[DONE]"],
        [chunk({}, "stop", usage=None), chunk({}, "stop", usage=USAGE)],
        [{"choices": [{"delta": {}, "finish_reason": "stop", "usage": USAGE}]}],
        [chunk({}, usage={"prompt_tokens": 1}), chunk({}, "stop", usage=USAGE), {"choices": [], "usage": {}}],
    ],
    ids=["own chunk", "last chunk", "groq", "finish twice", "in the choice", "growing"],
)
async def test_usage_is_found_wherever_it_stands(chunks):
    response, _ = await told(chunk({"content": "a"}), *chunks)

    assert response.usage == Usage(input=11, output=7)


@pytest.mark.parametrize(
    ("used", "usage"),
    [
        (
            {**USAGE, "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2}},
            Usage(input=11, output=7, cache_read=5, cache_write=2),
        ),
        ({**USAGE, "prompt_cache_hit_tokens": 4}, Usage(input=11, output=7, cache_read=4)),
        (
            {**USAGE, "completion_tokens_details": {"reasoning_tokens": 3}},
            Usage(input=11, output=7, reasoning=3),
        ),
        (
            {**USAGE, "total_tokens": 21, "completion_tokens_details": {"reasoning_tokens": 3}},
            Usage(input=11, output=10, reasoning=3),
        ),
        ({**USAGE, "cost": 0.25}, Usage(input=11, output=7, cost_usd=0.25)),
        ({**USAGE, "cost": {"total": 1}, "prompt_tokens_details": None}, Usage(input=11, output=7)),
        ({"prompt_tokens": "many"}, Usage()),
    ],
    ids=["cached", "deepseek", "reasoning inside", "reasoning beside", "cost", "odd", "odder"],
)
async def test_usage_has_one_meaning(used, usage):
    response, _ = await told(chunk({"content": "a"}, "stop", usage=used))

    assert response.usage == usage


async def test_usage_may_be_absent():
    response, _ = await told(chunk({"content": "a"}, "stop"))

    assert response.usage == Usage()


async def test_a_first_chunk_without_choices_is_passed_over():
    response, _ = await told({"choices": [], "prompt_filter_results": [{}]}, chunk({"content": "a"}, "stop"))

    assert response.message == assistant("a")


async def test_unknown_fields_events_and_values_are_passed_over():
    response, _ = await told(
        b": OPENROUTER PROCESSING\n\n",
        event("not json", "ping"),
        event({"x": 1}, "keepalive"),
        b"data:\n\n",
        "7",
        {"obfuscation": "xyz", "choices": ["odd"]},
        chunk({"content": "a", "surprise": 1, "tool_calls": ["odd"], "reasoning": {"odd": 1}}),
        chunk({"content": 7}, "stop", service_tier="x"),
    )

    assert response.message == assistant("a")


@pytest.mark.parametrize("finish", ["stop", "eos", "end_turn", "STOP", "tool_calls"])
async def test_a_finish_without_tools_is_the_end(finish):
    response, _ = await told(chunk({"content": "a"}), chunk({}, finish), "[DONE]")

    assert response.stop == "end"


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS"])
async def test_a_reply_at_its_limit_says_so(finish):
    response, _ = await told(chunk({"content": "a"}, finish))

    assert (response.stop, response.message) == ("length", assistant("a"))


@pytest.mark.parametrize("absent", ["", "null", None])
async def test_a_finish_reason_that_is_none_does_not_end_the_reply(absent):
    response, _ = await told(
        chunk({"content": "a"}, absent), chunk({"content": "b"}, absent), chunk({}, "stop")
    )

    assert response.message == assistant("ab")


async def test_text_after_the_finish_reason_still_counts():
    response, _ = await told(chunk({"content": "a"}, "stop"), chunk({"content": "b"}, "length"), "[DONE]")

    assert (response.message, response.stop) == (assistant("ab"), "end")


async def test_content_in_parts_is_taken_apart():
    response, heard = await told(
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}]}),
        chunk({"content": [{"type": "thinking", "thinking": "?"}, {"type": "text", "text": "a"}]}),
        chunk({"content": "b"}, "stop"),
    )

    assert heard == [ThinkingDelta("why"), ThinkingDelta("?"), TextDelta("a"), TextDelta("b")]
    assert response.message == Message("assistant", (ThinkingBlock("why?"), TextBlock("ab")))


@pytest.mark.parametrize(
    "names", [("reasoning_content",), ("reasoning",), ("reasoning", "reasoning_content")], ids=" ".join
)
async def test_reasoning_is_heard_once_under_either_name(names):
    response, heard = await told(chunk(dict.fromkeys(names, "why")), chunk({"content": "a"}, "stop"))

    assert heard == [ThinkingDelta("why"), TextDelta("a")]
    assert response.message == Message("assistant", (ThinkingBlock("why"), TextBlock("a")))
    assert response.message.state is None


async def test_think_tags_are_reasoning_only_where_the_quirk_says_so():
    chunks = [chunk({"content": "<th"}), chunk({"content": "ink>why</think>\n\na"}), chunk({}, "stop")]

    response, heard = await told(*chunks, quirks={"think_tags": True})
    assert heard == [ThinkingDelta("why"), TextDelta("a")]
    assert response.message == Message("assistant", (ThinkingBlock("why"), TextBlock("a")))
    response, _ = await told(*chunks)
    assert response.message == assistant("<think>why</think>\n\na")


async def test_what_might_have_been_a_tag_is_heard_at_the_end():
    response, heard = await told(chunk({"content": "<thi"}, "stop"), "[DONE]", quirks={"think_tags": True})

    assert (heard, response.message) == ([TextDelta("<thi")], assistant("<thi"))


async def test_characters_cut_in_two_by_the_server_are_whole_again():
    response, heard = await told(
        b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00"},"finish_reason":"stop"}]}\n\n',
    )

    assert heard == [TextDelta("a"), TextDelta("😀")]
    assert response.message == assistant("a😀")


async def test_a_refusal_is_text_with_a_stop_of_its_own():
    response, heard = await told(chunk({"refusal": "I can"}), chunk({"refusal": "not."}), chunk({}, "stop"))

    assert heard == [TextDelta("I can"), TextDelta("not.")]
    assert (response.stop, response.message) == ("refusal", assistant("I cannot."))


async def test_a_filter_that_cuts_in_leaves_what_was_said():
    response, _ = await told(chunk({"content": "a"}), chunk({}, "content_filter"))

    assert (response.stop, response.message) == ("refusal", assistant("a"))


async def test_a_filter_that_lets_nothing_through_is_an_error():
    with pytest.raises(Refused, match="declined to answer: its filter let nothing through"):
        await told({"choices": [{"finish_reason": "content_filter"}]})


@pytest.mark.parametrize("finish", ["error", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL"])
async def test_a_finish_reason_that_says_broken_is_an_error_with_the_text_so_far(finish):
    with pytest.raises(Unavailable, match="broke the reply off") as caught:
        await told(chunk({"content": "so far"}), chunk({}, finish))

    assert caught.value.partial == "so far"


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ({"error": {"message": "boom", "code": 502}}, Unavailable),
        ({"error": "boom"}, Unavailable),
        ({**chunk({}, "error"), "error": {"message": "boom", "code": "server_error"}}, Unavailable),
        (event({"error": {"message": "boom", "type": "invalid_api_key"}}, "error"), AuthFailed),
        (event({"message": "boom", "code": "rate_limit_exceeded"}, "error"), RateLimited),
        (event("boom", "error"), Unavailable),
        ({"object": "error", "message": "boom", "code": 429}, RateLimited),
        ({"type": "error", "message": "boom", "code": "context_length_exceeded"}, ContextOverflow),
    ],
    ids=["object", "string", "with choices", "groq", "flat event", "text event", "flat", "typed"],
)
@pytest.mark.parametrize("finished", [False, True])
async def test_an_error_inside_the_stream_is_an_error_even_after_the_finish(broken, kind, finished):
    with pytest.raises(CallError, match="boom") as caught:
        await told(chunk({"content": "so far"}, "stop" if finished else None), broken)

    assert (type(caught.value), caught.value.partial) == (kind, "so far")


async def test_a_piece_that_is_not_json_is_an_error_with_the_text_so_far():
    with pytest.raises(Unavailable, match="a piece of the reply that is not JSON") as caught:
        await told(chunk({"content": "so far"}), b'data: {"choi\n\n')

    assert (caught.value.partial, caught.value.retryable) == ("so far", True)


async def test_a_piece_that_is_not_json_does_not_take_a_finished_reply_away():
    response, _ = await told(chunk({"content": "a"}, "stop"), b'data: {"choi')

    assert response.message == assistant("a")


async def test_nothing_counts_after_done():
    response, _ = await told(chunk({"content": "a"}, "stop"), "[DONE]", {"error": "late"}, "not json")

    assert response.message == assistant("a")


async def test_done_is_the_end_without_a_finish_reason_only_where_the_quirk_says_so():
    with pytest.raises(Unavailable, match="ended the stream before the reply was finished") as caught:
        await told(chunk({"content": "so far"}), "[DONE]")
    assert caught.value.partial == "so far"

    response, _ = await told(chunk({"content": "a"}), "[DONE]", quirks={"finish_optional": True})
    assert (response.message, response.stop) == (assistant("a"), "end")


async def test_reasoning_for_deepseek_is_kept_beside_a_tool_call_even_if_empty():
    quirks = {"reasoning_back": "reasoning_content"}
    asks = tool("look", "{}", index=0, id="c1")

    response, _ = await told(
        chunk({"reasoning_content": "why"}), asks, chunk({}, "tool_calls"), quirks=quirks
    )
    assert response.message.state == ProviderState("openai_chat", "wire-1", {"reasoning_content": "why"})
    response, _ = await told(asks, chunk({}, "tool_calls"), quirks=quirks)
    assert response.message.state == ProviderState("openai_chat", "wire-1", {"reasoning_content": ""})
    response, _ = await told(chunk({"reasoning_content": "why", "content": "a"}, "stop"), quirks=quirks)
    assert response.message.state is None


async def test_pieces_of_a_reasoning_detail_become_one_so_that_its_signature_holds():
    piece: JsonObject = {"type": "reasoning.text", "index": 0, "format": "f"}
    response, _ = await told(
        chunk({"reasoning_details": [{**piece, "text": "wh", "signature": None}]}),
        chunk({"reasoning_details": [{**piece, "text": "y"}]}),
        chunk({"reasoning_details": [{**piece, "signature": "s"}]}),
        chunk({"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "x"}]}),
        chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "y"}]}),
        chunk({"content": "a"}, "stop"),
        quirks={"reasoning_back": "reasoning_details"},
    )

    assert response.message.state == ProviderState(
        "openai_chat",
        "wire-1",
        {
            "reasoning_details": [
                {**piece, "text": "why", "signature": "s"},
                {"type": "reasoning.encrypted", "index": 1, "data": "x"},
                {"type": "reasoning.encrypted", "data": "y"},
            ]
        },
    )
