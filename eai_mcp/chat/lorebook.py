"""Which entries of a card's lorebook are shown in a turn: those whose keys were said lately.

A book is somebody else's, and may be as large as a file of ours may be. So what is looked at is limited, and
what it costs: a text that is too long is looked at from its end, one that would have to be searched too often
is not searched any more, and expressions have a time limit.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from eai_mcp.calls import ModelRequest
from eai_mcp.catalog.entries import Book, Keys, Lore
from eai_mcp.catalog.expressions import compiled
from eai_mcp.chat import fitting
from eai_mcp.messages import Message, ToolUseBlock

SCAN_DEPTH: Final = 4
"""Messages that are looked at where a book does not say."""
LONGEST: Final = 256 * 1024
"""Characters that are looked at, the newest."""
LONGEST_FOR_EXPRESSIONS: Final = 16 * 1024
MOST_ROUNDS: Final = 3
"""How often what was found is looked through for the keys of other entries."""
MOST_SEARCHED: Final = 64 * 1024 * 1024
"""Characters that are gone through for keys, in one turn."""
EXPRESSIONS_S: Final = 0.05
"""How long expressions may take in one turn; one that has begun comes to its end."""
_SEARCHES: Final = 32
"""How often a text is searched before it is worth listing all that it has of `_GRAM` characters."""
_GRAM: Final = 3
_VARIED: Final = 5

Words: TypeAlias = Callable[[int, Lore], str]
"""What an entry says, by its place in the book."""


def shown(
    book: Book,
    messages: Sequence[Message],
    *,
    filled: Words,
    revealed: Words,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[tuple[Lore, str], ...]:
    """The entries to show with their texts, in the book's order. `messages` are all, the input at their end.

    `filled` makes an entry's text as it is shown, `revealed` as it is looked through for other keys.
    """
    replies = sum(map(_is_reply, messages))
    waiting = {at: lore for at, lore in enumerate(book.entries) if _is_due(lore, replies)}
    found: set[int] = set()
    effort = _Effort(clock, clock() + EXPRESSIONS_S)
    said = _said(book, messages) if waiting else []
    brought = ""
    for _ in range(1 + MOST_ROUNDS * book.is_recursive):
        search = _Search(brought, said, effort)
        new = [at for at, lore in waiting.items() if search.finds(lore, _depth(book, lore))]
        if not new:
            break
        found.update(new)
        brought = "\n".join([brought, *(revealed(at, waiting.pop(at)) for at in new)])[:LONGEST]
    return _within(book, {at: filled(at, book.entries[at]) for at in sorted(found)})


def _is_reply(message: Message) -> bool:
    return message.role == "assistant" and not any(
        isinstance(block, ToolUseBlock) for block in message.content
    )


def _is_due(lore: Lore, replies: int) -> bool:
    return lore.anyway or (replies >= lore.after and replies % lore.every == 0)


def _depth(book: Book, lore: Lore) -> int:
    depth = book.scan_depth if lore.scan_depth is None else lore.scan_depth
    return SCAN_DEPTH if depth is None else depth


def _said(book: Book, messages: Sequence[Message]) -> list[str]:
    """What was said within any depth that is asked for, the newest first."""
    deepest = max(_depth(book, lore) for lore in book.entries)
    texts: list[str] = []
    room = LONGEST
    for message in reversed(messages):
        if room <= 0 or len(texts) >= deepest:
            break
        if text := message.text:
            texts.append(text[-room:])
            room -= len(text)
    return texts


def _within(book: Book, texts: dict[int, str]) -> tuple[tuple[Lore, str], ...]:
    """Those that the book's budget has room for: the ones of the lowest priority go first."""
    kept = {at for at, text in texts.items() if text.strip()}
    if book.token_budget is not None:
        room = book.token_budget
        ranked = sorted(kept, key=lambda at: -book.entries[at].priority)
        kept = set()
        for at in ranked:
            room -= _tokens(texts[at])
            if room < 0:
                break
            kept.add(at)
    return tuple((book.entries[at], texts[at].strip()) for at in sorted(kept))


def _tokens(text: str) -> int:
    return fitting.tokens(ModelRequest(messages=(), system=text), fitting.CAREFUL)


@dataclass(slots=True)
class _Effort:
    """What a turn has spent on its book so far: characters searched, and the time for expressions."""

    clock: Callable[[], float]
    deadline: float
    searched: int = 0


class _Search:
    """Looks for keys in what was said, the newest first, and in what entries `brought`."""

    def __init__(self, brought: str, said: Sequence[str], effort: _Effort) -> None:
        self._effort = effort
        self._plain = _Text(brought, said, effort)
        self._folded = _Text(brought.casefold(), [text.casefold() for text in said], effort)

    def finds(self, lore: Lore, depth: int) -> bool:
        """Whether the entry is to be shown, by what was said in that many messages."""
        if lore.anyway:
            return True
        text = self._plain if lore.is_case_sensitive else self._folded

        def has(keys: Keys) -> bool:
            return text.has(keys.texts, depth) or self._matches(keys.expressions, depth)

        if not (lore.always or has(lore.keys)):
            return False
        return all(map(has, lore.also)) and not has(lore.never)

    def _matches(self, expressions: Iterable[str], depth: int) -> bool:
        for expression in expressions:
            if self._effort.clock() > self._effort.deadline:
                return False
            newest = self._plain.within(depth)[:LONGEST_FOR_EXPRESSIONS]
            if compiled(expression).isinstance_python(newest):
                return True
        return False


class _Text:
    """Texts as one; the first n of them end at `_ends[n]`, so that no depth needs a copy.

    What was `brought` stands before them: it counts at every depth.
    """

    def __init__(self, brought: str, texts: Sequence[str], effort: _Effort) -> None:
        self._text = "\n".join([brought, *texts])
        self._ends = [len(brought) + 1]
        for text in texts:
            self._ends.append(self._ends[-1] + len(text) + 1)
        self._effort = effort
        self._worth = effort.searched + _SEARCHES * len(self._text)
        self._grams: frozenset[str] | None = None

    def within(self, depth: int) -> str:
        """The first `depth` texts."""
        return self._text[: self._end(depth)]

    def has(self, keys: Iterable[str], depth: int) -> bool:
        """Whether one of the keys is in the first `depth` texts."""
        end = self._end(depth)
        for key in keys:
            if self._grams is not None and len(key) >= _GRAM and key[:_GRAM] not in self._grams:
                continue
            if self._effort.searched > MOST_SEARCHED:
                return False
            found = self._text.find(key, 0, end)
            if found >= 0:
                return True
            # One of few characters may be like such a text for long, at every place.
            self._effort.searched += (end + 1) * (len(key) if len(set(key)) < _VARIED else 1)
            if self._grams is None and self._effort.searched > self._worth:
                text = self._text
                self._grams = frozenset(text[at : at + _GRAM] for at in range(len(text) - _GRAM + 1))
        return False

    def _end(self, depth: int) -> int:
        return self._ends[min(depth, len(self._ends) - 1)]
