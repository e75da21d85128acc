"""What kind of file some bytes are, and how large a picture is."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.chat.toolbox import pictures
from tests.chat.toolbox.painted import gif, jpeg, png, webp_lossless, webp_lossy, webp_wide

SIDES = st.integers(1, 2**14)
MAKERS = {
    "image/png": png,
    "image/gif": gif,
    "image/jpeg": jpeg,
    "image/webp": webp_wide,
}


@given(SIDES, SIDES)
def test_the_size_stands_in_the_header(width, height):
    for kind, make in MAKERS.items():
        assert (pictures.kind(make(width, height)), pictures.size(make(width, height))) == (
            kind,
            (width, height),
        )
    assert pictures.size(webp_lossless(width, height)) == (width, height)
    low = (width & 0x3FFF or 1, height & 0x3FFF or 1)
    assert pictures.size(webp_lossy(*low)) == low


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"RIFF....WEBPVP8 ", b"%PDF-"]),
    st.binary(),
)
def test_anything_may_follow_the_first_bytes(magic, rest):
    found = pictures.size(magic + rest)
    assert found is None or min(found) > 0


def test_a_picture_whose_end_is_missing_has_no_size():
    for make in (*MAKERS.values(), webp_lossy, webp_lossless):
        assert all(pictures.size(make(3, 4)[:end]) in (None, (3, 4)) for end in range(40))


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", b"RIFF....WAVE", b"PK\3\4"])
def test_other_files_are_of_no_kind(data):
    assert (pictures.kind(data), pictures.size(data)) == (None, None)


def test_a_jpeg_may_have_other_parts_before_its_size_but_not_without_end():
    other = b"\xff\xe1" + struct.pack(">H", 6) + b"\xff\xc0\0\0" + b"\xff\xff\xff\x01"
    assert pictures.size(jpeg(5, 6, before=other)) == (5, 6)
    assert pictures.size(jpeg(5, 6, before=b"\xff" * 5_000_000)) is None
    assert pictures.size(png(0, 6)) is None
