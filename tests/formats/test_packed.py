"""Packing and unpacking: bytes that can be reproduced, and files that want to do harm."""

import gzip
import tracemalloc
import zlib
from contextlib import contextmanager
from itertools import pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import MIB, Limits
from eai_mcp.formats.packed import MEMBERS, PIECE, Packer, unpacked

ROOMY = Limits()
TEXT = b"".join(b"%d: a line that is much like the one before\n" % number for number in range(20_000))
cuts = st.lists(st.integers(0, 300_000), max_size=12)


def packed(data, *, at=()):
    packer = Packer()
    places = [0, *sorted(at), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places)]
    return b"".join([*map(packer.add, pieces), packer.close()])


def whole(data, *, limits=ROOMY, size=None):
    """What comes out of `data`, cut into pieces of `size` bytes."""
    size = size or max(len(data), 1)
    pieces = list(unpacked((data[at : at + size] for at in range(0, len(data), size)), limits))
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


@contextmanager
def memory():
    """Tells how much was in use at once; what zlib takes counts too."""
    peaks: list[int] = []
    tracemalloc.start()
    try:
        yield lambda: peaks[0]
    finally:
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def bomb():
    """1 GiB of zeros as about 1 MB of valid gzip, made a piece at a time."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros, total = bytes(MIB), 0
    deflate.compress(zeros)
    deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(zeros) + deflate.flush(zlib.Z_FULL_FLUSH)
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    for _ in range(1024):
        total = zlib.crc32(zeros, total)
        yield block
    yield deflate.flush() + total.to_bytes(4, "little") + (1024 * MIB).to_bytes(4, "little")


@given(data=st.binary(max_size=2000), times=st.integers(1, 200), at=cuts)
def test_the_same_content_packs_to_the_same_bytes_however_it_is_cut(data, times, at):
    """Issue 5: **Our format**: gzip of versioned JSON, reproducible bytes (same history, same bytes)"""
    content = data * times
    once = packed(content)

    assert packed(content, at=[place for place in at if place < len(content)]) == once
    assert gzip.decompress(once) == content


@pytest.mark.parametrize("size", [1, 1000, 65_535, 65_536, 65_537])
def test_a_long_content_packs_to_the_same_bytes_too(size):
    assert packed(TEXT, at=range(size, len(TEXT), size)) == packed(TEXT)


def test_packed_bytes_name_no_time_no_file_and_no_system():
    assert packed(b"")[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    assert gzip.decompress(packed(b"")) == b""
    assert len(packed(TEXT)) < len(TEXT) / 5


@given(data=st.binary(max_size=3000), times=st.integers(1, 300), size=st.integers(1, 5000))
def test_whatever_is_packed_comes_out_in_pieces_of_any_size(data, times, size):
    content = data * times
    size = max(size, len(content) // 500)

    assert whole(packed(content), size=size) == content
    if not content.startswith(b"\x1f\x8b"):
        assert whole(content, size=size) == content


@pytest.mark.parametrize("data", [b"", b"\x1f", b"{", b"\x1f\x8c more", b"\0\0\0", TEXT])
def test_what_is_not_gzip_passes_through(data):
    assert whole(data) == data
    assert whole(data, size=1000) == data


@pytest.mark.parametrize("size", [1, 7, 16 * 1024, None])
def test_files_behind_one_another_and_zeros_between_and_behind_are_gzip_too(size):
    data = packed(b"one ") + gzip.compress(b"two ") + bytes(600) + packed(b"") + packed(b"three") + bytes(513)

    assert whole(data, size=size) == b"one two three"


def test_the_length_of_a_name_in_the_gzip_does_not_matter():
    named = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * 100_000 + b"\0" + packed(TEXT)[10:]

    assert whole(named, size=999) == TEXT


@pytest.mark.parametrize("size", [1, 1000, None])
def test_what_is_cut_off_is_called_damaged_with_how_long_it_is(size):
    data = packed(TEXT[:100])
    for length in range(2, len(data)):
        with pytest.raises(ImportInvalid, match=f"the file is damaged: it ends after {length} bytes"):
            whole(data[:length], size=size)


@pytest.mark.parametrize("size", [1, None])
def test_what_follows_the_gzip_is_refused_with_where_it_begins(size):
    data = packed(b"content")
    with pytest.raises(ImportInvalid, match=f"at byte {len(data) + 3} the gzip is over and something else"):
        whole(data + b"\0\0\0{}", size=size)
    with pytest.raises(ImportInvalid, match=f"incorrect header check after byte {len(data)}"):
        whole(data + b"\x1f{}")


def test_a_wrong_checksum_is_told():
    data = bytearray(packed(TEXT))
    data[-8] ^= 1
    with pytest.raises(ImportInvalid, match="the file is damaged: incorrect data check after byte"):
        whole(bytes(data))


@given(data=st.binary(max_size=400), at=st.integers(0, 3000), size=st.integers(1, 5000))
def test_no_damage_leads_to_anything_but_a_refusal_or_the_content(data, at, size):
    good = packed(TEXT[:20_000])
    at = 2 + at % (len(good) - 2)
    bad = good[:at] + data + good[at + len(data) :]
    try:
        seen = whole(bad, size=size)
    except ImportInvalid as error:
        seen = error.message.encode()
    assert seen.startswith(b"the file is damaged: ") or seen == TEXT[:20_000]


def test_exactly_the_limits_are_allowed_and_one_byte_more_is_not():
    data = packed(TEXT)
    limits = Limits(packed=len(data), unpacked=len(TEXT))
    assert whole(data, limits=limits) == TEXT

    with pytest.raises(LimitExceeded, match="the file is larger than") as failed:
        whole(data, limits=Limits(packed=len(data) - 1))
    assert failed.value.details == {"limit": len(data) - 1, "actual": len(data)}
    with pytest.raises(LimitExceeded, match="what is in the file is larger than") as failed:
        whole(data, limits=Limits(unpacked=len(TEXT) - 1))
    assert failed.value.details == {"limit": len(TEXT) - 1, "actual": len(TEXT)}
    with pytest.raises(LimitExceeded):
        whole(TEXT, limits=Limits(unpacked=len(TEXT) - 1))


@pytest.mark.parametrize("piece", [b"x" * 1000, packed(b"x" * 1000), bytes(1000)])
def test_a_file_without_an_end_is_refused_as_soon_as_it_is_too_large(piece):
    with pytest.raises(LimitExceeded, match="the file is larger than 1000000 bytes"):
        sum(map(len, unpacked(repeat(piece), Limits(packed=1_000_000))))


def test_a_bomb_is_refused_in_bounded_memory():
    """Issue 5: limits on compressed and decompressed size and on nesting, streaming decompression, a bomb is
    refused in bounded memory."""
    content = unpacked(bomb(), Limits(unpacked=256 * MIB))
    seen: list[int] = []
    with memory() as peak, pytest.raises(LimitExceeded) as failed:
        seen.extend(map(len, content))

    assert failed.value.details["limit"] == 256 * MIB
    assert 256 * MIB - PIECE < sum(seen) <= 256 * MIB
    assert peak() < 4 * MIB


def test_the_bomb_is_the_real_thing():
    """1 GiB comes out of 1 MB, which is what the default limits just allow, and memory stays small."""
    size = sum(map(len, bomb()))
    with memory() as peak:
        seen = sum(map(len, unpacked(bomb(), ROOMY)))

    assert seen == 1024 * MIB
    assert size < 1.1 * MIB
    assert peak() < 4 * MIB


def test_one_huge_piece_is_unpacked_as_lightly_as_small_ones():
    data = b"".join(bomb())
    with memory() as peak, pytest.raises(LimitExceeded):
        sum(map(len, unpacked(iter([data]), Limits(unpacked=64 * MIB))))

    assert peak() < 4 * MIB


def test_a_great_many_empty_gzip_files_are_refused():
    tiny = gzip.compress(b"", mtime=0) * 1000
    with pytest.raises(LimitExceeded, match="consists of more than 100000 gzip files") as failed:
        whole(tiny * (MEMBERS // 1000 + 1))
    assert failed.value.details == {"limit": MEMBERS, "actual": MEMBERS + 1}
