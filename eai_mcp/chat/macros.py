"""Macros: `{{name}}` and `{{name:argument}}` in the texts of a card. Source: Character Card V3, and V1.

Each text is gone through once, from its beginning to its end, and what takes a macro's place is not looked at
again. So no macro can make another, and however odd a text is, the work grows with its length alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from eai_mcp.catalog.entries import Card
from eai_mcp.errors import ConfigError

DEEPEST: Final = 8
"""How deep a macro may stand in others; each level copies what is in it."""
LARGEST: Final = 4 * 1024 * 1024
"""Characters of a text with its names filled in: a name may be longer than the macro for it."""

_TOKEN = re.compile(r"\{\{|\}\}|<(?:user|bot|char)>", re.IGNORECASE)
_NAMES = re.compile(r"\{\{\s*(user|char)\s*\}\}|<(user|bot|char)>", re.IGNORECASE)
_COMMA = re.compile(r"(?<!\\),")
_DICE = re.compile(r"[dD]?([0-9]{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Who speaks: what `{{user}}` and `{{char}}` stand for."""

    user: str
    char: str

    def of(self, macro: str) -> str:
        """The name for what stands in the braces, in lower case."""
        return self.user if macro == "user" else self.char


@dataclass(frozen=True, slots=True, kw_only=True)
class Macros:
    """Fills in the macros of a card's texts.

    Chance is what `turn` and the text's place make of it, so that a turn that is told again is told alike;
    for `{{pick}}` it is what `session` and the card make of it, in every turn the same.
    """

    card: Card
    user: str = "User"
    session: str = ""
    turn: str = ""

    @property
    def names(self) -> Names:
        """The two names; a card's nickname goes before its name."""
        return Names(user=self.user, char=self.card.nickname or self.card.title)

    def filled(self, text: str, place: str, *, original: str = "", reveals: bool = False) -> str:
        """The text that stands at `place` in the card, with its macros filled in.

        `original` is what `{{original}}` stands for, once; only names are filled in in it. With `reveals` the
        keys that are hidden from the model stay.

        Raises:
            ConfigError: It grows beyond all reason.
        """
        if "{{" not in text and "<" not in text:
            return text
        one = _Text(self, place, original, reveals)
        done = one.through(text)
        if done is None:
            raise ConfigError(
                f"card {self.card.name!r}: {place} has more than {LARGEST:,} characters once its macros are "
                "filled in; shorten it",
                card=self.card.name,
            )
        return done


def with_names(text: str, names: Names) -> str:
    """The text with the two names filled in, and nothing else."""
    return _NAMES.sub(lambda found: names.of((found[1] or found[2]).lower()), text)


@dataclass(slots=True)
class _Text:
    """One text on its way. What is open is a list for each `{{` that still lacks its `}}`."""

    macros: Macros
    place: str
    original: str
    reveals: bool
    _open: list[list[str]] = field(default_factory=lambda: [[]])
    _size: int = 0
    _dice: dict[str, Random] = field(default_factory=dict)

    def through(self, text: str) -> str | None:
        """The whole text, None if it grew too large."""
        names = self.macros.names
        at = 0
        for found in _TOKEN.finditer(text):
            self._add(text[at : found.start()])
            at = found.end()
            token = found[0].lower()
            if token == "{{":
                self._begin()
            elif token == "}}":
                self._end()
            else:
                self._add(names.of(token[1:-1]))
            if self._size > LARGEST:
                return None
        self._add(text[at:])
        return "{{".join("".join(pieces) for pieces in self._open)

    def _add(self, text: str) -> None:
        self._open[-1].append(text)
        self._size += len(text)

    def _begin(self) -> None:
        if len(self._open) > DEEPEST:
            self._add("{{")
        else:
            self._open.append([])

    def _end(self) -> None:
        if len(self._open) == 1:
            self._add("}}")
            return
        inside = "".join(self._open.pop())
        self._size -= len(inside)
        filled = self._filled(inside)
        self._add(f"{{{{{inside}}}}}" if filled is None else filled)

    def _filled(self, inside: str) -> str | None:
        """What takes the place of a macro, None if it is none that we know."""
        if inside.startswith("//"):
            return ""
        name, _, argument = inside.partition(":")
        name = name.strip().lower()
        if name == "original":
            original, self.original = self.original, ""
            return with_names(original, self.macros.names)
        if name in ("user", "char"):
            return self.macros.names.of(name)
        known = _FILLS.get(name)
        return None if known is None else known(self, argument)

    def _random(self, argument: str) -> str:
        choices = _choices(argument)
        return choices[self._throw(len(choices), self.macros.turn)]

    def _pick(self, argument: str) -> str:
        choices = _choices(argument)
        return choices[self._throw(len(choices), "")]

    def _roll(self, argument: str) -> str | None:
        dice = _DICE.fullmatch(argument.strip())
        sides = int(dice[1]) if dice else 0
        return str(1 + self._throw(sides, self.macros.turn)) if sides else None

    def _hidden(self, argument: str) -> str:
        return argument if self.reveals else ""

    def _throw(self, sides: int, turn: str) -> int:
        """A number below `sides`: the same in each turn without one."""
        if turn not in self._dice:
            seed = (self.macros.session, self.macros.card.name, self.place, turn)
            self._dice[turn] = Random("\0".join(seed))
        return self._dice[turn].randrange(sides)


def _choices(argument: str) -> Sequence[str]:
    """What is listed, by commas or by pairs of colons; a backslash keeps a comma together."""
    listed = argument.removeprefix(":")
    if "::" in listed:
        return listed.split("::")
    return [choice.replace("\\,", ",") for choice in _COMMA.split(listed)]


_FILLS: Final[Mapping[str, Callable[[_Text, str], str | None]]] = {
    "random": _Text._random,
    "pick": _Text._pick,
    "roll": _Text._roll,
    "hidden_key": _Text._hidden,
    "comment": lambda text, argument: "",
    "reverse": lambda text, argument: argument[::-1],
}
