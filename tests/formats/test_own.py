"""Our own files: what they are in bytes, that nothing is lost in them, and that old ones can be read."""

import gzip
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ImportInvalid
from eai_mcp.formats import Head, own
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    ProviderState,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
    assistant,
    line,
    user,
)
from tests.formats.moving import heads, lines, read, read_all, rewritten, sessions, snapshot, written

FROZEN = Path(__file__).parent / "frozen"
SCHEMA = json.loads(Path(own.__file__).with_name("session-1.schema.json").read_text(encoding="utf-8"))

EVERYTHING = [
    line(user((TextBlock("look\ud800 \x00"), ImageBlock("image/png", "aGk="))), turn_id="t_1", at=1.5),
    line(
        Message(
            "assistant",
            (
                ThinkingBlock("hm", "sealed"),
                ThinkingBlock("unsealed"),
                TextBlock("wait"),
                ToolUseBlock("u1", "look", {"z": 1, "a": [None, True, 0.5, {"deep": "x"}]}),
                ToolUseBlock("u2", "look", {}),
            ),
            state=ProviderState("anthropic", "some-model", [{"type": "redacted_thinking", "data": "x"}]),
        ),
        turn_id="t_1",
        at=2.25,
    ),
    line(
        user(
            (
                ToolResultBlock("u1", (TextBlock("the sea"), DocumentBlock("text/plain", "aGk=", "n.txt"))),
                ToolResultBlock("u2", (), failed=True),
            )
        ),
        turn_id="t_1",
        at=3.0,
    ),
    line(assistant("half of it", partial=True), turn_id="t_1", at=4.0),
    line(user(""), at=5.0),
]
HEAD = Head(
    session="work",
    updated_at=6.5,
    choices={"model": "claude_sonnet", "system": "Be brief.\n", "card": "pirate"},
    usage=Usage(10, 20, 3, 4, 5, 0.25),
)


def test_a_file_of_ours_is_this_json():
    """Issue 5: gzip of versioned JSON, sha256 inside, timestamps, usage, session choices."""
    whole = json.loads(written("eai-mcp", [line(user("hi"), turn_id="t_1", at=1.5)], HEAD))
    assert whole == {
        "format": "eai-mcp",
        "version": 1,
        "session": "work",
        "updated_at": 6.5,
        "choices": {"model": "claude_sonnet", "system": "Be brief.\n", "card": "pirate"},
        "usage": {
            "input": 10,
            "output": 20,
            "cache_read": 3,
            "cache_write": 4,
            "reasoning": 5,
            "cost_usd": 0.25,
        },
        "messages": [
            {
                "at": 1.5,
                "turn_id": "t_1",
                "role": "user",
                "content": [{"type": "text", "text": "hi"}],
                "partial": False,
            }
        ],
        "message_count": 1,
        "sha256": "260ca7225157d2f6e6f6d61f5dd02299e46ad137eab0171908cdc11434cbb416",
    }


def test_every_kind_of_block_comes_back():
    """Issue 5: every block kind incl. thinking with signatures, opaque provider state, partial marks."""
    came = read(written("eai-mcp", EVERYTHING, HEAD))
    assert (came.format, came.head, came.lines, came.repairs) == ("eai-mcp", HEAD, EVERYTHING, ())


@given(heads, sessions)
def test_whatever_a_session_holds_comes_back_from_our_format(head, given_lines):
    """Issue 5: round trip property test over generated histories: export -> import equal, for each lossless
    format.
    """
    for form in ("auto", "eai-mcp"):
        came = read(written("eai-mcp", given_lines, head), form)
        assert (came.format, came.head, came.lines, came.repairs) == ("eai-mcp", head, given_lines, ())


@given(sessions)
def test_whatever_was_said_comes_back_from_lines(given_lines):
    """Issue 5: round trip property test over generated histories: export -> import equal, for each lossless
    format.
    """
    data = written("jsonl", given_lines)
    for form in ("auto", "jsonl") if given_lines else ("jsonl",):
        came = read(data, form)
        assert (came.lines, came.repairs) == (given_lines, ())
    assert data.count(b"\n") == len(given_lines)


@given(st.lists(st.tuples(heads, sessions), max_size=4, unique_by=lambda pair: pair[0].session))
def test_whatever_sessions_hold_comes_back_from_a_snapshot(given_sessions):
    """Issue 5: **Snapshot and restore** of all sessions: consistent, one file."""
    data = snapshot(*given_sessions)
    assert [(came.head, came.lines) for came in read_all(data)] == given_sessions
    assert snapshot(*given_sessions) == data


@given(heads, sessions)
def test_the_same_history_has_the_same_bytes(head, given_lines):
    """Issue 5: reproducible bytes (same history, same bytes)."""
    came = read(written("eai-mcp", given_lines, head))
    assert written("eai-mcp", came.lines, came.head) == written("eai-mcp", given_lines, head)


@given(heads, sessions)
def test_what_we_write_is_what_the_schema_says(head, given_lines):
    """Issue 5: later versions must be able to read it: a schema file."""
    jsonschema.validate(json.loads(written("eai-mcp", given_lines, head)), SCHEMA)


def test_the_schema_forbids_what_it_does_not_know():
    whole = json.loads(written("eai-mcp", EVERYTHING, HEAD))
    for broken in ({**whole, "more": 1}, {**whole, "version": 2}, {**whole, "messages": [{"role": "user"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


def test_the_frozen_file_of_version_1_can_be_read_and_is_what_we_write():
    """Issue 5: a frozen sample per version in the tests."""
    data = (FROZEN / "session-1.json.gz").read_bytes()
    came = read(data)
    assert (came.head, came.lines) == (HEAD, EVERYTHING)
    assert written("eai-mcp", EVERYTHING, HEAD) == gzip.decompress(data)
    jsonschema.validate(json.loads(gzip.decompress(data)), SCHEMA)


def test_the_frozen_snapshot_of_version_1_can_be_read_and_is_what_we_write():
    """Issue 5: a frozen sample per version in the tests."""
    data = (FROZEN / "snapshot-1.gz").read_bytes()
    both = [(HEAD, EVERYTHING), (Head(session="empty", updated_at=7.0), [])]
    assert [(came.head, came.lines) for came in read_all(data)] == both
    assert gzip.decompress(snapshot(*both)) == gzip.decompress(data)


def test_white_space_and_the_order_of_keys_may_change_on_the_way():
    whole = json.loads(written("eai-mcp", EVERYTHING, HEAD))
    for again in (
        json.dumps(whole, indent=4, sort_keys=True),
        json.dumps(dict(reversed(whole.items()))),
        json.dumps(whole).replace('"at": 3.0', '"at": 3').replace('"at": 4.0', '"at": 4e0'),
    ):
        came = read(again.encode())
        assert (came.format, came.head) == ("eai-mcp", HEAD)
        assert came.messages == [each.message for each in EVERYTHING]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"message_count": 4}, "should have 4 messages, and has 5"),
        ({"message_count": "5"}, 'should have "5" messages'),
        ({"version": 2}, "version 2 of its format, and this eai-mcp reads 1"),
        ({"version": None}, "version null"),
        ({"version": True}, "version true"),
        ({"message_count": True}, "should have true messages"),
        ({"choices": {"model": "other"}}, "sha256 does not fit"),
        ({"usage": {"input": 11}}, "sha256 does not fit"),
        ({"messages": []}, "should have 5 messages, and has 0"),
        ({"choices": {"model": 5}, "sha256": None}, "choices.model should be text, not int"),
        ({"choices": {"model": "m" * 129}, "sha256": None}, "choices.model has 129 characters"),
        ({"updated_at": -1}, "updated_at should be seconds since 1970"),
    ],
)
def test_a_file_that_was_changed_or_is_newer_is_refused(changes, message):
    """Issue 5: sha256 inside."""
    with pytest.raises(ImportInvalid, match=message):
        read(rewritten(written("eai-mcp", EVERYTHING, HEAD), **changes))


def test_a_changed_word_is_seen_unless_the_sha256_is_taken_out():
    """Issue 5: sha256 inside."""
    data = written("eai-mcp", EVERYTHING, HEAD).replace(b"half of it", b"all of it!")
    with pytest.raises(ImportInvalid, match="remove `sha256` from it to take it all the same"):
        read(data)
    assert read(rewritten(data, sha256=None)).messages[3].text == "all of it!"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda rows: rows[:-1], "its last line is missing"),
        (lambda rows: rows[:3] + rows[-1:], "session 'work' should have 5 messages, and has 1"),
        (lambda rows: [*rows[:2], rows[2].replace("look", "took"), *rows[3:]], "its sha256 does not fit"),
        (lambda rows: [rows[0], *rows[2:]], "a message comes before the first session"),
        (lambda rows: [*rows, rows[1]], "goes on behind its end"),
        (lambda rows: rows[1:], "no snapshot"),
        (lambda rows: [rows[0].replace("1", "2"), *rows[1:]], "version 2 of its format"),
        (lambda rows: rows[:-2] + rows[-1:], "should have 2 sessions with 5 messages, and has 1 with 5"),
        (lambda rows: [json.dumps(rows)], "the file is no snapshot"),
        (lambda rows: [], "empty"),
    ],
)
def test_a_snapshot_that_is_damaged_is_refused(changed, message):
    """Issue 5: restore ... is all or nothing."""
    both = snapshot((HEAD, EVERYTHING), (Head(session="empty"), []))
    rows = gzip.decompress(both).decode().splitlines()
    with pytest.raises(ImportInvalid, match=message):
        read_all("\n".join(changed(rows)).encode())


def test_files_for_the_other_tool_say_which_it_is():
    both = snapshot((HEAD, EVERYTHING))
    with pytest.raises(ImportInvalid, match="`restore` reads it"):
        read(both)
    with pytest.raises(ImportInvalid, match=r"`replace_history` \(`eai-mcp import`\) reads"):
        read_all(written("eai-mcp", EVERYTHING, HEAD))
    with pytest.raises(ImportInvalid, match="no eai-mcp export"):
        read(written("openai", lines([user("hi")])), "eai-mcp")


def test_equal_values_have_one_canonical_form():
    assert own.canonical({"b": [1, {"z": None, "a": 0.5}], "a": "é"}) == (
        b'{"a":"\\u00e9","b":[1,{"a":0.5,"z":null}]}'
    )
    assert own.canonical([1.0, -0.0, 1e300, 0.25, True]) == b"[1,0,1e+300,0.25,true]"
