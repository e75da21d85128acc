"""Leases that ran out: how a process that stands still is told from a clock that was set.

A lease ends at a time of day, and any clock of that kind may jump: when it is set, or when the machine wakes
up. So a lease that looks over is only noted at first. It is over once another whole lease has passed on a
clock that does not jump, and its owner has still not renewed it.
"""

import sqlite3
from collections.abc import Callable

MOST = 1000
"""Leases to be noted at a time; beyond that, all begin anew."""


class Leases:
    """Those that this process has seen run out, and when by its own clock."""

    def __init__(self, *, now: Callable[[], float], monotonic: Callable[[], float], lease_s: float) -> None:
        self._now = now
        self._monotonic = monotonic
        self._lease_s = lease_s
        self._seen: dict[tuple[int, int, float], float] = {}

    def is_over(self, session: sqlite3.Row) -> bool:
        """Whether the lease of the turn that runs in a session has been over for another whole one."""
        if session["lease_until"] >= self._now():
            return False
        if len(self._seen) >= MOST:
            self._seen.clear()
        lease = (session["id"], session["fence"], session["lease_until"])
        now = self._monotonic()
        return now - self._seen.setdefault(lease, now) > self._lease_s
