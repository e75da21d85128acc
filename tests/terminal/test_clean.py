"""What a terminal would show of bytes."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eai_mcp.terminal.clean import cleaned


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        ("grün ✓ 日本\n".encode(), "grün ✓ 日本\n"),
        (b"a\r\nb\r\r\n", "a\nb\n"),
        (b"\x1b[1;31mred\x1b[0m \x1b[38;5;9mred\x1b[m", "red red"),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
        (b"\x1bP1$r\x1b\\a\x1b^pm\x1b\\b\x1b_apc\x1b\\c", "abc"),
        (b"\x1b(B\x1b)0a\x1b=\x1b>\x1b7\x1b8b\x1bc", "ab"),
        (b"\x1b[?25l\x1b[2Jx\x1b[10;3Hy\x1b[?1049h", "x\n  y"),
        (b"\x1b[1;1Hline1\x1b[2;1Hline2\x1b[2;4H3\x1b[Htop", "line1\nlin32\ntop"),
        (b"one\x1b[5;1f\x1b[8d\x1b[K", "one"),
        (b"a\x1b[Bb\x1b[2Ac\x1b[Ed\x1b[Fe\x1bDf\x1bEg\x1bMh\n", "a\nb\nc\nd\ne\nf\ng\nh\n"),
        (b"50%\x1b[A\x1b[2K\r60%\n", "50%\n60%\n"),
        (b"\x1b7one\x1b8two\x1b[s!\x1b[u?", "two?"),
        (b"\x1b7one\x1b[Btwo\x1b8x\x1b8y", "one\ntwo\ny"),
        (b"\x1b8\x1b[ux", "x"),
        (b"abcdef\x1b[3D\x1b[1PX", "abcXf"),
        (b"abcdef\x1b[5D\x1b[99Pg", "ag"),
        (b"abcdef\x1b[3D\x1b[2@X", "abcX def"),
        (b"abcdef\x1b[4D\x1b[2X", "ab  ef"),
        (b"ab\x1b[3b\x1b[0b.", "abbbbb."),
        (b"abcdef\x1b[3D\x1b[1K", "    ef"),
        (b"abcdef\x1b[3D\x1b[Jx", "abcx"),
        ("日本語\r\x1b[C\x1b[Px".encode(), " x 語"),
        ("日本語\r\x1b[C\x1b[@x".encode(), " x 本語"),
        ("日本語\r\x1b[C\x1b[X".encode(), "  本語"),
        (b"x" * 210 + b"\r\x1b[P\x1b[2@", "  " + "x" * 198 + "x" * 10),
        (b"10%\r50%\r100%\n", "100%\n"),
        (b"loading...\rdone\x1b[K\n", "done\n"),
        (b"loading...\rdone\n", "doneing...\n"),
        (b"abc\x1b[2K\rx", "x"),
        (b"abc\b\bX", "aXc"),
        (b"pass\b \b\b \bx", "pax "),
        (b"abcdef\x1b[3DX\x1b[1Gy\x1b[1CZ", "ybZXef"),
        (b"\x1b[5Gx\rab", "ab  x"),
        (b"a\tb\rcd", "cdb"),
        (b"0123456789\r\tX", "01234567X9"),
        ("日本\rab".encode(), "ab本"),
        ("日本\ra".encode(), "a 本"),
        ("e\u0301a\b\bx".encode(), "xa"),
        ("日\u0301\b\b\u0302x".encode(), "\u0302x"),
        (b"bell\x07 nul\x00 del\x7f vt\x0b", "bell nul del vt"),
        ("c1\u009b \u0085".encode(), "c1 "),
        (b"\xff\xfe \xe2\x82", "\ufffd\ufffd \ufffd"),
        (b"cut \x1b[31", "cut "),
        (b"cut \x1b]0;ti\nnext", "cut \nnext"),
        (b"lone \x1b", "lone "),
        (b"\x1b\x1b[31mx", "x"),
    ],
)
def test_text_is_as_a_terminal_shows_it(raw, shown):
    """Issue 7: stdout and stderr as a terminal shows them with escape sequences cleaned."""
    assert cleaned(raw) == shown


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.text(max_size=5).map(str.encode),
        st.sampled_from(
            [
                b"\r",
                b"\b",
                b"\n",
                b"\t",
                b"\x1b",
                b"\x1b[",
                b"\x1b[K",
                b"\x1b[2K",
                b"\x1b[9999C",
                b"\x1b[3D",
                b"\x1b[7G",
                b"\x1b[3P",
                b"\x1b[2@",
                b"\x1b[4X",
                b"\x1b[1K",
                b"\x1b[9b",
                b"\x1b[2;5H",
                b"\x1b[A",
                b"\x1b7",
                b"\x1b8",
            ]
        ),
        st.sampled_from(
            [b"\x1b]0;", b"\x07", b"\x1b\\", b"\x1b(", "日".encode(), "\u0301".encode(), b"\xe6", b"\x9b"]
        ),
    ),
    max_size=30,
).map(b"".join)


@given(raw=PIECES)
@example(raw="日\u0301\r\u0301".encode())
def test_it_never_fails_and_leaves_no_control_characters(raw):
    """Issue 7: binary junk … bounded and reported."""
    shown = cleaned(raw)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert cleaned(shown.encode()) == shown


@given(first=PIECES, second=PIECES)
def test_lines_do_not_depend_on_each_other(first, second):
    assert cleaned(first + b"\n" + second) == cleaned(first + b"\n") + cleaned(second)


@pytest.mark.parametrize(
    "piece",
    [
        b"\r",
        b"\b",
        b"\x1b",
        b"\x1b[",
        b"\x1b]",
        b"x\r",
        b"x\b",
        b"\x1b[9999Cx\x1b[2K",
        b"\x1b[0",
        b"\x1b[P",
        b"\r\x1b[@",
        b"\x1b[1K",
        b"\x1b[9999X\r",
        b"x\x1b[A",
        "\u0301".encode(),
    ],
)
def test_megabytes_of_one_control_take_no_longer_than_they_should(piece):
    """Issue 7: 1 GB of output … bounded. Quadratic work would not end within the limit of a test."""
    assert len(cleaned(b"x" * 100_000 + piece * (500_000 // len(piece)))) < 1_000_000
