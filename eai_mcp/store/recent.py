"""Histories that were read lately, as values, so that a turn reads only what came since the one before.

A message in its place never changes: another history has another revision, and another session another mark.
Only a file that was put back from a copy may hold other messages there. Those have other turns or times: so
the last message that is remembered is looked up each time, and if it is another one, all is read again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from eai_mcp.store import Entry

MOST_MESSAGES = 4000
MOST_BYTES = 1024 * 1024


class Recent:
    """The beginnings of histories by session (its mark) and revision, those used last."""

    def __init__(self) -> None:
        self._histories: OrderedDict[tuple[int, int], tuple[tuple[Entry, ...], int]] = OrderedDict()
        self._messages = self._bytes = 0
        self._lock = threading.Lock()

    def whole(
        self,
        session: int,
        revision: int,
        count: int,
        behind: Callable[[int], tuple[Sequence[Entry], int]],
        at: Callable[[int], tuple[str, float] | None],
    ) -> list[Entry]:
        """The history of `count` messages.

        `behind` reads those after a position, and says their size; `at` reads the turn and time of one.
        """
        with self._lock:
            known, size = self._histories.get((session, revision), ((), 0))
        last = min(len(known), count)
        if last and (known[last - 1].turn_id, known[last - 1].at) != at(last):
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
