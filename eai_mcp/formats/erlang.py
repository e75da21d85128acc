"""Erlang terms in the External Term Format, read from pieces of bytes without ever holding the whole.

Only data is read: numbers, atoms, binaries, lists, tuples, maps. What is alive on an Erlang node (processes,
references, functions, ports) can be passed over, but not read. An atom is a string, and nothing else.

| in Erlang        | here   |                                                          |
|------------------|--------|----------------------------------------------------------|
| integer          | int    | of at most 64 bytes                                      |
| float            | float  | finite                                                   |
| atom             | `Atom` | `true`, `nil` and `undefined` as well                    |
| binary           | bytes  |                                                          |
| list             | list   | a string of the format is a list of ints, as to Erlang   |
| tuple            | tuple  |                                                          |
| map              | `Map`  |                                                          |

Lengths and counts are checked before anything is taken for them. Places in messages count the bytes of the
term once it is unpacked. Source: "External Term Format" of the Erlang Run-Time System's user's guide.
"""

import functools
import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, Union

from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Limits
from eai_mcp.formats.erlang_bytes import PARTS, Bytes, Tag, named, opened, skip

LONGEST_INT = 64
"""Bytes of a big integer."""
LONGEST_ATOM = 255
"""Characters."""

Kind: TypeAlias = Literal["list", "map", "binary", "other"]
_Part = TypeVar("_Part")


class Atom(str):
    """The name of an atom."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Map:
    """The pairs of a map as they stand in the file; where a key comes twice, the last one is meant.

    No dict: a key may be any term, and whoever chooses numbers for keys can make a dict very slow.
    """

    pairs: tuple[tuple["Term", "Term"], ...]


# A string in quotes cannot be part of a `|` at run time.
Term: TypeAlias = Union[int, float, bytes, Atom, Map, "tuple[Term, ...]", "list[Term]"]


class Terms:
    """The one term in a stream, an element or a pair at a time; `kind` tells which of them it has."""

    def __init__(self, pieces: Iterator[bytes], limits: Limits) -> None:
        """Read as far as the term's first byte.

        Raises:
            ImportInvalid: It is no Erlang term.
            LimitExceeded: It says that it is too large.
        """
        self._bytes = opened(pieces, limits)
        self._top = Value(self._bytes, limits)
        self.kind: Kind = self._top.kind

    def elements(self) -> Iterator[Term]:
        """The elements of a list.

        Raises:
            ImportInvalid: It is no list, is damaged, or holds what is not data.
            LimitExceeded: An element, or the whole, is too large.
        """
        yield from self._top.elements()
        self._bytes.close()

    @property
    def length(self) -> int:
        """The bytes that were read so far, unpacked."""
        return self._bytes.offset

    @property
    def size(self) -> int:
        """How much of what one may have the last element takes: see `Limits.size`."""
        return self._top.size

    def pairs(self) -> Iterator[tuple[Term, "Value"]]:
        """The keys of a map with their values, which are skipped unless they are read before the next pair.

        Raises:
            ImportInvalid: It is no map, is damaged, or holds what is not data.
            LimitExceeded: A key, a value that is read, or the whole, is too large.
        """
        yield from self._top.pairs()
        self._bytes.close()


class Value:
    """A value that the stream stands before. It can be read once, in one of four ways."""

    def __init__(self, source: Bytes, limits: Limits) -> None:
        self._bytes = source
        self._limits = limits
        self._begun = False
        self._end = 0
        self._rest: Iterator[object] = iter(())
        self.size = 0
        """That of the last element: see `Limits.size`."""
        self.kind: Kind = _KINDS.get(source.peek(), "other")

    def term(self) -> Term:
        """The value, built whole: one element in the meaning of the limits."""
        self._begun = True
        return _Builder(self._bytes, self._limits).term()

    def elements(self) -> Iterator[Term]:
        """The elements of a list, one at a time."""
        self._begin("list")
        return self._resting(self._elements())

    def pairs(self) -> Iterator[tuple[Term, "Value"]]:
        """The keys of a map with their values, one at a time; see `Terms.pairs`."""
        self._begin("map")
        return self._resting(self._pairs())

    def pieces(self) -> Iterator[bytes]:
        """The bytes of a binary."""
        self._begin("binary")
        self._bytes.byte()
        size = self._bytes.size(4)
        self._end = self._bytes.offset + size
        return self._bytes.stream(size)

    def leave(self) -> None:
        """Pass over what was not read of it."""
        if not self._begun:
            self._begun = True
            skip(self._bytes)
        # Not by the iterator that was handed out: whoever unpacks a binary may have closed it.
        self._bytes.skip(max(0, self._end - self._bytes.offset))
        for _ in self._rest:
            pass

    def _begin(self, kind: Kind) -> None:
        if self.kind != kind:
            at, tag = self._bytes.offset, self._bytes.peek()
            raise ImportInvalid(f"the Erlang term at byte {at} is no {kind}, but {named(tag)}")
        self._begun = True

    def _resting(self, rest: Iterator[_Part]) -> Iterator[_Part]:
        self._rest = rest
        return rest

    def _elements(self) -> Iterator[Term]:
        source = self._bytes
        at = source.offset
        while (tag := source.byte()) == Tag.LIST:
            for _ in range(source.size(4)):
                builder, begin = _Builder(source, self._limits), source.offset
                element = builder.term()
                self.size = self._limits.size(source.offset - begin, values=builder.values)
                yield element
        self.size = self._limits.size(1, values=1)
        if tag == Tag.STRING:
            yield from source.take(source.size(2))
        elif tag != Tag.NIL:
            raise _improper(at)

    def _pairs(self) -> Iterator[tuple[Term, "Value"]]:
        self._bytes.byte()
        for _ in range(self._bytes.size(4)):
            key = _Builder(self._bytes, self._limits).term()
            value = Value(self._bytes, self._limits)
            yield key, value
            value.leave()


class _Builder:
    """Builds one term within the limits of an element. What is open waits in a list: depth costs no stack."""

    def __init__(self, source: Bytes, limits: Limits) -> None:
        self._bytes = source
        self._limits = limits
        self._values = limits.values
        self._open: list[_Open] = []

    @property
    def values(self) -> int:
        """How many were built."""
        return self._limits.values - self._values

    def term(self) -> Term:
        until = self._bytes.until
        self._bytes.until = min(until, self._bytes.offset + self._limits.element)
        term = self._next()
        while term is None or self._open:
            term = self._next() if term is None else self._added(term)
        self._bytes.until = until
        return term

    def _next(self) -> Term | None:
        """The next term, None if it is one that has parts, which is open now."""
        source = self._bytes
        at = source.offset
        if at >= source.until:
            raise source.too_long(1)
        self._values -= 1
        if self._values < 0:
            raise self._too_many()
        tag = source.byte()
        if tag in PARTS:
            return self._opened(tag)
        if tag == Tag.STRING:
            size = source.size(2)
            if size > self._values:
                raise self._too_many()
            self._values -= size
            return list(source.take(size))
        read = _READ.get(tag)
        if read is None:
            raise ImportInvalid(f"the Erlang term holds what is not data at byte {at}: {named(tag)}")
        return read(source)

    def _opened(self, tag: int) -> Term | None:
        width, each, more = PARTS[tag]
        at = self._bytes.offset - 1
        parts = self._bytes.size(width) * each + more
        if parts > self._values:
            raise self._too_many()
        if len(self._open) >= self._limits.depth:
            depth = self._limits.depth
            raise LimitExceeded(
                f"the Erlang term is nested deeper than {depth} levels at byte {at}", limit=depth
            )
        opened = _Open(tag, at, parts, [])
        if not parts:
            return opened.closed()
        self._open.append(opened)
        return None

    def _added(self, term: Term) -> Term | None:
        """The innermost open term if it is whole with this part, else None."""
        innermost = self._open[-1]
        innermost.terms.append(term)
        if len(innermost.terms) < innermost.parts:
            return None
        return self._open.pop().closed()

    def _too_many(self) -> LimitExceeded:
        most = self._limits.values
        return LimitExceeded(
            f"an element of the Erlang term has more than {most} values at byte {self._bytes.offset}",
            limit=most,
        )


@dataclass(frozen=True, slots=True)
class _Open:
    tag: int
    at: int
    parts: int
    terms: list[Term]

    def closed(self) -> Term:
        match self.tag:
            case Tag.LIST:
                tail = self.terms.pop()
                if not isinstance(tail, list):
                    raise _improper(self.at)
                return self.terms + tail
            case Tag.MAP:
                return Map(tuple(zip(self.terms[::2], self.terms[1::2], strict=True)))
            case _:
                return tuple(self.terms)


def _improper(at: int) -> ImportInvalid:
    return ImportInvalid(f"the Erlang list at byte {at} ends in what is no list")


def _big(source: Bytes) -> int:
    at = source.offset
    size = source.size(1)
    if size > LONGEST_INT:
        raise ImportInvalid(f"the integer at byte {at} has {size} bytes, more than {LONGEST_INT}")
    negative = source.byte()
    magnitude = int.from_bytes(source.take(size), "little")
    return -magnitude if negative else magnitude


def _double(source: Bytes) -> float:
    at = source.offset
    (number,) = struct.unpack(">d", source.take(8))
    return _finite(float(number), at)


def _written_float(source: Bytes) -> float:
    """A float as C's `%.20e` writes it, filled up with zeros: minor version 0."""
    at = source.offset
    digits = source.take(31).rstrip(b"\0")
    if not _DIGITS.fullmatch(digits):
        raise ImportInvalid(f"what is written as a float at byte {at} is none")
    return _finite(float(digits), at)


def _finite(number: float, at: int) -> float:
    if not math.isfinite(number):
        raise ImportInvalid(f"the float at byte {at} is not finite")
    return number


def _atom(source: Bytes, width: int, encoding: str) -> Atom:
    at = source.offset
    written = source.take(source.size(width))
    try:
        name = None if len(written) > 4 * LONGEST_ATOM else _decoded(written, encoding)
    except UnicodeDecodeError as error:
        raise ImportInvalid(f"the atom at byte {at} is not UTF-8") from error
    if name is None or len(name) > LONGEST_ATOM:
        raise ImportInvalid(f"the atom at byte {at} has more than {LONGEST_ATOM} characters")
    return name


@functools.lru_cache(maxsize=256)  # each message has the same few
def _decoded(name: bytes, encoding: str) -> Atom:
    return Atom(name.decode(encoding))


_DIGITS = re.compile(rb" *[+-]?\d+\.\d+([eE][+-]?\d+)?")

_KINDS: dict[int, Kind] = {
    Tag.NIL: "list",
    Tag.STRING: "list",
    Tag.LIST: "list",
    Tag.MAP: "map",
    Tag.BINARY: "binary",
}

_READ: dict[int, Callable[[Bytes], Term]] = {
    Tag.SMALL_INTEGER: Bytes.byte,
    Tag.INTEGER: lambda source: int.from_bytes(source.take(4), signed=True),
    Tag.SMALL_BIG: _big,
    Tag.NEW_FLOAT: _double,
    Tag.FLOAT: _written_float,
    Tag.ATOM: lambda source: _atom(source, 2, "latin-1"),
    Tag.SMALL_ATOM: lambda source: _atom(source, 1, "latin-1"),
    Tag.ATOM_UTF8: lambda source: _atom(source, 2, "utf-8"),
    Tag.SMALL_ATOM_UTF8: lambda source: _atom(source, 1, "utf-8"),
    Tag.BINARY: lambda source: source.take(source.size(4)),
    Tag.NIL: lambda source: [],
}
