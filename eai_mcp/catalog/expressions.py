"""Regular expressions of a card: written for JavaScript, run by Rust's engine.

That needs time in proportion to the text, whatever the expression says, since it knows neither look-around
nor back references; `re` could take for ever. It is slow in proportion to the expression, though, and an
expression can count, so both are limited.
"""

import functools
import re
from typing import Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

LONGEST: Final = 1000
LARGEST: Final = 5000
"""The length of an expression, times all the numbers that it counts to."""

_SLASHED = re.compile(r"/(.+)/([dgimsuvy]*)", re.DOTALL)
_COUNT = re.compile(r"\{([^{}]*)\}")
_FAR_FROM_SCRIPT = re.compile(r"\\[pP]|\(\?[a-zA-Z-]*x")
"""Classes of Unicode characters, which are large, and the mode in which a count may be in pieces."""
# In JavaScript these mean ASCII; in Rust all that Unicode has, which makes expressions large.
_ASCII: Final = {
    r"\d": "[0-9]",
    r"\D": "[^0-9]",
    r"\w": "[0-9A-Za-z_]",
    r"\W": "[^0-9A-Za-z_]",
    r"\b": r"(?-u:\b)",
}


def expression(text: str, *, is_case_sensitive: bool = False) -> str:
    """What `compiled` takes for an expression as cards have it: bare, or between slashes with its flags.

    Raises:
        ValueError: It is none that can be used; the message says why.
    """
    slashed = _SLASHED.fullmatch(text)
    body, flags = slashed.groups() if slashed else (text, "" if is_case_sensitive else "i")
    if _FAR_FROM_SCRIPT.search(body):
        raise ValueError("it has \\p or the flag x, which are not known here")
    if len(body) > LONGEST or _size(body) > LARGEST:
        raise ValueError("it is too large")
    known = "".join(flag for flag in "ims" if flag in flags)
    translated = re.sub(r"\\.", lambda found: _ASCII.get(found[0], found[0]), body, flags=re.DOTALL)
    whole = f"(?{known}){translated}" if known else translated
    compiled(whole)
    return whole


@functools.lru_cache(maxsize=256)
def compiled(text: str) -> SchemaValidator:
    """What tells whether a text holds the expression.

    Raises:
        ValueError: The engine does not take it.
    """
    try:
        return SchemaValidator(core_schema.str_schema(pattern=text, regex_engine="rust-regex"))
    except SchemaError as error:
        raise ValueError("it is no regular expression without look-around and back references") from error


def _size(body: str) -> int:
    size = len(body)
    for count in _COUNT.finditer(body):
        most = max((int(number) for number in re.findall(r"0*(\d{1,5})", count[1])), default=1)
        size = min(size * max(most, 1), LARGEST + 1)
    return size
