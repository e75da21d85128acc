"""Time that only goes on when it is told to."""

import anyio
import anyio.lowlevel

ROUNDS = 12
"""How often everybody may run until all that can happen without more time has happened."""


class Clock:
    """A clock, and a `sleep` by it. `waits` are the seconds that were slept for, in order."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.waits: list[float] = []
        self._sleepers: list[tuple[float, anyio.Event]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        sleeper = (self.now + seconds, anyio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its time."""
        end = self.now + seconds
        await settle()
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= end]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self._sleepers.remove(first)
            self.now = max(self.now, first[0])
            first[1].set()
            await settle()
        self.now = end
        await settle()


class Hasty(Clock):
    """A clock that jumps to the end of each sleep."""

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


async def settle() -> None:
    """Let everybody run who can."""
    for _ in range(ROUNDS):
        await anyio.lowlevel.checkpoint()
