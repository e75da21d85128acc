"""A thousand turns at once, while the provider goes down and comes back.

Issue 6: 1,000 concurrent turns through a breaker that opens and closes: invariants hold, no task leaked, on
asyncio and trio.
"""

import random
from collections import Counter
from dataclasses import replace

import anyio
import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.catalog.entries import Breaker
from eai_mcp.errors import CallError, RateLimited, Rejected, Unavailable
from eai_mcp.observe import ignore
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from tests.fakes import said
from tests.pipeline.asking import REQUEST, Facts, model
from tests.pipeline.clock import Clock

TURNS = 1000
SLOTS = 20
RECOVERY_S = 2.0
PERIODS = 10
TIMES = 6
ENDS = {
    "hello",
    "cancelled",
    "circuit_open",
    "rate_limited",
    "timeout",
    "provider_unavailable",
    "provider_rejected",
}


class Weather:
    """A provider that is up or down, takes its time, and counts who asks."""

    def __init__(self, clock, dice):
        self.clock, self.dice = clock, dice
        self.is_up = True
        self.inside = self.most = self.asked = 0

    async def __call__(self, request, emit):
        self.asked += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.clock.sleep(self.dice.choice([0.01, 0.1, 0.5]))
            fate = self.dice.random()
            if not self.is_up:
                raise Unavailable("down", status=503)
            if fate < 0.05:
                raise RateLimited("busy", status=429, retry_after_s=0.2)
            if fate < 0.1:
                raise Rejected("wrong", status=400)
            await emit(TextDelta("hello"))
            return said("hello", served_by="a")
        finally:
            self.inside -= 1


class Trying(Facts):
    """An observer that counts how many calls at most were trying a half-open circuit at once."""

    def __init__(self):
        super().__init__()
        self.trying: set[str] = set()
        self.most = 0

    def __call__(self, fact):
        super().__call__(fact)
        if fact.name == "circuit.half_open":
            self.trying.add(fact.turn_id)
            self.most = max(self.most, len(self.trying))
        elif fact.name in {"provider.answered", "provider.failed", "provider.cancelled"}:
            self.trying.discard(fact.turn_id)


class Storm:
    """Turns that ask again for a while when they get no answer."""

    def __init__(self, seed):
        self.dice, self.clock, self.facts = random.Random(seed), Clock(), Trying()
        self.weather = Weather(self.clock, self.dice)
        self.table = Guards(
            clock=self.clock, sleep=self.clock.sleep, observe=self.facts, chance=self.dice.random
        )
        breaker = Breaker(failures=4, recovery_s=RECOVERY_S)
        a = model(rate=200.0, burst=50, concurrency=SLOTS, attempts=4, breaker=breaker)
        guarded = self.table.guarded(a, self.weather)
        self.call = whole([("a", guarded)], layers=(), observe=ignore, clock=self.clock)
        self.ends, self.heard = Counter[str](), Counter[str]()

    async def asked(self, name):
        async def listen(event):
            self.heard[name] += isinstance(event, TextDelta)

        deadline = self.clock.now + self.dice.choice([5, 50, 500])
        try:
            response = await self.call(replace(REQUEST, turn_id=name, deadline=deadline), listen)
        except CallError as error:
            await self.clock.sleep(error.retry_after_s or 1)
            return error.code
        return response.message.text

    async def turn(self, number, scope):
        name, end = f"t{number}", "cancelled"
        with scope:
            for _ in range(TIMES):
                end = await self.asked(name)
                if end == "hello":
                    break
        self.ends["cancelled" if scope.cancelled_caught else end] += 1
        assert self.heard[name] <= 1, "text was doubled"
        assert self.heard[name] == 1 or end != "hello", "text was lost"

    async def blow(self):
        scopes = [anyio.CancelScope() for _ in range(TURNS)]
        async with anyio.create_task_group() as tasks:
            for number, scope in enumerate(scopes):
                tasks.start_soon(self.turn, number, scope)
            for period in range(PERIODS):
                self.weather.is_up = period % 2 == 0
                for scope in self.dice.sample(scopes, 10):
                    scope.cancel()
                await self.clock.advance(3)
            self.weather.is_up = True
            while self.ends.total() < TURNS:
                await self.clock.advance(3)


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_every_turn_ends_and_everything_is_given_back(seed):
    storm = Storm(seed)
    with anyio.fail_after(15):
        await storm.blow()  # its task group ends only once every task did

    assert storm.ends.total() == TURNS
    assert set(storm.ends) <= ENDS
    assert {"hello", "cancelled", "circuit_open"} <= set(storm.ends)
    assert (storm.weather.most, storm.facts.most, storm.weather.inside) == (SLOTS, 1, 0)
    counts = Counter(storm.facts.names)
    assert counts["circuit.opened"] >= 2
    assert counts["circuit.closed"] >= 1
    ended = (counts[f"provider.{how}"] for how in ("answered", "failed", "cancelled"))
    assert counts["provider.attempt"] == sum(ended)

    storm.clock.now += 60
    (standing,) = storm.table.standing()
    assert (standing.under_way, standing.waiting, standing.tokens) == (0, 0, 50)
    storm.weather.is_up, storm.weather.dice = True, Fair()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(storm.turn, TURNS, anyio.CancelScope())
            await storm.clock.advance(60)
    (standing,) = storm.table.standing()
    assert (standing.circuit, standing.under_way) == ("closed", 0)
    assert storm.heard[f"t{TURNS}"] == 1


class Fair(random.Random):
    """Dice by which nothing goes wrong."""

    def random(self):
        return 0.5
