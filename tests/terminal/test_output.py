"""What is kept of an output, and its pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import InvalidArgument
from eai_mcp.terminal import Page
from eai_mcp.terminal.clean import cleaned
from eai_mcp.terminal.output import IN_MEMORY, Output

MB = 1 << 20


def filled(*pieces, folder=None):
    output = Output(keep=MB, folder=folder)
    for piece in pieces:
        output.add(piece)
    return output


def page(output, *, offset=None, tail=None, most=30_000, over=True):
    return output.page(offset=offset, tail=tail, most=most, over=over)


def lines(count):
    return b"".join(b"line %07d\n" % number for number in range(count))


def test_a_page_says_where_it_stands():
    assert page(filled(b"one\r\ntwo\r\n"), offset=5) == Page(
        text="two\n", offset=5, next_offset=10, total=10, dropped=0
    )


def test_a_page_past_the_end_is_empty():
    assert page(filled(b"one\n"), offset=100) == Page(text="", offset=4, next_offset=4, total=4, dropped=0)


def test_the_tail_begins_with_a_line():
    """Issue 7: output kept after exit, readable by offset and tail."""
    assert page(filled(lines(100)), tail=30).text == "line 0000098\nline 0000099\n"
    assert page(filled(lines(2)), tail=1000).text == "line 0000000\nline 0000001\n"
    assert page(filled("ü".encode() * 10), tail=5).text == "üü"


def test_a_line_that_is_not_over_is_shown_and_begins_the_next_page():
    output = filled(b"a\n10%\r20%")
    first = page(output, over=False)
    assert (first.text, first.next_offset) == ("a\n20%", 2)
    output.add(b"\rdone\n")
    assert page(output, offset=first.next_offset, over=False).text == "done\n"


def test_half_a_letter_or_sequence_is_not_shown_while_more_may_come():
    for begun in (b"\xe2\x82", b"\x1b[3", b"\x1b]0;ti", b"\x1b"):
        assert page(filled(b"name: " + begun), over=False).text == "name: "


def test_a_page_ends_with_a_line_unless_that_is_longer_than_a_page():
    output = filled(lines(10))
    assert page(output, most=30).text == "line 0000000\nline 0000001\n"
    assert page(filled(b"x" * 100), most=30).next_offset == 30


def test_a_cut_in_a_long_line_cuts_no_letter_and_no_sequence():
    assert page(filled("ü".encode() * 50), most=31).next_offset == 30
    assert page(filled(b"x" * 28 + b"\x1b[31m" + b"y" * 50), most=30).next_offset == 28
    assert page(filled(b"x" * 29 + b"\r\n" + b"y" * 50), most=30).next_offset == 29


def test_numbers_that_cannot_be_are_refused():
    output = filled(b"x")
    for wrong in ({"offset": -1}, {"tail": -1}, {"most": 0}, {"offset": 0, "tail": 1}):
        with pytest.raises(InvalidArgument):
            page(output, **wrong)


def test_little_output_needs_no_file(tmp_path):
    output = filled(b"x" * IN_MEMORY, folder=tmp_path / "none")
    assert (page(output, tail=5).text, output.dropped) == ("xxxxx", 0)


def test_the_oldest_is_dropped_and_said():
    """Issue 7: spill capped at 64 MB a run, oldest dropped and said."""
    whole = lines(400_000)
    output = filled(*(whole[at : at + 70_001] for at in range(0, len(whole), 70_001)))
    assert output.total == len(whole)
    assert len(whole) - MB - IN_MEMORY - 70_001 <= output.dropped <= len(whole) - MB
    assert page(output, tail=26).text == "line 0399998\nline 0399999\n"
    first = page(output)
    assert first.dropped == output.dropped <= first.offset < output.dropped + 13
    assert first.text.startswith("line 0")
    assert output.read(output.dropped, output.total) == whole[output.dropped :]
    output.close()


def test_no_name_of_the_file_is_left(tmp_path):
    """DESIGN section 11: data, exports and spill files are 0600 in 0700 folders."""
    output = filled(b"x" * (2 * IN_MEMORY), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert output.read(0, 2 * IN_MEMORY) == b"x" * (2 * IN_MEMORY)
    output.close()


def test_without_a_place_for_a_file_the_newest_stays_in_memory(tmp_path):
    output = filled(lines(20_000), lines(3), folder=tmp_path / "none")
    assert output.dropped == output.total - IN_MEMORY
    assert page(output, tail=13).text == "line 0000002\n"


def test_nothing_is_read_from_one_that_was_given_back():
    output = filled(lines(30_000))
    output.close()
    assert page(output).text == ""


@given(
    pieces=st.lists(
        st.binary(max_size=60) | st.sampled_from([b"\n", b"\r\n", b"\r", b"\x1b[1m"]), max_size=20
    ),
    most=st.integers(1, 90),
)
def test_pages_tile_the_output_and_end(pieces, most):
    output, whole = filled(*pieces), b"".join(pieces)
    at, found = 0, b""
    while at < output.total:
        shown = page(output, offset=at, most=most)
        assert at < shown.next_offset <= min(at + most, len(whole))
        found += whole[at : shown.next_offset]
        assert shown.text == cleaned(whole[at : shown.next_offset])
        at = shown.next_offset
    assert found == whole


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=20), max_size=20)
)
def test_pages_of_whole_lines_show_what_the_whole_shows(texts):
    whole = "".join(f"{text}\n" for text in texts).encode()
    output, at, shown = filled(whole), 0, ""
    while at < output.total:
        part = page(output, offset=at, most=100)
        shown, at = shown + part.text, part.next_offset
    assert shown == cleaned(whole)
