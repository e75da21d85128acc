"""Erlang terms as bytes, after the published External Term Format: the other side of what the decoder reads.

A term has many forms. `encode` takes the one that Erlang would, or lets `choose` pick among all.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

from hypothesis import strategies as st

from eai_mcp.formats.erlang import Atom, Map, Term

Choose: TypeAlias = Callable[[Sequence[bytes]], bytes]


def usual(forms: Sequence[bytes]) -> bytes:
    """The form that Erlang takes."""
    return forms[0]


def encode(term: Term, choose: Choose = usual) -> bytes:
    """A whole file."""
    return b"\x83" + body(term, choose)


def compress(whole: bytes, level: int = 6) -> bytes:
    """The same file with its term compressed."""
    return b"\x83P" + u32(len(whole) - 1) + zlib.compress(whole[1:], level)


def body(term: Term, choose: Choose = usual) -> bytes:
    """A term within another."""
    match term:
        case Atom():
            return choose(_atoms(term))
        case bytes():
            return b"m" + u32(len(term)) + term
        case float():
            return choose([b"F" + struct.pack(">d", term), b"c" + (b"%.20e" % term).ljust(31, b"\0")])
        case int():
            return choose(_integers(term))
        case tuple():
            parts = _bodies(term, choose)
            small = [b"h" + bytes([len(term)]) + parts] if len(term) < 256 else []
            return choose([*small, b"i" + u32(len(term)) + parts])
        case list():
            return choose(_lists(term, choose))
        case Map():
            pairs = b"".join(body(key, choose) + body(value, choose) for key, value in term.pairs)
            return b"t" + u32(len(term.pairs)) + pairs


def u16(number: int) -> bytes:
    """Two bytes."""
    return struct.pack(">H", number)


def u32(number: int) -> bytes:
    """Four bytes."""
    return struct.pack(">I", number)


def record(**fields: Term) -> Map:
    """A map whose keys are atoms."""
    return Map(tuple((Atom(name), value) for name, value in fields.items()))


def keywords(**fields: Term) -> list[Term]:
    """A keyword list."""
    return [(Atom(name), value) for name, value in fields.items()]


def message(role: str, *blocks: Term) -> Map:
    """A message of Eai's."""
    return record(role=Atom(role), content=[*blocks])


def block(kind: str, payload: Term) -> tuple[Term, ...]:
    """A block of one."""
    return (Atom(kind), payload)


def _bodies(terms: Sequence[Term], choose: Choose) -> bytes:
    return b"".join(body(term, choose) for term in terms)


def _atoms(name: str) -> list[bytes]:
    written = name.encode()
    forms = [b"v" + u16(len(written)) + written]
    if len(written) < 256:
        forms.insert(0, b"w" + bytes([len(written)]) + written)
    if all(ord(sign) < 256 for sign in name):
        latin = name.encode("latin-1")
        forms += [b"d" + u16(len(latin)) + latin, b"s" + bytes([len(latin)]) + latin]
    return forms


def _integers(number: int) -> list[bytes]:
    forms = []
    if 0 <= number < 256:
        forms.append(b"a" + bytes([number]))
    if -(2**31) <= number < 2**31:
        forms.append(b"b" + struct.pack(">i", number))
    size = (abs(number).bit_length() + 7) // 8
    for padded in {size, min(size + 3, 64)}:
        magnitude = abs(number).to_bytes(padded, "little")
        forms.append(b"n" + bytes([padded, number < 0]) + magnitude)
    return forms


def _lists(terms: list[Term], choose: Choose) -> list[bytes]:
    if not terms:
        return [b"j", b"k" + u16(0), b"l" + u32(0) + b"j"]
    parts = [body(term, choose) for term in terms]
    forms = [b"l" + u32(len(parts)) + b"".join(parts) + b"j"]
    if len(terms) < 2**16 and all(type(term) is int and 0 <= term < 256 for term in terms):
        forms.insert(0, b"k" + u16(len(terms)) + bytes(term for term in terms if isinstance(term, int)))
    # A proper list may have another list for its tail.
    half = len(parts) // 2
    tail = b"l" + u32(len(parts) - half) + b"".join(parts[half:]) + b"j"
    return [*forms, b"l" + u32(half) + b"".join(parts[:half]) + tail]


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
atoms = st.builds(Atom, names)
integers = (
    st.integers(-300, 300)
    | st.integers(-(2**33), 2**33)
    | st.integers(-(2 ** (8 * 64) - 1), 2 ** (8 * 64) - 1)
)
scalars = integers | atoms | st.binary(max_size=20) | st.floats(allow_nan=False, allow_infinity=False)
byte_lists: st.SearchStrategy[list[Term]] = st.lists(st.integers(0, 255), max_size=6)


def _within(inner: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    lists = st.lists(inner, max_size=4)
    pairs = st.lists(st.tuples(inner, inner), max_size=3).map(tuple)
    return lists | lists.map(tuple) | st.builds(Map, pairs) | byte_lists


terms: st.SearchStrategy[Term] = st.recursive(scalars, _within, max_leaves=12)


@st.composite
def encoded(draw: st.DrawFn, inner: st.SearchStrategy[Term] = terms) -> tuple[Term, bytes]:
    """A term, and a file of it in any of its forms, compressed or not."""
    term = draw(inner)
    whole = encode(term, lambda forms: draw(st.sampled_from(forms)))
    return term, compress(whole, draw(st.integers(0, 9))) if draw(st.booleans()) else whole


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """The bytes in pieces of any sizes, empty ones too."""
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
