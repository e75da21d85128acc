import codecs
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from eai_mcp.server import frames
from eai_mcp.server.frames import Lines, Oversized, Refusal

REQUEST = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo"}}


def line(**changes):
    return json.dumps({**REQUEST, **changes}).encode()


def refused(raw):
    """Code, id and sentence of the error that a line is answered with."""
    heard = frames.read(raw)
    assert isinstance(heard, Refusal)
    assert heard.answer is not None
    assert heard.reason == heard.answer.error.message
    return heard.answer.error.code, heard.answer.id, heard.reason


@given(st.lists(st.binary().filter(lambda text: b"\n" not in text)), st.integers(1, 7))
def test_lines_are_the_same_however_the_bytes_arrive(texts, size):
    stream = b"".join(text + b"\n" for text in texts)
    lines = Lines()
    heard = [cut for start in range(0, len(stream), size) for cut in lines.feed(stream[start : start + size])]
    assert heard + lines.last() == [text for text in texts if text.strip()]


def test_what_follows_the_last_newline_is_a_line_once_the_stream_ends():
    lines = Lines()
    assert lines.feed(b"one\ntw") == [b"one"]
    assert lines.last() == [b"tw"]
    assert lines.last() == []


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_line_that_is_too_long_is_dropped_and_the_next_one_kept(size):
    stream, lines = b"a" * 30 + b"\n" + b"b" * 10 + b"\n", Lines(longest=10)
    heard = [cut for start in range(0, len(stream), size) for cut in lines.feed(stream[start : start + size])]
    dropped, kept = heard
    assert isinstance(dropped, Oversized)
    assert (dropped.size, dropped.tail, kept) == (30, b"a" * 30, b"b" * 10)
    assert dropped.head == b"a" * len(dropped.head)


@pytest.mark.parametrize(
    ("start", "end", "known"),
    [
        ('{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":"', '"}}', 5),
        ('{"id":"x","jsonrpc":"2.0","method":"m","params":{"a":"', '"}}', "x"),
        ('{"method":"m","params":{"a":"', '"},"jsonrpc":"2.0","id":6}', 6),
        ('{"method":"m","params":{"a":"', '"},"id":6,"jsonrpc":"2.0"}\r', 6),
        ('{"method":"m","params":{"a":"', '","id":6}}', None),
        ('{"id":5,"result":{"a":"', '"},"jsonrpc":"2.0"}', None),
        ('{"result":{"a":"', '"},"jsonrpc":"2.0","id":6}', None),
        ("[", "]", None),
    ],
)
def test_a_request_that_is_too_long_is_refused_under_its_id_wherever_that_stands(start, end, known):
    lines = Lines(longest=1000)
    (dropped,) = lines.feed(start.encode() + b"x" * 5000 + end.encode() + b"\n")
    assert isinstance(dropped, Oversized)
    answer = frames.too_long(dropped, 1000).answer
    assert answer is not None
    assert (answer.error.code, answer.id) == (-32600, known)
    size = f"{5000 + len(start) + len(end):,}"
    assert answer.error.message == f"the message is {size} bytes; at most 1,000 are taken"


def test_messages_of_all_four_kinds_are_read():
    assert frames.read(line() + b"\r") == JSONRPCRequest.model_validate(REQUEST)
    told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"id": 1}}
    assert frames.read(json.dumps(told).encode()) == JSONRPCNotification.model_validate(told)
    given = {"jsonrpc": "2.0", "id": "a", "result": {}}
    assert frames.read(json.dumps(given).encode()) == JSONRPCResponse.model_validate(given)
    failed = {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}
    assert frames.read(json.dumps(failed).encode()) == JSONRPCError.model_validate(failed)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"hello", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (line()[:-1], "not valid JSON: Expecting ',' delimiter: line 1 column 79 (char 78)"),
        (line().replace(b"echo", b"\xff"), "byte 72 of the message is not UTF-8"),
        (b"[" * 100_000, "the message is nested too deeply"),
    ],
)
def test_what_is_no_json_is_a_parse_error_without_an_id(raw, sentence):
    assert refused(raw) == (-32700, None, sentence)


@pytest.mark.parametrize("raw", [b"1", b"[]", b"[%s]" % line(), b'"text"'])
def test_what_is_no_object_is_refused(raw):
    assert refused(raw) == (-32600, None, frames.BATCH)


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"jsonrpc": "1.0"}, 7),
        ({"method": 5}, 7),
        ({"params": [1]}, 7),
        ({"id": None}, None),
        ({"id": 1.5}, None),
        ({"id": True}, None),
        ({"id": {}, "params": 1}, None),
        ({"id": "\ud800"}, None),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused_under_its_id_if_that_can_be_one(changes, known):
    code, answered, sentence = refused(line(**changes))
    assert (code, answered) == (-32600, known)
    assert sentence in (frames.SHAPE, frames.SURROGATE)


@pytest.mark.parametrize("wrong", [b"007", b'"a\xff"', b'"a\tb"', b"-"])
def test_what_only_looks_like_an_id_of_a_line_too_long_is_not_answered_under(wrong):
    head = b'{"jsonrpc":"2.0","id":' + wrong + b',"method":"tools/list","params":'
    refusal = frames.too_long(frames.Oversized(10**8, head, b"}"), 10**7)

    assert refusal.answer is not None
    assert refusal.answer.id is None


def test_half_a_surrogate_pair_is_refused_under_the_id_with_a_sentence_that_names_it():
    raw = line(params={"name": "echo", "arguments": {"text": "\ud800"}})
    assert refused(raw) == (-32600, 7, frames.SURROGATE)


def test_json_that_only_the_standard_library_takes_is_refused_under_the_id():
    raw = line(params={"deep": "?"}).replace(b'"?"', b"[" * 300 + b"]" * 300)
    code, known, sentence = refused(raw)
    assert (code, known) == (-32600, 7)
    assert sentence.startswith("not usable JSON: recursion limit exceeded")


def test_a_notification_that_cannot_be_read_is_owed_no_answer():
    told = {"jsonrpc": "2.0", "method": "notifications/x", "params": {"text": "\ud800"}}
    assert frames.read(json.dumps(told).encode()) == Refusal(frames.SURROGATE, None)


def test_an_answer_that_cannot_be_read_becomes_an_error_for_whoever_asked():
    heard = frames.read(json.dumps({"jsonrpc": "2.0", "id": 3, "result": {"text": "\ud800"}}).encode())
    assert isinstance(heard, JSONRPCError)
    assert (heard.id, heard.error.message) == (3, frames.SURROGATE)


def test_a_message_is_written_as_one_line_of_utf8():
    message = JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "a\nü\u2028"})
    assert frames.written(message) == '{"jsonrpc":"2.0","id":1,"result":{"text":"a\\nü\u2028"}}\n'.encode()


def test_half_a_surrogate_pair_in_a_result_becomes_a_question_mark():
    message = JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "a\ud800b"})
    assert frames.written(message) == b'{"jsonrpc":"2.0","id":1,"result":{"text":"a?b"}}\n'


def test_a_byte_order_mark_before_a_message_is_passed_over():
    """Windows PowerShell begins with one what it pipes."""
    assert frames.read(codecs.BOM_UTF8 + line()) == frames.read(line())
    assert refused(codecs.BOM_UTF8 * 100_000)[0] == -32700
