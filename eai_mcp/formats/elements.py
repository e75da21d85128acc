"""JSON of any length in pieces: each element of its list, or member of its object, as soon as it is whole.

So what is held of a file is one message, not all of them. A second value behind the first makes it JSONL.

What is small is read at once by the decoder, in C. What does not end in the text that is there is measured
first, bracket by bracket, so that nothing large is built before it is known how large.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Limits

LISTS = ("messages", "input", "items")
"""Members whose list may be long: its elements are told one by one."""

SMALL = 512 * 1024
"""Characters that may be decoded before they were measured; they make at most some 20 MB of values."""

_SPACE = re.compile(r"[ \t\r\n]*+")
_MARK = re.compile(r'["\[\]{}]')
_STRING = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_WHOLE_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_PLAIN = re.compile(r"[^ \t\r\n,:\[\]{}\"]*+")


@dataclass(frozen=True, slots=True)
class Part:
    """A value within the JSON, and how much of what one message may have it takes: see `Limits.size`.

    An `element` of the list or, with its `key`, of a list in the object; a `member` of the object; the `end`
    of the first value; a `value` on its own, as in JSONL. A member whose elements were told is an empty list.
    """

    kind: Literal["element", "member", "end", "value"]
    value: JsonValue = None
    size: int = 0
    key: str = ""


def parts(pieces: Iterator[bytes], limits: Limits) -> Iterator[Part]:
    """The parts of some JSON or JSONL, in order; none where there is nothing.

    Raises:
        ImportInvalid: It is not JSON, not UTF-8, or nested too deep.
        LimitExceeded: One of them is too large.
    """
    scanner = _Scanner(pieces, limits)
    match scanner.next():
        case "":
            return
        case "[":
            for _ in scanner.separated("]"):
                yield Part("element", *scanner.value())
        case "{":
            yield from _members(scanner, limits)
        case _:
            yield Part("value", *scanner.value())
    yield Part("end")
    while scanner.next():
        yield Part("value", *scanner.value())


def _members(scanner: "_Scanner", limits: Limits) -> Iterator[Part]:
    key, beside = None, 0
    for _ in scanner.separated("}"):
        key, size = scanner.name()
        scanner.take(":")
        if key in LISTS and scanner.next() == "[":
            for _ in scanner.separated("]"):
                yield Part("element", *scanner.value(), key)
            yield Part("member", [], 0, key)
        else:
            value, more = scanner.value()
            size += more + limits.size(0, values=2)
            beside += size
            if beside > limits.element:
                raise LimitExceeded(
                    f"beside the messages there is more than one may have, {limits.element:,} bytes",
                    limit=limits.element,
                    actual=beside,
                )
            yield Part("member", value, size, key)
    if key is None:
        raise ImportInvalid("the content is an empty object; it should be a history")


class _Scanner:
    """Where in the text we are; more of it is taken in when it is needed."""

    def __init__(self, pieces: Iterator[bytes], limits: Limits) -> None:
        self._pieces = pieces
        self._limits = limits
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._held = ""
        self._at = 0
        self._before = 0
        self._is_all = False

    def next(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            self._at = _end(_SPACE, self._held, self._at)
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        """Go past a character that must come next."""
        found = self.next()
        if found != wanted:
            self._fail(f"{wanted!r} is missing", found)
        self._at += 1

    def separated(self, closing: str) -> Iterator[None]:
        """Stop at each value of a list or an object, and go past its end."""
        self._at += 1
        if self.next() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.next() == closing:
                self._at += 1
                return
            self.take(",")

    def name(self) -> tuple[str, int]:
        """A string, which must come next, and its size."""
        if (found := self.next()) != '"':
            self._fail("a name in quotes is missing", found)
        name, size = self.value()
        return str(name), size

    def value(self) -> tuple[JsonValue, int]:
        """The next value, and its size."""
        first = self.next()
        is_small = len(self._held) - self._at <= SMALL
        # Not a number: it may go on in the next piece.
        if is_small and first in ("[", "{", '"') and (found := self._decoded_at_once()) is not None:
            return found
        end = self._measured(first)
        size = self._checked(end)
        text = self._held[self._at : end]
        try:
            value = wire.exactly_parsed(text)
        except ValueError as error:
            raise ImportInvalid(f"the content is not JSON: {str(error)[:200]} in {text[:60]!r}") from error
        self._at = end
        return value, size

    def _decoded_at_once(self) -> tuple[JsonValue, int] | None:
        """The value, if it ends in what is held and is sure to be within the limits."""
        begin = self._at
        try:
            value, end = wire.exactly_parsed_at(self._held, begin)
        except ValueError:
            return None  # not whole, or not JSON: measuring it will tell
        nested = self._held.count("[", begin, end) + self._held.count("{", begin, end)
        size = self._limits.size(self._bytes(end), values=self._values(end))
        if nested > self._limits.depth or size > self._limits.element:
            return None
        self._at = end
        return value, size

    def _measured(self, first: str) -> int:
        """Where the value ends, whose first character this is."""
        if first in ("[", "{"):
            return self._end_of_nested()
        if first == '"':
            return self._end_of_string(self._at + 1)
        end = self._end_of_plain()
        if end == self._at:
            self._fail("a value is missing", first)
        return end

    def _end_of_nested(self) -> int:
        depth, at = 0, self._at
        while True:
            mark = _MARK.search(self._held, at)
            if mark is None:
                at = self._must_go_on(len(self._held))
                continue
            at = mark.end()
            match mark[0]:
                case '"':
                    at = self._end_of_string(at)
                case "[" | "{":
                    depth += 1
                    if depth > self._limits.depth:
                        raise ImportInvalid(f"the content is nested deeper than {self._limits.depth} levels")
                case _:
                    depth -= 1
                    if not depth:
                        return at

    def _end_of_string(self, at: int) -> int:
        while True:
            at = _end(_STRING, self._held, at)
            if self._held[at : at + 1] == '"':
                return at + 1
            at = self._must_go_on(at)  # what is left is nothing, or half an escape

    def _end_of_plain(self) -> int:
        at = self._at
        while (at := _end(_PLAIN, self._held, at)) == len(self._held):
            self._check_size()
            before = self._at
            if not self._more():
                break
            at -= before - self._at
        return at

    def _must_go_on(self, at: int) -> int:
        """Take in more of the value that we stand before; where in it `at` is then."""
        self._check_size()
        before = self._at
        if not self._more():
            raise ImportInvalid("the content is incomplete: it ends in the middle of a value")
        return at - (before - self._at)

    def _check_size(self) -> None:
        size = self._bytes(len(self._held))
        if size > self._limits.element + SMALL:
            self._too_large(size)

    def _checked(self, end: int) -> int:
        """The size of the value that ends there."""
        size, values = self._bytes(end), self._values(end)
        if size > self._limits.element:
            self._too_large(size)
        if values > self._limits.values:
            raise LimitExceeded(
                f"one message holds about {values:,} values; the limit is {self._limits.values:,}",
                limit=self._limits.values,
                actual=values,
            )
        return self._limits.size(size, values=values)

    def _bytes(self, end: int) -> int:
        held = self._held
        return end - self._at if held.isascii() else len(held[self._at : end].encode())

    def _values(self, end: int) -> int:
        """How many values there are, at most.

        Of what is small, those that a string would have if it were read count too; a long text may have many.
        """
        values = _signs(self._held, self._at, end)
        if self._limits.size(0, values=values) <= SMALL:
            return values
        plain = _WHOLE_STRING.sub("", self._held[self._at : end])
        return _signs(plain, 0, len(plain))

    def _too_large(self, size: int) -> NoReturn:
        limit = self._limits.element
        raise LimitExceeded(f"one message has more than {limit:,} bytes, the limit", limit=limit, actual=size)

    def _more(self) -> bool:
        """Take in more: of a long value as much again, so that it is not copied too often."""
        held = self._held[self._at :]
        taken = [held]
        wanted, size = max(1, len(held) // 2), 0
        while size < wanted and not self._is_all:
            taken.append(self._piece())
            size += len(taken[-1])
        self._before += self._at
        self._held, self._at = "".join(taken), 0
        return size > 0

    def _piece(self) -> str:
        piece = next(self._pieces, None)
        self._is_all = piece is None
        try:
            return self._decoder.decode(piece or b"", final=self._is_all)
        except UnicodeDecodeError as error:
            raise ImportInvalid(
                f"the content is not UTF-8: byte 0x{error.object[error.start]:02x}; save it as UTF-8"
            ) from error

    def _fail(self, what: str, found: str) -> NoReturn:
        seen = repr(found) if found else "the end"
        raise ImportInvalid(
            f"the content is not JSON: {what} at character {self._before + self._at}, not {seen}"
        )


def _signs(text: str, begin: int, end: int) -> int:
    return sum(text.count(sign, begin, end) for sign in ",:[{")


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
