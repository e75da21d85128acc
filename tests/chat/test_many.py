"""Many turns at once, through guards, while the provider goes down and comes back; and listeners that block.

Issue 6: 1,000 concurrent turns through a breaker that opens and closes: invariants hold, no task leaked, on
asyncio and trio.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.catalog.entries import Breaker
from eai_mcp.chat.registry import Registry
from eai_mcp.errors import EaiError, RateLimited, Unavailable
from eai_mcp.messages import closing
from eai_mcp.observe import Observers
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole
from eai_mcp.server import progress
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import begin, history, opened
from tests.fakes import Held, said
from tests.pipeline.asking import Facts, model
from tests.pipeline.clock import Clock

RECOVERY_S, PERIOD_S, TIMES = 1.0, 3.0, 6
ENDS = {"completed", "interrupted", "circuit_open", "provider_unavailable", "rate_limited"}
PATIENT, HASTY = {"attempts": 3}, {"attempts": 1}

pytestmark = pytest.mark.timeout(90)


class Provider:
    """Is up or down, takes its time, says the answer in two pieces, and counts who asks."""

    def __init__(self, clock: Clock, dice: random.Random) -> None:
        self.clock, self.dice = clock, dice
        self.is_up, self.is_moody = True, True
        self.inside = self.most = 0

    async def __call__(self, request, emit):
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.clock.sleep(self.dice.choice([0.1, 0.5, 1]))
            if not self.is_up:
                raise Unavailable("down", status=503)
            if self.is_moody and self.dice.random() < 0.02:
                raise RateLimited("busy", status=429, retry_after_s=0.2)
            await emit(TextDelta("hel"))
            await self.clock.sleep(0.5)
            await emit(TextDelta("lo"))
            return said("hello", served_by="a")
        finally:
            self.inside -= 1


class Crowd:
    """So many talk at once, each in a session; the calls of every other one are tried again."""

    def __init__(self, turns: int, seed: int) -> None:
        self.dice, self.clock, self.facts = random.Random(seed), Clock(0.0), Facts()
        self.names = [f"s{number}" for number in range(turns)]
        self.rate, self.burst, self.slots = turns / 20, turns // 10, turns // 20
        self.observe = Observers([self.facts])
        self.provider = Provider(self.clock, self.dice)
        self.guards = Guards(
            clock=self.clock, sleep=self.clock.sleep, observe=self.observe, chance=self.dice.random
        )
        self.calls = {"plain": self._call(PATIENT), "other": self._call(HASTY)}
        self.ends: Counter[str] = Counter()
        self.by_name: dict[str, str] = {}

    def _call(self, tries):
        breaker = Breaker(failures=4, recovery_s=RECOVERY_S)
        asked = model(rate=self.rate, burst=self.burst, concurrency=self.slots, breaker=breaker, **tries)
        guarded = self.guards.guarded(asked, self.provider)
        return whole([("a", guarded)], observe=self.observe, clock=self.clock)

    @asynccontextmanager
    async def registry(self, catalog, path) -> AsyncIterator[Registry]:
        """On a store of its own. Nobody cancels its tasks: the block ends when the last of them has."""
        store = SqliteStore(path)
        try:
            async with anyio.create_task_group() as tasks:
                yield Registry(
                    store=store,
                    catalog=catalog,
                    call_for=lambda model: self.calls[model.name],
                    tasks=tasks,
                    default_model="plain",
                    observe=self.observe,
                )
        finally:
            await store.aclose()

    async def talk(self, registry, number, name):
        """A turn, and another one while they come to nothing, as a caller does who is asked to wait."""
        for _ in range(TIMES):
            turn = await begin(registry, "hi", session=name, model=("plain", "other")[number % 2])
            end, wait_s = await self._end(registry, turn)
            self.ends[end] += 1
            assert turn.heard.text in {"", "hel", "hello"}, "text was doubled"
            if end in {"completed", "interrupted"}:
                break
            await self.clock.sleep(wait_s)
        self.by_name[name] = end

    async def _end(self, registry, turn):
        try:
            return (await registry.reply(turn, 80)).status, 0
        except EaiError as error:
            return error.code, error.retry_after_s or 1

    async def until_all_ask(self):
        """Every turn has come as far as the guards, whatever became of it there."""
        while self.facts.names.count("call.started") < len(self.names):
            await anyio.wait_all_tasks_blocked()
        await self.clock.advance(0)

    async def run(self, registry):
        async with anyio.create_task_group() as tasks:
            for number, name in enumerate(self.names):
                tasks.start_soon(self.talk, registry, number, name)
            await self.until_all_ask()
            for period in range(16):
                self.provider.is_up = period % 2 == 0
                for name in self.dice.sample(self.names, len(self.names) // 50):
                    tasks.start_soon(self.stop, registry, name)
                await self.clock.advance(PERIOD_S)
            self.provider.is_up = True
            while len(self.by_name) < len(self.names):
                await self.clock.advance(PERIOD_S)
                await anyio.wait_all_tasks_blocked()

    async def stop(self, registry, name):
        with suppress(EaiError):  # it ended by itself
            await registry.interrupt("", name)

    def check_facts(self):
        """What begins ends, once; and what is told of a turn begins and ends with it."""
        counts = Counter(self.facts.names)
        for begun, ends in {
            "turn.started": ("turn.completed", "turn.failed", "turn.cancelled"),
            "call.started": ("call.completed", "call.failed", "call.cancelled"),
            "provider.attempt": ("provider.answered", "provider.failed", "provider.cancelled"),
        }.items():
            assert counts[begun] == sum(counts[end] for end in ends), begun
        assert counts["turn.started"] == self.ends.total() >= counts["call.started"]
        assert min(counts["circuit.opened"], counts["circuit.closed"]) >= 1
        by_turn: dict[str, list[str]] = {}
        for fact in self.facts:
            if fact.turn_id:
                by_turn.setdefault(fact.turn_id, []).append(fact.name)
        assert len(by_turn) == self.ends.total()
        for names in by_turn.values():
            assert names[:2] == ["turn.received", "turn.started"]
            assert names[-1] in {"turn.completed", "turn.failed", "turn.cancelled"}
        numbers = [fact.seq for fact in self.facts]
        assert numbers == sorted(set(numbers))

    def check_guards(self):
        """Every slot and every token is back, and the circuit lets calls through again."""
        assert (self.provider.inside, self.provider.most) == (0, self.slots)
        self.clock.now += 60
        (standing,) = self.guards.standing()
        assert (standing.under_way, standing.waiting, standing.tokens) == (0, 0, self.burst)
        assert standing.circuit != "open"


async def check_histories(registry, ends):
    """A turn that came to nothing left no trace, and no other one is torn."""
    for name, end in ends.items():
        messages = await history(registry, name)
        assert closing(messages) == ()
        said = [(message.role, message.text, message.partial) for message in messages]
        whole = [("user", "hi", False), ("assistant", "hello", False)]
        torn = [[], *([("user", "hi", False), ("assistant", text, True)] for text in ("hel", "hello"))]
        assert said in ([whole] if end == "completed" else torn if end == "interrupted" else [[]]), end


def running():
    """The tasks there are, by their ids."""
    return {task.id for task in anyio.get_running_tasks()}


@pytest.mark.parametrize(("turns", "kind"), [(1000, "memory"), (150, "file")])
async def test_whatever_happens_to_the_provider_every_turn_ends_and_nothing_is_left(
    catalog, tmp_path, turns, kind
):
    """Issue 6: "1,000 concurrent turns through a breaker that opens and closes: invariants hold, no task
    leaked, on asyncio and trio"."""
    crowd, before = Crowd(turns, seed=1), running()
    with anyio.fail_after(80):
        async with crowd.registry(catalog, tmp_path / "s.db" if kind == "file" else None) as registry:
            await crowd.run(registry)
            assert len(crowd.by_name) == turns
            assert set(crowd.ends) <= ENDS
            if kind == "memory":
                assert set(crowd.ends) == ENDS
                assert crowd.facts.names.count("circuit.opened") >= 2
            await check_histories(registry, crowd.by_name)
            page = await registry.sessions("", limit=2 * turns)
            assert {row.running for row in page} == {None}
            crowd.check_facts()
            done = await registry.reply(await talk_again(crowd, registry), 10)
            assert done.status == "completed"
    assert running() == before
    crowd.check_guards()


async def talk_again(crowd, registry):
    """A turn once all is over, in a session whose last one did not go well."""
    crowd.clock.now += 60
    crowd.provider.is_moody = False
    name = next(name for name, end in crowd.by_name.items() if end != "completed")
    turn = await begin(registry, "hi", session=name)
    while not turn.done.is_set():
        await crowd.clock.advance(PERIOD_S)
        await anyio.wait_all_tasks_blocked()
    return turn


async def test_a_listener_that_blocks_slows_its_own_turn_at_most(catalog):
    """Issue 6: "a slow listener slows only its own turn"."""
    steps = [Held("first "), Held("second "), Held("third ")]
    heard: dict[str, str] = {}
    blocked, let_go = anyio.Event(), anyio.Event()

    async with opened(catalog, *steps) as (registry, _), anyio.create_task_group() as tasks:

        async def follow(turn):
            async def report(seconds, text):
                if turn.session == "x":
                    blocked.set()
                    await let_go.wait()
                if not text.startswith("plain: "):  # a sign of life
                    heard[turn.session] = heard.get(turn.session, "") + text

            await progress.follow(turn, report, heartbeat_s=0.001)

        turns = [await begin(registry, "hi", session=name) for name in "xyz"]
        for turn in turns:
            tasks.start_soon(follow, turn)
        await blocked.wait()
        for step in steps:
            await step.reached.wait()
            step.let_go.set()
        replies = [(await registry.reply(turn, 5)).reply for turn in turns]
        assert replies == ["first done", "second done", "third done"]
        assert "x" not in heard
        for name, reply in zip("yz", replies[1:], strict=True):
            assert reply.startswith(heard[name])
        let_go.set()
    assert replies[0].startswith(heard["x"])
