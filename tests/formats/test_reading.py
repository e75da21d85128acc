"""Whole files in, in whatever form people have them."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ImportInvalid
from eai_mcp.formats.writing import WRITERS
from eai_mcp.messages import (
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    assistant,
    user,
)
from tests.formats.histories import histories
from tests.formats.moving import NOW, lines, read, written
from tests.formats.trips import joined

ASKED = [user("What is in the sea?"), assistant("Fish.")]
USED = [
    user("look"),
    Message("assistant", (TextBlock("wait"), ToolUseBlock("u1", "look", {"far": True}))),
    user((ToolResultBlock("u1", (TextBlock("the sea"),)),)),
    assistant("It is the sea."),
]

CHAT = [
    {"role": "user", "content": "look"},
    {
        "role": "assistant",
        "content": "wait",
        "tool_calls": [
            {"id": "u1", "type": "function", "function": {"name": "look", "arguments": '{"far": true}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "u1", "content": "the sea"},
    {"role": "assistant", "content": "It is the sea."},
]
RESPONSES = [
    {"role": "user", "content": "look"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "wait"}]},
    {"type": "function_call", "call_id": "u1", "name": "look", "arguments": '{"far": true}'},
    {"type": "function_call_output", "call_id": "u1", "output": "the sea"},
    {"role": "assistant", "content": "It is the sea."},
]
ANTHROPIC: list[dict[str, Any]] = [
    {"role": "user", "content": "look"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "wait"},
            {"type": "tool_use", "id": "u1", "name": "look", "input": {"far": True}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "u1", "content": "the sea"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "It is the sea."}]},
]
CONVERSE = [
    {"role": "user", "content": [{"text": "look"}]},
    {
        "role": "assistant",
        "content": [
            {"text": "wait"},
            {"toolUse": {"toolUseId": "u1", "name": "look", "input": {"far": True}}},
        ],
    },
    {"role": "user", "content": [{"toolResult": {"toolUseId": "u1", "content": [{"text": "the sea"}]}}]},
    {"role": "assistant", "content": [{"text": "It is the sea."}]},
]
SHAPES: dict[str, list[Any]] = {
    "openai": CHAT,
    "openai-responses": RESPONSES,
    "anthropic": ANTHROPIC,
    "converse": CONVERSE,
}


def packed(value, **dump):
    return json.dumps(value, **dump).encode()


@pytest.mark.parametrize("form", SHAPES)
@pytest.mark.parametrize("named", [False, True], ids=["auto", "named"])
@pytest.mark.parametrize("dress", ["list", "object", "lines", "indented", "gzip", "gzipped lines", "bom"])
def test_each_format_is_read_from_json_and_lines_packed_or_not(form, named, dress):
    """Issue 5: **Import from**: all of these except Markdown, as JSON, JSONL or gzip of either,
    `format="auto"` by sniffing or named.
    """
    shape = SHAPES[form]
    rows = b"\n".join(map(packed, shape))
    data = {
        "list": packed(shape),
        "object": packed({"model": "any", "messages": shape, "temperature": 0.5}),
        "lines": rows,
        "indented": packed(shape, indent=2).replace(b"\n", b"\r\n"),
        "gzip": gzip.compress(packed(shape)),
        "gzipped lines": gzip.compress(rows + b"\n"),
        "bom": b"\xef\xbb\xbf" + packed(shape),
    }[dress]
    came = read(data, form if named else "auto")
    assert (came.format, came.messages, came.repairs) == (form, USED, ())
    assert {each.at for each in came.lines} == {NOW}


@given(st.data(), st.sampled_from(sorted(WRITERS)), histories(longest=3))
def test_what_was_written_is_read_alike_by_name_and_by_sniffing(data, form, messages):
    """Issue 5: `format="auto"` by sniffing or named."""
    exported = written(form, lines(messages))
    cut = data.draw(st.integers(1, 50))
    pieces = [exported[at : at + cut] for at in range(0, len(exported), cut)]
    named = read(pieces, form)
    assert read(exported, form) == named
    sniffed = read(pieces)
    if sniffed.format == form:
        assert sniffed == named
    else:  # nothing in it is only said so in this format
        assert joined(sniffed.messages) == joined(named.messages)


def test_what_could_be_any_format_is_read():
    for content in ("What is in the sea?", [{"type": "text", "text": "What is in the sea?"}]):
        came = read(packed([{"role": "user", "content": content}, {"role": "assistant", "content": "Fish."}]))
        assert (came.format, came.messages, came.repairs) == ("openai", ASKED, ())


def test_a_format_that_shows_itself_late_is_still_found():
    plain = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    for many in (400, 2000):
        came = read(packed([*plain * many, *ANTHROPIC]))
        assert came.format == "anthropic"
        assert came.messages == [*[user("x"), assistant("y")] * many, *USED]


def test_requests_and_replies_of_the_vendors_are_read():
    reply = {
        "id": "resp_1",
        "object": "response",
        "output": RESPONSES[1:],
        "usage": {},
        "status": "completed",
    }
    assert read(packed(reply)).messages == USED[1:]
    request = {"model": "m", "instructions": "be brief", "input": RESPONSES, "store": False}
    assert read(packed(request)).messages == USED
    anthropic = {"model": "m", "max_tokens": 9, "system": "be brief", "messages": ANTHROPIC, "tools": []}
    assert read(packed(anthropic)).messages == USED
    assert read(packed({"items": RESPONSES})).messages == USED


def test_messages_of_ours_are_read_without_turns_and_times():
    own = [
        {"role": "user", "content": [{"type": "image", "media_type": "image/png", "data": "aGk="}]},
        {"role": "assistant", "content": [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "y"}]},
    ]
    came = read(packed(own))
    assert came.format == "jsonl"
    assert came.messages == [
        user((ImageBlock("image/png", "aGk="),)),
        Message("assistant", (ThinkingBlock("hm"), TextBlock("y"))),
    ]


def test_a_page_of_get_history_is_read():
    page = [
        {
            "seq": 1,
            "role": "user",
            "content": [{"type": "text", "text": "hi"}],
            "turn_id": "t_1",
            "at": "2026-01-31T12:00:00.500+00:00",
        }
    ]
    (only,) = read(packed(page)).lines
    assert (only.message, only.turn_id, only.at) == (user("hi"), "t_1", 1769860800.5)
    cut = packed([{**page[0], "cut": "read on with after=0, offset=5"}])
    with pytest.raises(ImportInvalid, match="was cut when it was read"):
        read(cut)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "message 1 is no object, but int"),
        ([{"role": "user", "content": "x"}, "y"], "message 2 is no object, but str"),
        ("just words", "message 1 is no object, but str"),
        ({"hello": "world"}, "no list of messages; it is an object with hello"),
        ({"messages": [], "items": CHAT}, None),
        ({"messages": CHAT, "items": CHAT}, "several lists of messages: messages, items"),
        ({"messages": "x"}, "no list of messages; it is an object with messages"),
        ({"messages": None}, "no list of messages"),
        ({"messages": [], "message_count": 120}, "a page with 0 of 120 messages"),
        ({"messages": CHAT, "next_after": 4}, "a page with 4 of null messages; take all of them"),
        ({}, "an empty object"),
        (
            [{"at": 1, "role": "user", "content": [{"type": "smell"}]}],
            "no message in the content can be taken",
        ),
        ([{"role": "wizard", "content": "x"}], "'wizard'"),
        ([{"at": 1, "role": "wizard", "content": []}], "'wizard'; known are user, assistant"),
        ([{"at": -1, "role": "user", "content": []}], "at should be seconds"),
        ([{"at": "noon", "role": "user", "content": []}], "at should be seconds"),
        ([{"at": 1, "turn_id": 5, "role": "user", "content": []}], "turn_id should be a short string"),
        ([{"at": 1, "role": "user", "content": [{"type": "text"}]}], "content.0.text: field required"),
        ([{"at": 1, "role": "user", "content": [], "mood": "good"}], "mood: "),
        ([{"at": 1, "role": "user", "content": [{"type": "text", "text": "x", "size": 5}]}], "size"),
    ],
)
def test_what_is_no_history_is_refused_with_what_is_wrong(value, message):
    if message is None:
        assert len(read(packed(value)).messages) in (0, 4)
        return
    with pytest.raises(ImportInvalid) as caught:
        read(packed(value))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("data", "form", "message"),
    [
        (b"", "auto", "the content is empty"),
        (b" \n ", "auto", "the content is empty"),
        (b"\x1f\x8b", "auto", "damaged"),
        (b"\x1f\x8b\x08\x00garbage....", "auto", "damaged"),
        (gzip.compress(packed(CHAT))[:-9], "auto", "damaged"),
        (packed(CHAT), "eai-mcp", "no eai-mcp export"),
        (packed(CHAT), "eai", "does not hold Erlang terms"),
        (b"\x83j", "openai", "holds Erlang terms, not openai"),
        (packed(CHAT)[:-1], "auto", "not JSON"),
        (packed({"messages": CHAT}) + packed({"messages": CHAT}), "auto", "more than one history"),
        (packed(CHAT) + packed(CHAT), "auto", "more than one history"),
        (packed(CHAT).decode().encode("utf-16"), "auto", "not UTF-8"),
    ],
)
def test_a_file_that_is_something_else_is_refused(data, form, message):
    with pytest.raises(ImportInvalid) as caught:
        read(data, form)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("value", "expected", "repairs"),
    [
        (
            [{"at": 1, "role": "system", "content": "x"}, {"at": 1, "role": "user", "content": "hi"}],
            [user("hi")],
            (
                "a system message was left out: talk's `system` sets it (message 1)",
                "string content was taken as text (message 2)",
            ),
        ),
        (
            [{"at": 1, "role": "user", "content": [{"type": "smell"}, {"type": "text", "text": "hi"}, 5]}],
            [user("hi")],
            (
                "a block of unknown kind 'smell' was left out (message 1)",
                "a block of unknown kind 'int' was left out (message 1)",
            ),
        ),
        (
            [
                {
                    "at": 1,
                    "role": "user",
                    "content": [
                        {"type": "thinking", "text": "hm"},
                        {"type": "tool_use", "id": "u", "name": "n", "input": {}},
                    ],
                }
            ],
            [],
            (
                "a thinking block of the user was left out (message 1)",
                "a tool_use block of the user was left out (message 1)",
                "a message without content was left out (message 1)",
            ),
        ),
        (
            [
                {
                    "at": 1,
                    "role": "assistant",
                    "content": [{"type": "tool_result", "tool_use_id": "u", "content": []}],
                }
            ],
            [],
            (
                "a tool_result block of the assistant was left out (message 1)",
                "a message without content was left out (message 1)",
            ),
        ),
    ],
)
def test_our_own_messages_are_mended_and_it_is_told(value, expected, repairs):
    """Issue 5: String contents, system messages, unknown block kinds, unpaired tool uses: repaired or
    refused, and the result reports which (`repairs`).
    """
    value.append({"at": 1, "role": "user", "content": [{"type": "text", "text": "last"}]})
    came = read(packed(value), "jsonl")
    assert (came.messages, came.repairs) == ([*expected, user("last")], repairs)


def test_a_list_of_tool_results_of_which_one_is_missing_is_mended():
    """Issue 5: unpaired tool uses: repaired or refused, and the result reports which (`repairs`)."""
    came = read(packed(CHAT[:2]))
    assert came.messages[2].content[0].failed  # type: ignore[union-attr]  # a result
    assert came.repairs == ("a tool use without a result was given a failed one (message 2)",)


def test_a_short_request_is_one_message_of_the_user():
    assert read(packed({"model": "m", "input": "What is in the sea?"})).messages == ASKED[:1]


def test_system_texts_beside_the_messages_are_told():
    """Issue 5: system messages ... repaired or refused, and the result reports which (`repairs`)."""
    for name, shape in (("system", ANTHROPIC), ("instructions", RESPONSES), ("system", CONVERSE)):
        came = read(packed({name: "be brief", "messages": shape}))
        assert (came.messages, came.repairs) == (USED, (f"`{name}` was left out: talk's `system` sets it",))


def test_replies_of_anthropic_in_a_list_are_read_as_such():
    """As `messages.append(response.model_dump())` leaves them."""
    reply: dict[str, object] = {
        "id": "msg_1",
        "type": "message",
        "model": "m",
        "stop_reason": "tool_use",
        "usage": {},
    }
    for marks in (reply, {"type": "message"}):
        asked = {**marks, "role": "assistant", "content": ANTHROPIC[1]["content"]}
        came = read(packed([{"role": "user", "content": "look"}, asked, *ANTHROPIC[2:]]))
        assert (came.format, came.messages, came.repairs) == ("anthropic", USED, ())
    said = {**reply, "role": "assistant", "content": [{"type": "text", "text": "Fish."}]}
    assert read(packed([{"role": "user", "content": "What is in the sea?"}, said])).messages == ASKED


def test_our_own_blocks_are_known_by_what_only_they_have():
    use = {"type": "tool_use", "id": "u1", "name": "look", "input": {"far": True}}
    result = {"type": "tool_result", "tool_use_id": "u1", "content": [], "failed": True}
    own = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    came = read(packed(own))
    assert came.format == "jsonl"
    assert came.messages[1] == user((ToolResultBlock("u1", (), failed=True),))
    assert read(packed(own[:1])).format == "anthropic"


def test_a_list_that_is_there_twice_is_refused():
    with pytest.raises(ImportInvalid, match="`messages` twice"):
        read(b'{"messages": [], "x": 1, "messages": []}')
