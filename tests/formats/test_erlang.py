import contextlib
import tracemalloc
import zlib
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Limits
from eai_mcp.formats.erlang import Atom, Map, Term, Terms, Value
from tests.formats.terms import body, compress, cut, encode, encoded, record, terms, u16, u32

LIVE = {
    "PID": b"g" + body(Atom("n@h")) + bytes(9),
    "NEW_PID": b"X" + body(Atom("n@h")) + bytes(12),
    "PORT": b"f" + body(Atom("n@h")) + bytes(5),
    "NEW_PORT": b"Y" + body(Atom("n@h")) + bytes(8),
    "V4_PORT": b"x" + body(Atom("n@h")) + bytes(12),
    "REFERENCE": b"e" + body(Atom("n@h")) + bytes(5),
    "NEW_REFERENCE": b"r" + u16(3) + body(Atom("n@h")) + bytes(1 + 12),
    "NEWER_REFERENCE": b"Z" + u16(3) + body(Atom("n@h")) + bytes(4 + 12),
    "EXPORT": b"q" + body(Atom("lists")) + body(Atom("map")) + body(2),
    "NEW_FUN": b"p" + u32(4 + 30) + bytes(30),
    "FUN": b"u" + u32(2) + b"g" + body(Atom("n@h")) + bytes(9) + body(Atom("m")) + body(1) + body(2) + b"jj",
    "BIT_BINARY": b"M" + u32(2) + b"\x05ab",
    "LARGE_BIG": b"o" + u32(300) + b"\0" + bytes(300),
}
UNKNOWN = {"LOCAL": b"y" + bytes(8) + b"j", "ATOM_CACHE_REF": b"R\0", "which does not exist": b"\x07"}
DAMAGED = {
    "is cut off at byte 0": b"",
    "begins with the byte 31, not with 131": b"\x1f\x8b",
    "cut off at byte 1": b"\x83",
    "more than 64": b"\x83l" + u32(1) + b"n\x41\0" + bytes(65) + b"j",
    "the float at byte 7 is not finite": b"\x83l" + u32(1) + b"F\x7f\xf0" + bytes(6) + b"j",
    "is not finite": b"\x83l" + u32(1) + b"c" + b"9.0e999".ljust(31, b"\0") + b"j",
    "is none": b"\x83l" + u32(1) + b"c" + b"nan".ljust(31, b"\0") + b"j",
    "is not UTF-8": b"\x83l" + u32(1) + b"w\x01\xff" + b"j",
    "at byte 7 has more than 255 char": b"\x83l" + u32(1) + b"v" + u16(256) + b"a" * 256 + b"j",
    "has more than 255 characters": b"\x83l" + u32(1) + b"d" + u16(60_000) + b"a" * 60_000 + b"j",
    "at byte 1 ends in what is no list": b"\x83l" + u32(1) + b"a\x01" + body(Atom("tail")),
    "at byte 6 ends in what is no list": b"\x83l" + u32(1) + b"l" + u32(1) + b"jm" + u32(0) + b"j",
    "something follows": encode([]) + b"\0",
    "is no list, but tag 109 \\(BINARY\\)": encode(b"x"),
    "is no list, but tag 7, which does not exist": b"\x83\x07",
}
PACKED = compress(encode([b"x" * 500, 1]))
DECLARED = int.from_bytes(PACKED[2:6])


LIMITS = Limits()


def read(whole: bytes, limits: Limits = LIMITS) -> list[Term]:
    """The elements of the list in some bytes."""
    return list(Terms(iter([whole]), limits).elements())


def wanted(value: Value) -> object:
    """Whatever a value holds, taken as its kind allows."""
    match value.kind:
        case "list":
            return list(value.elements())
        case "map":
            return [(key, wanted(inner)) for key, inner in value.pairs()]
        case "binary":
            return b"".join(value.pieces())
        case _:
            return value.term()


@given(st.data())
def test_a_term_comes_back_whatever_its_form_and_wherever_it_is_cut(data):
    """Issue 5: Erlang-term samples: write an independent encoder for the tests from the published format."""
    term, whole = data.draw(encoded(terms.map(lambda inner: [inner])))
    pieces = data.draw(cut(whole))

    # By what they say of themselves: 1 and 1.0 are equal, and so are an atom and a string.
    assert repr([*Terms(iter(pieces), Limits()).elements()]) == repr(term)


@given(encoded(st.lists(terms, max_size=4)))
def test_a_list_is_told_an_element_at_a_time(sample):
    term, whole = sample
    opened = Terms(iter([whole]), Limits())

    assert opened.kind == "list"
    assert repr([*opened.elements()]) == repr(term)


@given(encoded(st.builds(Map, st.lists(st.tuples(terms, terms), max_size=4).map(tuple))), st.data())
def test_a_map_is_told_a_pair_at_a_time_and_what_nobody_wants_is_passed_over(sample, data):
    term, whole = sample
    opened = Terms(iter([whole]), Limits())

    assert opened.kind == "map"
    for (key, value), (known, whole_value) in zip(opened.pairs(), term.pairs, strict=True):
        assert repr(key) == repr(known)
        if data.draw(st.booleans()):
            assert repr(value.term()) == repr(whole_value)


def test_the_parts_of_a_value_are_told_one_by_one():
    inner = Map(((b"name", b"bytes" * 9), ([1, 2], 3), ((), [b"a", b"b"]), (1.5, [7, 8])))
    opened = Terms(iter([encode(record(first=inner, second=Atom("x")))]), Limits())

    assert [(key, wanted(value)) for key, value in opened.pairs()] == [
        ("first", list(inner.pairs)),
        ("second", "x"),
    ]


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_what_is_begun_and_left_is_passed_over_too(taken):
    blob, inner = b"0123456789", Map(((1, b"a"), (2, b"b"), (3, b"c")))
    whole = encode(Map(((b"blob", blob), (b"map", inner), (b"list", [1, b"2", 3]), (b"end", 9))))
    seen = []
    for key, value in Terms((whole[i : i + 3] for i in range(0, len(whole), 3)), Limits()).pairs():
        if key == b"end":
            seen.append(value.term())
            continue
        parts = {"binary": value.pieces, "map": value.pairs, "list": value.elements}[value.kind]()
        seen += [key for key, _ in zip(range(taken), parts, strict=False)]

    assert seen == [*range(taken)] * 3 + [9]


def test_a_binary_is_passed_over_though_its_reader_was_closed():
    whole = encode(Map(((1, b"0123456789"), (2, 9))))
    seen: list[Term] = []
    for _, value in Terms(iter([whole[:14], whole[14:]]), Limits()).pairs():
        if value.kind == "binary":
            pieces = (piece for piece in value.pieces())
            seen.append(next(pieces))
            pieces.close()
        else:
            seen.append(value.term())

    assert seen == [b"0", 9]


@pytest.mark.parametrize("kind", [*LIVE, *UNKNOWN])
def test_what_is_no_data_is_refused_by_its_name(kind):
    """Issue 5: whitelisted tags, atoms as strings, no `binary_to_term` semantics."""
    whole = b"\x83l" + u32(1) + {**LIVE, **UNKNOWN}[kind] + b"j"

    with pytest.raises(ImportInvalid, match=rf"what is not data at byte 6: tag \d+.*{kind}"):
        read(whole)


@pytest.mark.parametrize("kind", LIVE)
def test_what_is_no_data_can_be_passed_over(kind):
    cache = body([b"x", (1, 2.0), Map(((1, Atom("a")),)), [1, 2], 2**80, -1, Atom("ü")])
    whole = b"\x83t" + u32(2) + b"a\x01l" + u32(2) + LIVE[kind] + cache + b"j" + b"a\x02a\x09"

    assert [value.term() for key, value in Terms(iter([whole]), Limits()).pairs() if key == 2] == [9]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_has_no_known_length_cannot_be_passed_over(kind):
    whole = b"\x83t" + u32(1) + b"a\x01" + UNKNOWN[kind]

    with pytest.raises(ImportInvalid, match=rf"at byte 8 cannot be passed over: tag \d+.*{kind}"):
        list(Terms(iter([whole]), Limits()).pairs())


def test_only_an_atom_names_a_node():
    whole = b"\x83t" + u32(1) + b"a\x01g" + body(b"n@h") + bytes(9)

    with pytest.raises(ImportInvalid, match="needs an atom at byte 9, and has tag 109"):
        list(Terms(iter([whole]), Limits()).pairs())


@pytest.mark.parametrize("message", DAMAGED)
def test_what_is_damaged_is_refused_with_its_place(message):
    with pytest.raises(ImportInvalid, match=message):
        read(DAMAGED[message])


@pytest.mark.parametrize(
    ("message", "whole"),
    [
        ("is cut off, 1 bytes before", b"\x83P" + u32(DECLARED + 1) + PACKED[6:]),
        ("holds more than the 8 bytes", b"\x83P" + u32(8) + PACKED[6:]),
        ("is cut off", PACKED[:-1]),
        ("something follows the compressed", PACKED + b"\0"),
        ("is damaged: .*incorrect data check", PACKED[:-1] + bytes([PACKED[-1] ^ 1])),
        ("is damaged", PACKED[:6] + b"\0\0" + PACKED[8:]),
        ("at byte 0 is no list, but tag 80", compress(PACKED)),
    ],
)
def test_a_compressed_term_is_exactly_what_it_declares(message, whole):
    """Issue 5: compressed terms and list-of-bytes strings too."""
    with pytest.raises(ImportInvalid, match=message):
        read(whole)


def test_the_end_of_the_pieces_is_asked_for():
    """Whoever unpacks a file finds out at its end whether it is whole."""

    def pieces() -> Iterator[bytes]:
        yield encode([1])
        raise ImportInvalid("the checksum is wrong")

    with pytest.raises(ImportInvalid, match="the checksum is wrong"):
        list(Terms(pieces(), Limits()).elements())


@pytest.mark.parametrize(
    "whole",
    [
        b"\x83l" + u32(2**32 - 1) + b"j",
        b"\x83l" + u32(1) + b"m" + u32(2**32 - 1) + b"tiny",
        b"\x83l" + u32(1) + b"l" + u32(2**32 - 1) + b"j",
        b"\x83l" + u32(1) + b"i" + u32(2**26) + b"j",
        b"\x83l" + u32(1) + b"t" + u32(2**25) + b"j",
        b"\x83P" + u32(2**32 - 1) + zlib.compress(b"j"),
    ],
)
def test_a_length_that_cannot_be_is_refused_before_anything_is_taken_for_it(whole):
    tracemalloc.start()
    with pytest.raises(LimitExceeded):
        read(whole)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 2**20


def test_a_length_within_the_limits_takes_no_more_than_there_is():
    whole = b"\x83l" + u32(1) + b"m" + u32(60 * 2**20) + b"tiny"
    tracemalloc.start()
    with pytest.raises(ImportInvalid, match="cut off at byte 15"):
        read(whole)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 2**20


def test_a_compressed_bomb_is_refused_in_bounded_memory():
    """Issue 5: streaming decompression, a bomb is refused in bounded memory."""
    large = compress(encode([b"\0" * 2**20] * 64), 9)
    declared_less = b"\x83P" + u32(32 * 2**20) + large[6:]
    limits = Limits(unpacked=48 * 2**20)

    tracemalloc.start()
    with pytest.raises(LimitExceeded):
        read(large, limits)
    with pytest.raises(ImportInvalid, match="holds more than the 33554432 bytes"):
        deque(Terms(iter([declared_less]), limits).elements(), maxlen=0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 8 * 2**20


@pytest.mark.parametrize(
    ("limits", "term"),
    [
        (Limits(unpacked=100), [b"x" * 60, b"y" * 60]),
        (Limits(element=64), [b"x" * 60]),
        (Limits(element=64), [[1.5] * 9]),
        (Limits(values=9), [[1] * 9]),
        (Limits(values=9), [[2**40] * 9]),
        (Limits(values=9), [((1, 2, 3),) * 3]),
        (Limits(values=9), [Map(((1, 1),) * 5)]),
        (Limits(depth=2), [[[[b"x"]]]]),
        (Limits(depth=2), [((((), ()),),)]),
    ],
)
def test_an_element_is_held_to_its_limits(limits, term):
    with pytest.raises(LimitExceeded) as refused:
        read(encode(term), limits)
    assert refused.value.details["limit"] is not None
    assert read(encode(term)) == term


def test_limits_hold_for_each_element_not_for_all_of_them():
    term: list[Term] = [[b"x"] * 5] * 100

    assert read(encode(term), Limits(values=7, element=64, depth=1)) == term


def test_any_depth_that_is_allowed_can_be_read():
    deep: list[Term] = []
    for _ in range(50_000):
        deep = [deep]
    whole = b"\x83l" + u32(1) + (b"l" + u32(1)) * 50_000 + b"j" * 50_002
    (element,) = read(whole, Limits(depth=50_001))

    depth = 0
    while isinstance(element, list) and element:
        (element,) = element
        depth += 1
    assert depth == 50_000


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(noise):
    """Issue 5: no input makes the importer raise outside the error tree."""
    for whole in (noise, b"\x83" + noise, b"\x83l\0\0\0\2" + noise, b"\x83t\0\0\0\2" + noise):
        _attempt([whole])


@given(st.data())
def test_a_term_with_wrong_bytes_is_read_or_refused(data):
    """Issue 5: no input makes the importer raise outside the error tree."""
    _, whole = data.draw(encoded(terms.map(lambda inner: [inner, Map(((1, inner),))])))
    damaged = bytearray(whole)
    for place in data.draw(st.lists(st.integers(1, len(whole) - 1), min_size=1, max_size=3)):
        damaged[place] = data.draw(st.integers(0, 255))
    _attempt(data.draw(cut(bytes(damaged[: data.draw(st.integers(1, len(whole)))]))))


def _attempt(pieces: list[bytes]) -> None:
    for take in (
        lambda opened: list(opened.elements()),
        lambda opened: list(opened.pairs()),
        lambda opened: [wanted(value) for _, value in opened.pairs()],
    ):
        with contextlib.suppress(ImportInvalid, LimitExceeded):
            take(Terms(iter(pieces), Limits(element=2**20)))
