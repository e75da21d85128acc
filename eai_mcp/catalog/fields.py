"""The fields of a catalog file, taken one by one. What is wrong with them is noted, not raised.

A take returns None when the field is absent, null or wrong. A reader takes everything it knows and then calls
`finish`, so one look at a file finds all that is wrong with it.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar

from pydantic import JsonValue

T = TypeVar("T")

Note: TypeAlias = Callable[[str | None, str], None]
"""Takes a field's dotted name, None for the file as a whole, and what is wrong with it."""

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
NAME_RULE: Final = "1 to 64 letters, digits or . _ -"
FILLED: Final = re.compile(r".+", re.DOTALL)
_PLAIN = re.compile(r"[\w.-]{1,60}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_LONGEST_ECHO = 60
_DEEPEST = 32


class Fields:
    """A table of the file; `within` is the dotted path to it, with a dot at its end."""

    def __init__(self, values: Mapping[str, object], note: Note, within: str = "") -> None:
        self._values = values
        self._note = note
        self._within = within
        self._known: list[str] = []
        self._forbidden: list[str] = []
        self._tables: list[Fields] = []

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def refuse(self, name: str, reason: str) -> None:
        """Note that the field cannot be as it is."""
        self._note(self._within + name, reason)

    def forbid(self, name: str, reason: str) -> None:
        """Note `reason` if the field is there at all."""
        self._forbidden.append(name)
        if name in self._values:
            self.refuse(name, reason)

    def text(self, name: str, *, longest: int) -> str | None:
        """Any text up to `longest` characters."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong(name, "must be text", value)
            return None
        if len(value) > longest:
            self.refuse(name, f"must have at most {longest} characters, not {len(value)}")
        return value

    def required(self, name: str, *, longest: int) -> str:
        """Text that must be there and not be blank."""
        if name not in self:
            self._take(name)
            self.refuse(name, "is missing")
            return ""
        value = self.text(name, longest=longest)
        if value is not None and not value.strip():
            self.refuse(name, "must not be empty")
        return value or ""

    def matching(
        self, name: str, pattern: re.Pattern[str], wanted: str, *, secret: bool = False
    ) -> str | None:
        """Text of a form that `wanted` names. A `secret` one is not repeated in the note."""
        value = self._take(name)
        if value is None or (isinstance(value, str) and pattern.fullmatch(value)):
            return value
        if secret:
            self.refuse(name, f"must be {wanted}")
            return None
        self._wrong(name, f"must be {wanted}", value)
        return None

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`, neither infinite nor NaN."""
        value = self._take(name)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        self._wrong(name, f"must be a number from {low:,} to {high:,}", value)
        return None

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`."""
        value = self._take(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
            return value
        self._wrong(name, f"must be a whole number from {low:,} to {high:,}", value)
        return None

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self._take(name)
        if value is None or isinstance(value, bool):
            return value
        self._wrong(name, "must be true or false", value)
        return None

    def choice(self, name: str, choices: tuple[T, ...]) -> T | None:
        """One of `choices`."""
        value = self._take(name)
        chosen = next((choice for choice in choices if choice == value), None)
        if value is not None and chosen is None:
            self._wrong(name, f"must be one of {', '.join(map(str, choices))}", value)
        return chosen

    def texts(self, name: str, pattern: re.Pattern[str], wanted: str, *, most: int) -> tuple[str, ...] | None:
        """A list of at most `most` texts, each of the form that `wanted` names."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, list):
            self._wrong(name, "must be a list", value)
            return None
        if len(value) > most:
            self.refuse(name, f"must have at most {most} items, not {len(value)}")
            return None
        for at, item in enumerate(value):
            if not (isinstance(item, str) and pattern.fullmatch(item)):
                self._wrong(f"{name}.{at}", f"must be {wanted}", item)
        return tuple(item for item in value if isinstance(item, str))

    def headers(self, name: str) -> dict[str, str]:
        """A table of HTTP headers. Their values are never repeated in a note."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(name, "must be a table of texts")
            return {}
        headers: dict[str, str] = {}
        for key, content in value.items():
            if not _HEADER.fullmatch(key):
                self.refuse(f"{name}.{_label(key)}", "is no name of an HTTP header")
            elif not (isinstance(content, str) and _HEADER_VALUE.fullmatch(content)):
                self.refuse(f"{name}.{key}", "must be text of printable ASCII characters, on one line")
            else:
                headers[key] = content
        return headers

    def json(self, name: str) -> dict[str, JsonValue] | None:
        """A table of anything that JSON can say."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong(name, "must be a table", value)
            return None
        return {key: self._json(f"{name}.{_label(key)}", item, _DEEPEST) for key, item in value.items()}

    def table(self, name: str) -> "Fields":
        """The table inside, without fields when it is absent."""
        value = self._take(name)
        if value is not None and not isinstance(value, dict):
            self._wrong(name, "must be a table", value)
        inner = Fields(value if isinstance(value, dict) else {}, self._note, f"{self._within}{name}.")
        self._tables.append(inner)
        return inner

    def tables(self, name: str, *, most: int) -> "tuple[Fields, ...]":
        """The tables of a list that has at most `most`."""
        value = self._take(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong(name, "must be a list", value)
            return ()
        if len(value) > most:
            self.refuse(name, f"must have at most {most:,} items, not {len(value):,}")
            return ()
        inner: list[Fields] = []
        for at, item in enumerate(value):
            if isinstance(item, dict):
                inner.append(Fields(item, self._note, f"{self._within}{name}.{at}."))
            else:
                self._wrong(f"{name}.{at}", "must be a table", item)
        return tuple(inner)

    def finish(self) -> None:
        """Note every field that nobody took, in this table and those inside it that were taken."""
        for name in self._values:
            if name not in self._known and name not in self._forbidden:
                self.refuse(_label(name), f"is not a known field; {_suggestion(name, self._known)}")
        for table in self._tables:
            table.finish()

    def _take(self, name: str) -> object:
        self._known.append(name)
        return self._values.get(name)

    def _wrong(self, name: str, reason: str, value: object) -> None:
        self.refuse(name, f"{reason}, not {shown(value)}")

    def _json(self, name: str, value: object, depth: int) -> JsonValue:
        match value:
            case None | bool() | str():
                return value
            case int() if value.bit_length() < 64:
                return value
            case float() if math.isfinite(value):
                return value
            case list() if depth:
                return [self._json(f"{name}.{at}", item, depth - 1) for at, item in enumerate(value)]
            case dict() if depth:
                return {
                    key: self._json(f"{name}.{_label(key)}", item, depth - 1) for key, item in value.items()
                }
        self._wrong(name, f"must be something that JSON can say, at most {_DEEPEST} levels deep", value)
        return None


def shown(value: object) -> str:
    """A value as a note repeats it: short, and in the file's own words."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "a list"
        # Python refuses to print an integer of more than 4,300 digits.
        case int() if value.bit_length() > 64:
            return "a number of that size"
        case str() | int() | float():
            text = repr(value)
        case _:
            text = str(value)
    return text if len(text) <= _LONGEST_ECHO else text[:_LONGEST_ECHO] + "…"


def _label(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else shown(name)


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(set(known)))}"
