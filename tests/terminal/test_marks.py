"""The marks of the shell, however the reads split them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.terminal.bash import MARK
from eai_mcp.terminal.marks import Begun, Marks, Muted, Piece, Prompted, Stray, Written

NONCE, OTHER = "12" * 19, "34" * 19


def mark(word, nonce=NONCE):
    return f"\x1b]7777;{nonce};{word}\x07".encode()


def heard(*reads):
    """The pieces, those of one kind that follow each other as one."""
    marks = Marks()
    marks.expect(NONCE)
    pieces = [piece for read in reads for piece in marks.feed(read)] + marks.rest()
    joined: list[Piece] = []
    for piece in pieces:
        match piece, joined[-1:]:
            case Stray(data=data), [Stray(data=before)]:
                joined[-1] = Stray(before + data)
            case Written(data=data), [Written(data=before)]:
                joined[-1] = Written(before + data)
            case _:
                joined.append(piece)
    return joined


def test_output_of_a_script_lies_between_the_marks():
    assert heard(b"before" + mark(1000) + b"out" + mark("3") + b"after") == [
        Stray(b"before"),
        Begun(),
        Written(b"out"),
        Prompted(3),
        Stray(b"after"),
    ]


def test_a_prompt_ends_a_script_that_never_began():
    assert heard(mark("130")) == [Prompted(130)]


def test_a_shell_that_cannot_tell_an_end_says_so():
    assert heard(mark(1000) + b"out" + mark(2000) + mark("0")) == [
        Begun(),
        Written(b"out"),
        Muted(),
        Stray(mark("0")),
    ]


def test_a_mark_with_another_nonce_is_output():
    """Issue 7: per-run random markers that output cannot forge."""
    forged = mark("0", OTHER) + mark(1000, OTHER)
    assert heard(mark(1000) + forged + mark("0")) == [Begun(), Written(forged), Prompted(0)]


def test_what_is_no_word_of_ours_is_output_even_with_the_nonce():
    odd = mark("1234") + mark("mute") + mark("") + mark("-1") + mark("x" * 500) + mark("\u0663")
    assert heard(mark(1000) + odd + mark("0")) == [Begun(), Written(odd), Prompted(0)]


def test_a_mark_that_never_ends_is_output():
    assert heard(mark(1000) + mark("0")[:-1]) == [Begun(), Written(mark("0")[:-1])]


def test_an_end_that_does_not_count_now_is_output():
    """Issue 7: per-run random markers that output cannot forge."""
    now = iter([False, True])
    marks = Marks(lambda: next(now))
    marks.expect(NONCE)
    assert marks.feed(mark(1000) + mark("0") + mark("7")) == [
        Begun(),
        Written(MARK + NONCE.encode() + b";"),
        Written(b"0\x07"),
        Prompted(7),
    ]


def test_the_nonce_counts_once():
    assert heard(mark(1000) + mark("0") + mark(1000) + mark("1")) == [
        Begun(),
        Prompted(0),
        Stray(mark(1000) + mark("1")),
    ]


PARTS = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([mark(1000), mark("0"), mark("7", OTHER), mark("0")[:-9], b"\x1b", b"\x1b]77"]),
    ),
    max_size=12,
)


@given(parts=PARTS, cuts=st.lists(st.integers(0, 600), max_size=12))
def test_it_does_not_matter_how_the_reads_are_split(parts, cuts):
    whole = b"".join(parts)
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    reads = [whole[start:end] for start, end in itertools.pairwise(edges)]
    assert heard(*reads) == heard(whole)
    assert heard(*(bytes([byte]) for byte in whole)) == heard(whole)


@given(data=st.binary(max_size=300))
def test_nothing_of_the_output_is_lost(data):
    pieces = heard(mark(1000) + data + mark("9"))
    assert b"".join(piece.data for piece in pieces if isinstance(piece, Written)) == data
    assert pieces[-1] == Prompted(9)
