"""The table of what guards share: one circuit, bucket and set of slots for each model at each provider.

It outlives the calls that use it, so a turn that is resumed, another session, or a model whose file was
changed finds the provider as the last one left it. No number stands in there: each call brings its own.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio

from eai_mcp.calls import Call
from eai_mcp.catalog.entries import Model, Reliability
from eai_mcp.middleware import Failure
from eai_mcp.observe import Observer, ignore
from eai_mcp.pipeline.breaker import Breaker, Circuit, State
from eai_mcp.pipeline.capacity import Capacity, Slots
from eai_mcp.pipeline.deadline import Deadline
from eai_mcp.pipeline.hearing import Clock
from eai_mcp.pipeline.numbers import Numbers, settled
from eai_mcp.pipeline.rate import Bucket, RateLimit
from eai_mcp.pipeline.retry import Retry

Key: TypeAlias = tuple[str, str | None, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the guards of a model at a provider stand; `names` are the catalog's for it.

    `open_for_s` is how long it will still not be asked, `tokens` how many calls could go at once, each None
    where there is no such thing; `waiting` and `under_way` count calls.
    """

    provider: str
    model: str
    names: tuple[str, ...]
    circuit: State
    failures: int
    open_for_s: float | None
    tokens: float | None
    waiting: int
    under_way: int
    rate: float | None
    concurrency: int | None


@dataclass(slots=True)
class _Shared:
    circuit: Circuit = field(default_factory=Circuit)
    bucket: Bucket = field(default_factory=Bucket)
    slots: Slots = field(default_factory=Slots)


class Guards:
    """Puts guards round calls. One for a process.

    `defaults` are for models that do not say otherwise. `failed` is told of each attempt that failed.
    """

    def __init__(
        self,
        *,
        observe: Observer = ignore,
        defaults: Reliability = Reliability(),
        failed: Callable[[Failure], Awaitable[None]] | None = None,
        clock: Clock = anyio.current_time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._observe = observe
        self._defaults = defaults
        self._failed = failed
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._shared: dict[Key, _Shared] = {}
        self._names: dict[str, tuple[Key, Numbers]] = {}

    def guarded(self, model: Model, call: Call, *, credential: str = "") -> Call:
        """`call`, which asks `model`, with every guard of one model round it.

        `credential` tells one key from another without being one.
        """
        numbers = settled(model.reliability, self._defaults)
        key = (model.provider, model.base_url, model.model, credential)
        shared = self._shared.setdefault(key, _Shared())
        self._names.pop(model.name, None)  # the last one to come speaks for all in `standing`
        self._names[model.name] = (key, numbers)
        name, observe, clock = model.name, self._observe, self._clock
        call = Deadline(call, name, limit_s=numbers.attempt_timeout_s, clock=clock)
        call = Capacity(call, name, shared.slots, most=numbers.concurrency, clock=clock)
        if numbers.rate is not None:
            call = RateLimit(
                call,
                name,
                shared.bucket,
                rate=numbers.rate,
                burst=numbers.burst,
                observe=observe,
                clock=clock,
                sleep=self._sleep,
            )
        call = Breaker(call, name, shared.circuit, threshold=numbers.breaker, observe=observe, clock=clock)
        return Retry(
            call,
            model,
            numbers=numbers,
            observe=observe,
            failed=self._failed,
            clock=clock,
            sleep=self._sleep,
            chance=self._chance,
        )

    def standing(self) -> list[Standing]:
        """How each stands now, without its URL and its key."""
        by_key: dict[Key, list[tuple[str, Numbers]]] = {}
        for name, (key, numbers) in self._names.items():
            by_key.setdefault(key, []).append((name, numbers))
        now = self._clock()
        return [
            _standing(key, self._shared[key], tuple(sorted(name for name, _ in uses)), uses[-1][1], now)
            for key, uses in by_key.items()
        ]


def _standing(key: Key, shared: _Shared, names: tuple[str, ...], numbers: Numbers, now: float) -> Standing:
    provider, _, model, _ = key
    circuit, recovery_s = shared.circuit, numbers.breaker.recovery_s
    state = circuit.state(now, recovery_s)
    level = (
        None
        if numbers.rate is None
        else max(shared.bucket.level(now, rate=numbers.rate, burst=numbers.burst), 0.0)
    )
    return Standing(
        provider=provider,
        model=model,
        names=names,
        circuit=state,
        failures=circuit.failures,
        open_for_s=circuit.left_s(now, recovery_s) if state == "open" else None,
        tokens=level,
        waiting=shared.bucket.waiting + len(shared.slots.queue),
        under_way=shared.slots.under_way,
        rate=numbers.rate,
        concurrency=numbers.concurrency,
    )
