"""Reading JSON that somebody else wrote: a value of the wrong type counts as absent, it never raises."""

import json
import math
from typing import NoReturn

from pydantic import JsonValue

from eai_mcp.messages import JsonObject

INVALID_JSON = "__invalid_json__"
"""The only key of a tool's input that was not a JSON object; its value is the text as it came."""

CALL_DROPPED = "a tool call was dropped: the reply was cut off before it was complete"
"""The warning for a tool's input that lacks its end."""

DEEPEST = 128
"""Levels of nesting in what is kept of others: the codec of our messages can write about twice as many."""


def parsed(text: str | bytes) -> JsonValue:
    """The JSON value in `text`; NaN and the infinities, which JSON does not have, become null.

    Raises:
        ValueError: It is not JSON, or it is nested too deep to read.
    """
    return _decoded(_LENIENT, text)


def exactly_parsed(text: str) -> JsonValue:
    """As `parsed`, but what JSON does not have, or cannot write again, is an error.

    Raises:
        ValueError: It is not JSON, or it is nested too deep to read.
    """
    return _decoded(_STRICT, text)


def exactly_parsed_at(text: str, begin: int) -> tuple[JsonValue, int]:
    """The value that begins at a place in the text, as `exactly_parsed` reads it, and where it ends.

    Raises:
        ValueError: It is not JSON, not whole, or nested too deep to read.
    """
    try:
        return _STRICT.raw_decode(text, begin)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def strictly_parsed(text: str) -> JsonValue:
    """As `exactly_parsed`, but half a character is mended.

    Raises:
        ValueError: It is not JSON, or it is nested too deep to keep.
    """
    value = exactly_parsed(text)
    if is_deep(value):
        raise ValueError("nested too deep")
    # A \ud800 in the text becomes half a character, which nothing downstream could write.
    return _decoded(_STRICT, mended(json.dumps(value, ensure_ascii=False))) if "\\u" in text else value


def is_deep(value: JsonValue) -> bool:
    """Whether it is nested deeper than `DEEPEST`."""
    layer = [value]
    for _ in range(DEEPEST + 1):
        within = [outer.values() if isinstance(outer, dict) else items(outer) for outer in layer]
        layer = [inner for inners in within for inner in inners]
        if not layer:
            return False
    return True


def written(value: JsonValue) -> str:
    """Compact JSON; the same value always gives the same text, which prompt caches need."""
    return mended(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def fields(value: JsonValue) -> JsonObject:
    """An object as it is, anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: JsonValue) -> list[JsonValue]:
    """A list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def string(value: JsonValue) -> str:
    """A string as it is, anything else as an empty one."""
    return value if isinstance(value, str) else ""


def count(value: JsonValue) -> int:
    """A number of things, 0 for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def amount(value: JsonValue) -> float | None:
    """A finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
        return None
    return float(value)


def mended(text: str) -> str:
    """The text with halves of characters made whole where both are there, else marked as unreadable.

    A character beyond U+FFFF is two in JSON's escapes, and one of them alone cannot be written as UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Text:
    """A text that comes in pieces; half a character waits for its other half."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._half = ""

    def add(self, piece: str) -> str:
        """Take the next piece and return what can be shown now."""
        piece = self._half + piece
        self._half = piece[-1:] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        shown = mended(piece.removesuffix(self._half))
        if shown:
            self._pieces.append(shown)
        return shown

    def __str__(self) -> str:
        return "".join(self._pieces)


def _decoded(decoder: json.JSONDecoder, text: str | bytes) -> JsonValue:
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig", "replace")
        value: JsonValue = decoder.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits)


_LENIENT = json.JSONDecoder(parse_constant=lambda name: None, strict=False)
_STRICT = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
