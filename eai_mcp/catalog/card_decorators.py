"""Decorators: lines `@@name value` at the beginning of a lorebook entry. Source: Character Card V3.

`@@@name` is for those who do not know the one above it. One that we do not know, or whose value is wrong, is
passed over. So are those that say where text stands among a program's own settings, what it remembers of
former matches, and who says it: a book is read anew each turn, and all of it comes from the operator's side.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from eai_mcp.catalog.entries import Place

MOST_VALUES: Final = 100
_PLACES: Final[Mapping[str, Place]] = {
    "before_desc": "before_char",
    "after_desc": "after_desc",
    "personality": "personality",
    "scenario": "scenario",
    # Not in the specification, and written all the same, since the field of that name has them.
    "before_char": "before_char",
    "after_char": "after_char",
}
LONGEST_LINE: Final = 16 * 1024
_BLANK = re.compile(r"[\r\n]*")
_LINE = re.compile(r"(@{2,3})([A-Za-z_]+)[ \t]*(.*)")
_NUMBER = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decorators:
    """What the decorators of an entry say; the fields are those of `Lore`."""

    also: tuple[tuple[str, ...], ...] = ()
    never: tuple[str, ...] = ()
    always: bool = False
    anyway: bool = False
    is_off: bool = False
    after: int = 0
    every: int = 1
    scan_depth: int | None = None
    depth: int | None = None
    place: Place | None = None


def parted(content: str) -> tuple[Decorators, str]:
    """The decorators, and the text without them and the blank lines round them."""
    taken: dict[str, list[str]] = defaultdict(list)
    at = _filled(content, 0)
    if not content.startswith("@@", at):
        return Decorators(), content
    is_settled = True
    while content.startswith("@@", at):
        end = content.find("\n", at)
        end = len(content) if end < 0 else end
        # A longer one says nothing that we know.
        found = _LINE.fullmatch(content[at : min(end, at + LONGEST_LINE)].strip())
        if found and not (found[1] == "@@@" and is_settled):
            name, value = found[2].lower(), found[3].strip()
            is_settled = name in _TAKES and _TAKES[name](value)
            if is_settled:
                taken[name].append(value)
        at = _filled(content, end)
    return _decorators(taken), content[at:]


def _filled(content: str, at: int) -> int:
    """Where the next line begins that is not empty."""
    found = _BLANK.match(content, at)
    return found.end() if found else at


def _decorators(taken: Mapping[str, list[str]]) -> Decorators:
    """Of several with one name the first counts, save where keys are listed."""
    first = {name: values[0] for name, values in taken.items()}
    return Decorators(
        also=tuple(map(_listed, taken.get("additional_keys", ()))),
        never=tuple(key for value in taken.get("exclude_keys", ()) for key in _listed(value)),
        always="constant" in first,
        anyway="activate" in first,
        # The greeting is always the first one.
        is_off="activate" not in first
        and ("dont_activate" in first or int(first.get("is_greeting", 0)) != 0),
        after=int(first.get("activate_only_after", 0)),
        every=int(first.get("activate_only_every", 1)),
        scan_depth=int(first["scan_depth"]) if "scan_depth" in first else None,
        depth=max(0, int(first["depth"])) if "depth" in first else None,
        place=_PLACES[first["position"]] if "position" in first else None,
    )


def _listed(value: str) -> tuple[str, ...]:
    return tuple(key for key in map(str.strip, value.split(",")) if key)


def _is_number(value: str) -> bool:
    return _NUMBER.fullmatch(value) is not None


def _is_count(value: str) -> bool:
    return _is_number(value) and int(value) >= 0


def _is_list(value: str) -> bool:
    return 0 < len(_listed(value)) <= MOST_VALUES


_TAKES: Final[Mapping[str, Callable[[str], bool]]] = {
    "activate": lambda value: not value,
    "activate_only_after": _is_number,
    "activate_only_every": lambda value: _is_count(value) and int(value) > 0,
    "additional_keys": _is_list,
    "constant": lambda value: value in ("", "true"),
    "depth": _is_number,
    "dont_activate": lambda value: not value,
    "exclude_keys": _is_list,
    "is_greeting": _is_count,
    "position": _PLACES.__contains__,
    "scan_depth": _is_count,
}
