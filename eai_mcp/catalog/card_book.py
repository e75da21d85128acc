"""The lorebook of a card: entries with their keys and decorators.

What the versions of the format call optional may be absent, and names, ids and comments are not looked at. A
wrong type, or a number out of all reason, spoils the card. An expression that cannot be run leaves its own
entry out, since the book is of use without it.
"""

import re
from typing import Final

from eai_mcp.catalog import card_decorators, expressions
from eai_mcp.catalog.card_decorators import Decorators
from eai_mcp.catalog.entries import Book, Keys, Lore
from eai_mcp.catalog.fields import Fields

MOST_ENTRIES: Final = 5000
MOST_KEYS: Final = 100
MOST_EXPRESSIONS: Final = 100
"""Expressions of one book that are used: each takes its time with each turn."""
LONGEST_CONTENT: Final = 1024 * 1024
_KEY = re.compile(r".{0,1000}", re.DOTALL)
_WANTED: Final = "text of at most 1,000 characters"
_PLAIN = re.compile(r"[^\\^$.|?*+()\[\]{}/]+")
_FAR: Final = 10**15
"""Of what may be in any order, how far out that goes."""


def book(fields: Fields) -> Book:
    """The book of that table."""
    reading = _Reading()
    listed = enumerate(fields.tables("entries", most=MOST_ENTRIES))
    placed = sorted((reading.entry(at, entry) for at, entry in listed), key=lambda one: one[0])
    return Book(
        entries=tuple(lore for _, lore in placed if lore),
        scan_depth=_count(fields, "scan_depth"),
        token_budget=_count(fields, "token_budget"),
        is_recursive=fields.flag("recursive_scanning") or False,
        left_out=tuple(reading.left_out),
    )


class _Reading:
    """Reads the entries of one book."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._expressions = 0

    def entry(self, at: int, fields: Fields) -> tuple[float, Lore | None]:
        """The entry, None if it can never be shown, with what it is sorted by."""
        decorators, content = card_decorators.parted(fields.text("content", longest=LONGEST_CONTENT) or "")
        groups = _groups(fields, decorators)
        is_regex = fields.flag("use_regex") or False
        is_case_sensitive = fields.flag("case_sensitive") or False
        always = fields.flag("constant") or False
        before = fields.text("position", longest=100) == "before_char"
        priority = fields.number("priority", -_FAR, _FAR)
        order = fields.number("insertion_order", -_FAR, _FAR) or 0.0
        if fields.flag("enabled") is False or decorators.is_off or not content.strip():
            return order, None
        try:
            keys, never, *also = [
                self._keys(group, is_regex=is_regex, is_case_sensitive=is_case_sensitive) for group in groups
            ]
        except ValueError as error:
            self.left_out.append(f"entries.{at} is never shown: {error}")
            return order, None
        return order, Lore(
            content=content,
            keys=keys,
            also=tuple(also),
            never=never,
            is_case_sensitive=is_case_sensitive,
            # V3 would leave this field, and others, out of entries with `use_regex`. But the program that
            # most cards come from writes that into every entry, whose other fields are meant as ever.
            always=always or decorators.always,
            anyway=decorators.anyway,
            after=decorators.after,
            every=decorators.every,
            scan_depth=decorators.scan_depth,
            place=decorators.place or ("before_char" if before else "after_char"),
            depth=None if decorators.place else decorators.depth,
            priority=order if priority is None else priority,
        )

    def _keys(self, texts: tuple[str, ...], *, is_regex: bool, is_case_sensitive: bool) -> Keys:
        """The keys, those that need no expression as texts."""
        plain = [text for text in texts if not is_regex or _PLAIN.fullmatch(text)]
        written = [text for text in texts if is_regex and not _PLAIN.fullmatch(text)]
        self._expressions += len(written)
        if written and self._expressions > MOST_EXPRESSIONS:
            raise ValueError(f"the book has more than {MOST_EXPRESSIONS} expressions")
        fold = str if is_case_sensitive else str.casefold
        return Keys(
            tuple(map(fold, plain)),
            tuple(expressions.expression(text, is_case_sensitive=is_case_sensitive) for text in written),
        )


def _groups(fields: Fields, decorators: Decorators) -> tuple[tuple[str, ...], ...]:
    """The keys; those of which none may be said; then the groups of which one must be said as well."""
    selective, secondary = fields.flag("selective"), _listed(fields, "secondary_keys")
    also = (secondary, *decorators.also) if selective and secondary else decorators.also
    return (_listed(fields, "keys"), decorators.never, *also)


def _listed(fields: Fields, name: str) -> tuple[str, ...]:
    keys = fields.texts(name, _KEY, _WANTED, most=MOST_KEYS) or ()
    return tuple(key for key in map(str.strip, keys) if key)


def _count(fields: Fields, name: str) -> int | None:
    count = fields.number(name, 0, _FAR)
    return None if count is None else int(count)
