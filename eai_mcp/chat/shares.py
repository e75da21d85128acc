"""How much of the server one space may take, so that none takes it all.

What is counted here is counted in this process; only sessions are counted by the store, for all processes.
"""

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from eai_mcp.chat.limits import SUBAGENTS, Limits
from eai_mcp.chat.lines import Lines
from eai_mcp.chat.values import DEFAULT_SESSION
from eai_mcp.errors import LimitExceeded, Throttled
from eai_mcp.store import Store

MOST_BUCKETS = 1000


@dataclass(slots=True)
class _Bucket:
    """Talks that may come at once, as they were at a time."""

    left: float
    at: float


class Shares:
    """Each space's share, as the limits have it. `now` is in seconds, and is never set to another time."""

    def __init__(self, limits: Limits, store: Store, *, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._store = store
        self._now = now
        self._buckets: dict[str, _Bucket] = {}
        self._starting: Counter[tuple[str, bool]] = Counter()
        self._making = Lines()

    @contextmanager
    def admitted(self, space: str) -> Iterator[None]:
        """Begin a talk in the block; one that fails does not count.

        Raises:
            Throttled: There were too many just now.
        """
        rate = self._limits.principal_rate
        if rate is None:
            yield
            return
        bucket = self._taken_from(space, rate)
        try:
            yield
        except BaseException:
            bucket.left += 1
            raise

    def _taken_from(self, space: str, rate: float) -> _Bucket:
        now = self._now()
        most = self._limits.principal_burst or max(1, math.ceil(rate))
        if space not in self._buckets and len(self._buckets) >= MOST_BUCKETS:
            self._forget(rate, most, now)
        bucket = self._buckets.setdefault(space, _Bucket(most, now))
        bucket.left = min(most, bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.left < 1:
            wait_s = (1 - bucket.left) / rate
            raise Throttled(
                f"too many talks: {rate:g} a second may come, {most} at once; try again in {wait_s:.3g} s",
                retry_after_s=wait_s,
                limit=rate,
            )
        bucket.left -= 1
        return bucket

    def _forget(self, rate: float, most: int, now: float) -> None:
        """Let go of those that are full again."""
        self._buckets = {
            space: bucket
            for space, bucket in self._buckets.items()
            if bucket.left + (now - bucket.at) * rate < most
        }

    @contextmanager
    def starting(
        self, space: str, running: Callable[[str, bool], int], *, is_subagent: bool = False
    ) -> Iterator[None]:
        """Start a turn in the block, beside those of the space that are `running`, sub-agents' or its own.

        Raises:
            LimitExceeded: They are too many.
        """
        limit = self._limits.principal_turns
        if limit is None:
            yield
            return
        kind = (space, is_subagent)
        limit *= SUBAGENTS if is_subagent else 1
        at_once = running(*kind) + self._starting[kind]
        if at_once >= limit:
            whose = " of sub-agents" if is_subagent else ""
            raise LimitExceeded(
                f"{at_once} turns{whose} are running, of {limit} that may at once;"
                " wait for one, or interrupt it",
                retryable=True,
                limit=limit,
                actual=at_once,
            )
        self._starting[kind] += 1
        try:
            yield
        finally:
            self._starting[kind] -= 1
            if not self._starting[kind]:
                del self._starting[kind]

    @asynccontextmanager
    async def making(self, space: str, *names: str, only: bool = False) -> AsyncIterator[None]:
        """See in the block to it that there are sessions of these names; with `only`, no others.

        The default session is always allowed.

        Raises:
            LimitExceeded: There would be too many.
        """
        limit = self._limits.principal_sessions
        if limit is None or not await self._more(space, names, only):
            yield
            return
        # Two would else take the last place; other spaces do not wait for what may be a long import.
        async with self._making.head((space, "")):
            more = await self._more(space, names, only)
            there = 0 if only else await self._store.count(space, apart_from=DEFAULT_SESSION)
            if more and there + more > limit:
                raise LimitExceeded(
                    f"that would make {there + more} sessions, of the {limit} that there may be beside"
                    f" {DEFAULT_SESSION!r}; close_session removes one",
                    limit=limit,
                    actual=there + more,
                )
            yield

    async def _more(self, space: str, names: Sequence[str], only: bool) -> int:
        """How many of the names count for more than there is."""
        wanted = {*names} - {DEFAULT_SESSION}
        return len(wanted) if only else sum([await self._is_new(space, name) for name in wanted])

    async def _is_new(self, space: str, name: str) -> bool:
        return await self._store.row(space, name) is None
