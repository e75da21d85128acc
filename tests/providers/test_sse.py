import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import LimitExceeded
from eai_mcp.providers.sse import Decoder, Event

LINES = st.sampled_from(
    ["data: {}", "data:x", "data", "data: ", ": note", ":", "event: error", "event:", "id: 7", "other: y", ""]
)
TEXTS = st.text(alphabet="aé€😀\u2028\u2029\u0085\x0b\x0c: {}", max_size=12).map("data: {}".format)
ENDS = st.sampled_from(["\r", "\n", "\r\n"])
STREAMS = st.lists(st.tuples(LINES | TEXTS, ENDS), max_size=20).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


def decoded(*pieces: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


def expected(stream: str) -> list[Event]:
    """The standard's algorithm, word by word, on the whole text."""
    events: list[Event] = []
    name, data = "", list[str]()
    lines = stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line in [*lines, ""]:
        if not line:
            if data:
                events.append(Event(name, "\n".join(data)))
            name, data = "", []
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data.append(value)
    return events


@given(STREAMS, st.data())
def test_any_split_gives_the_events_of_the_whole(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    single = [stream[i : i + 1] for i in range(len(stream))]

    assert decoded(*pieces) == decoded(*single) == decoded(stream) == expected(stream.decode())


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_each_of_the_three_line_ends_ends_a_line(end):
    stream = end.join(["event: error", "data: a", "data: b", "", "data: c", "", ""])

    assert decoded(stream.encode()) == [Event("error", "a\nb"), Event("", "c")]


def test_separators_of_unicode_stay_inside_the_data():
    text = 'data: {"x":"a\u2028b\u2029c\u0085d\x0be\x0cf"}\n\n'

    assert decoded(text.encode()) == [Event("", '{"x":"a\u2028b\u2029c\u0085d\x0be\x0cf"}')]


def test_a_byte_order_mark_is_passed_over_only_at_the_start():
    mark = b"\xef\xbb\xbf"

    assert decoded(mark[:1], mark[1:] + b"data: a\n\n" + mark + b"data: b\n\n") == [Event("", "a")]


def test_comments_unknown_fields_and_empty_events_are_passed_over():
    assert decoded(b": keep-alive\n\nid: 4\nretry: 9\nevent: ping\n\ndata: a\n\n") == [Event("", "a")]


def test_an_event_is_heard_as_soon_as_its_empty_line_begins():
    decoder = Decoder()

    assert decoder.feed(b"data: a\r\n\r") == [Event("", "a")]
    assert decoder.feed(b"\ndata: b\n\n") == [Event("", "b")]


def test_the_end_of_the_stream_completes_the_last_event():
    assert decoded(b"data: a\ndata: b") == [Event("", "a\nb")]


def test_bytes_that_are_not_utf8_are_marked_and_do_not_raise():
    assert decoded(b"data: a\xffb\n\n") == [Event("", "a\ufffdb")]


def test_an_event_of_several_mebibytes_passes():
    text = "x" * (3 * 1024 * 1024)

    assert decoded(f"data: {text}\n\n".encode()) == [Event("", text)]


@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"x" * 100, b"data: 012345678\n" * 10, b": " + b"x" * 100],
    ids=["line", "lines", "comment"],
)
def test_an_event_beyond_the_limit_is_refused(stream):
    with pytest.raises(LimitExceeded) as caught:
        Decoder(longest=99).feed(stream)

    assert caught.value.details == {"limit": 99, "actual": caught.value.details["actual"]}


def test_the_limit_is_for_each_event_not_for_the_stream():
    decoder = Decoder(longest=20)

    assert [decoder.feed(b"data: 0123456789\n\n") for _ in range(9)] == [[Event("", "0123456789")]] * 9


def test_a_long_line_in_many_small_pieces_costs_what_it_is_long():
    decoder, piece, count = Decoder(), b"0123456789", 200_000
    decoder.feed(b"data: ")
    begun = time.process_time()
    for _ in range(count):
        decoder.feed(piece)
    spent = time.process_time() - begun

    assert decoder.feed(b"\n\n") == [Event("", "0123456789" * count)]
    assert spent < 5  # quadratic would be minutes
