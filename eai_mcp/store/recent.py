"""Histories that were read or written lately, as values, so that a turn need not read them again.

A message in its place never changes: another history has another revision, and another session another mark.
Only a file that was put back from a copy may hold other messages there. Those have other turns or times: so
the last message that is remembered is looked up each time, and if it is another one, all is read again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eai_mcp.messages import Message
from eai_mcp.store import Claim, Entry

MOST_MESSAGES = 4000
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn stands in a history: behind message `before`, and up to `last`. `session` is its mark."""

    session: int
    revision: int
    before: int
    last: int


class Recent:
    """The beginnings of histories by session (its mark) and revision, those used last."""

    def __init__(self) -> None:
        self._histories: OrderedDict[tuple[int, int], tuple[tuple[Entry, ...], int]] = OrderedDict()
        self._messages = self._bytes = 0
        self._said: dict[Claim, list[tuple[float, Message]]] = {}
        self._lock = threading.Lock()

    def has(self, session: int, revision: int, count: int) -> bool:
        """Whether nothing of the history of `count` messages would have to be read."""
        known, _ = self._histories.get((session, revision), ((), 0))
        return len(known) >= count

    def said(self, claim: Claim, at: float, messages: Sequence[Message], *, is_first: bool = False) -> None:
        """Remember what was said in a running turn, all of which has to be told from its first message on."""
        if is_first:
            self._said[claim] = []
        if claim in self._said:
            self._said[claim] += [(at, message) for message in messages]

    def drop(self, claim: Claim) -> None:
        """Forget a running turn: it has ended, or what is remembered of it is no longer so."""
        self._said.pop(claim, None)

    def placed(self, claim: Claim, place: Place) -> None:
        """What was said in a turn stands in a history now; only plain words are taken for what is read."""
        said = self._said.get(claim, [])
        key = (place.session, place.revision)
        with self._lock:
            known, size = self._histories.get(key, ((), 0))
        is_whole = len(known) == place.before and len(said) == place.last - place.before
        if is_whole and all(one.is_plain for _, one in said):
            behind = enumerate(said, place.before + 1)
            entries = (Entry(seq, claim.turn_id, at, one) for seq, (at, one) in behind)
            added = sum(len(one.text) for _, one in said)
            self._remember(key, (*known, *entries), size + added)

    def whole(
        self,
        session: int,
        revision: int,
        count: int,
        behind: Callable[[int], tuple[Sequence[Entry], int]],
        at: Callable[[int], tuple[str, float] | None] | None,
    ) -> list[Entry]:
        """The history of `count` messages.

        `behind` reads those after a position, and says their size; `at` reads the turn and time of one, None
        where no copy can take the place of what is remembered.
        """
        with self._lock:
            known, size = self._histories.get((session, revision), ((), 0))
        last = min(len(known), count)
        if last and at is not None and (known[last - 1].turn_id, known[last - 1].at) != at(last):
            known, size = (), 0
        if len(known) < count:
            more, added = behind(len(known))
            known, size = (*known, *more), size + added
            self._remember((session, revision), known, size)
        return list(known[:count])

    def _remember(self, key: tuple[int, int], entries: tuple[Entry, ...], size: int) -> None:
        with self._lock:
            self._forget(key)
            if len(entries) > MOST_MESSAGES or size > MOST_BYTES:
                return
            self._histories[key] = (entries, size)
            self._messages += len(entries)
            self._bytes += size
            while self._messages > MOST_MESSAGES or self._bytes > MOST_BYTES:
                self._forget(next(iter(self._histories)))

    def _forget(self, key: tuple[int, int]) -> None:
        entries, size = self._histories.pop(key, ((), 0))
        self._messages -= len(entries)
        self._bytes -= size
