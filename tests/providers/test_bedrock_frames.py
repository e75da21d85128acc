"""Event-stream messages: any split, any damage."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import LimitExceeded
from eai_mcp.providers.bedrock_frames import EXCEPTION, FrameDecoder
from eai_mcp.providers.sse import Event
from tests.providers.bedrock_bytes import cut, event, exception, header, message, raw

TWO = event("messageStart", {"role": "assistant"}) + exception("throttlingException", {"message": "é"})
BOTH = [
    Event("messageStart", '{"role": "assistant"}'),
    Event(f"{EXCEPTION}throttlingException", '{"message": "\\u00e9"}'),
]


@pytest.mark.parametrize("size", [1, 2, 7, 11, 100, 10_000])
def test_messages_are_found_however_the_bytes_are_cut(size):
    """Issue 3: streams parsed at byte level by a no-I/O decoder that survives any split."""
    decoder = FrameDecoder()

    assert [found for piece in cut(TWO, size) for found in decoder.feed(piece)] == BOTH
    assert decoder.close() == []


def test_nothing_comes_of_no_bytes():
    decoder = FrameDecoder()

    assert decoder.feed(b"") == []
    assert decoder.feed(TWO + b"") == BOTH


def test_a_message_that_was_cut_off_is_none():
    decoder = FrameDecoder()

    assert decoder.feed(TWO[:-1]) == BOTH[:1]
    assert decoder.close() == []


def test_an_error_without_a_payload_has_its_words_in_the_headers():
    said = message({":message-type": "error", ":error-code": "InternalError", ":error-message": 'a "b"'})

    assert FrameDecoder().feed(said) == [Event(f"{EXCEPTION}InternalError", '{"message":"a \\"b\\""}')]


def test_messages_of_another_kind_are_passed_over():
    assert FrameDecoder().feed(message({":message-type": "news"}) + message({}, b"x") + raw(b"")) == []


def test_headers_of_every_type_are_stepped_over():
    values = {0: b"", 1: b"", 2: b"1", 3: b"12", 4: b"1234", 5: b"12345678", 8: b"12345678", 9: b"x" * 16}
    block = b"".join(struct.pack(">B", 1) + b"h" + bytes([kind]) + value for kind, value in values.items())
    block += struct.pack(">B", 1) + b"b" + struct.pack(">BH", 6, 3) + b"abc"
    block += header(":message-type", "event") + header(":event-type", "x")

    assert FrameDecoder().feed(raw(block, b"{}")) == [Event("x", "{}")]


@pytest.mark.parametrize(
    "block", [b"\x05ab", b"\x01a", b"\x01a\x07\x00", b"\x01a\x07\x00\x05ab", b"\x01a\x0a", b"\x01a\x04ab"]
)
def test_headers_that_make_no_sense_are_damage(block):
    with pytest.raises(ValueError, match="header"):
        FrameDecoder().feed(raw(block))


def test_a_wrong_checksum_is_damage():
    for at, words in ((0, "the beginning of a message is damaged"), (20, "a message is damaged")):
        damaged = bytearray(TWO)
        damaged[at] ^= 1
        with pytest.raises(ValueError, match=words):
            FrameDecoder().feed(bytes(damaged))


def test_damage_is_seen_before_the_message_is_waited_for():
    with pytest.raises(ValueError, match="beginning"):
        FrameDecoder().feed(b"HTTP/1.1 200")


def test_a_message_shorter_than_its_headers_is_damage():
    begun = struct.pack(">II", 17, 2)
    with pytest.raises(ValueError, match="shorter than its headers"):
        FrameDecoder().feed(begun + struct.pack(">I", zlib.crc32(begun)))


def test_a_message_beyond_the_limit_is_refused_at_its_beginning():
    with pytest.raises(LimitExceeded, match="longer than 100 bytes") as caught:
        FrameDecoder(longest=100).feed(event("x", {"a": "b" * 100})[:12])
    assert caught.value.details["limit"] == 100


def test_a_message_larger_than_a_mebibyte_is_taken():
    """Issue 3: events larger than 1 MiB."""
    payload = b'"' + b"x" * 2_000_000 + b'"'
    decoder = FrameDecoder()

    (found,) = [found for piece in cut(event("x", payload), 65_536) for found in decoder.feed(piece)]
    assert len(found.data) == 2_000_002


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_messages_or_damage(pieces):
    decoder = FrameDecoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
    except (ValueError, LimitExceeded):
        pass
