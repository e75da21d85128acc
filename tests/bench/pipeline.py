"""What all guards cost a call that succeeds at once.

    python tests/bench/pipeline.py [ROUNDS] [--calls N] [--trio]

The same call, which says a word and answers, is made bare, then with everything round it: a middleware, a
fallback that is not needed, retry, breaker, rate limit, slots and deadline. Each way is one round after the
other, in turn; what counts is the median of this process's CPU time for a call. Where `stamina` is installed
its retry alone is shown as well, and OpenTelemetry's API without an SDK.

Issue 6: cost of the whole pipeline on a call that succeeds: <= 100 us CPU without telemetry, <= 150 us with
API-only spans; `stamina` alone measured 62 us, so decide with figures.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse, TextDelta, unheard
from eai_mcp.catalog.entries import Model, Reliability
from eai_mcp.messages import Usage, assistant, user
from eai_mcp.middleware import named
from eai_mcp.observe import Fact, Observer, Observers, ignore
from eai_mcp.pipeline.guards import Guards
from eai_mcp.pipeline.whole import whole

REQUEST = ModelRequest(messages=(user("Hello"),), session="s", turn_id="t", request_id="r")
HELLO = ModelResponse(message=assistant("Hello"), stop="end", usage=Usage(1, 1), served_by="a")
EVERY = Reliability(rate=1e6, burst=1_000_000, concurrency=100)

Ways: TypeAlias = dict[str, Callable[[], Awaitable[object]]]


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description="The whole pipeline beside the bare call.")
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--calls", type=int, default=1000, help="in each round")
    parser.add_argument("--trio", action="store_true", help="on trio; otherwise on asyncio")
    options = parser.parse_args()
    anyio.run(measured, options.rounds, options.calls, backend="trio" if options.trio else "asyncio")


async def measured(rounds: int, calls: int) -> None:
    """All ways in turn, since machines are noisy."""
    ways = made()
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begun = time.process_time()
            for _ in range(calls):
                await way()
            if number:  # the first round warms up
                took[name].append((time.process_time() - begun) / calls * 1e6)
    bare = statistics.median(took["bare"])
    for name, figures in took.items():
        median = statistics.median(figures)
        print(
            f"{name:<36} {median:6.1f} us   more than bare: {median - bare:6.1f} us   best {min(figures):.1f}"
        )


def made() -> Ways:
    """Each way to make the call."""
    told: list[Fact] = []

    def remember(fact: Fact) -> None:
        told.append(fact)
        if len(told) > 1000:
            told.clear()

    ways: Ways = {
        "bare": lambda: answer(REQUEST, unheard),
        "guards alone": asking(guarded("a", ignore, Reliability())),
        "everything, facts ignored": asking(everything(ignore)),
        "everything, facts into a list": asking(everything(remember)),
    }
    if telemetry := api_only():
        ways["everything, OpenTelemetry's API"] = asking(everything(telemetry))
    if retrying := stamina_alone():
        ways["stamina's retry alone"] = retrying
    return ways


async def answer(request: ModelRequest, emit: Emit) -> ModelResponse:
    """The call: a word, and the answer."""
    await emit(TextDelta("Hello"))
    return HELLO


class Through:
    """A middleware that does nothing."""

    async def call(self, request: ModelRequest, emit: Emit, go_on: Call) -> ModelResponse:
        """Go on."""
        return await go_on(request, emit)


def asking(call: Call) -> Callable[[], Awaitable[object]]:
    """Makes one call."""
    return lambda: call(REQUEST, unheard)


def guarded(name: str, observer: Observer, reliability: Reliability) -> Call:
    """The guards of one model."""
    model = Model(name=name, provider="fake", model=name, reliability=reliability)
    return Guards(observe=observer).guarded(model, answer)


def everything(observer: Observer) -> Call:
    """Every layer that there is."""
    links = [(name, guarded(name, observer, EVERY)) for name in ("a", "b")]
    return whole(links, layers=named([Through()]), observe=observer)


def api_only() -> Observer | None:
    """The spans of a turn that is under way, for an SDK that nobody has set up."""
    try:
        from eai_mcp.telemetry.observer import Telemetry
    except ImportError:
        return None
    observers = Observers([Telemetry()])
    observers(Fact("turn.started", REQUEST.session, REQUEST.turn_id, REQUEST.request_id, {"model": "a"}))
    return observers


def stamina_alone() -> Callable[[], Awaitable[object]] | None:
    """The bare call in the retry loop of a library that is no dependency of ours."""
    try:
        retry_context = importlib.import_module("stamina").retry_context
    except ImportError:
        return None

    async def retrying() -> object:
        async for attempt in retry_context(on=ValueError, attempts=3):
            with attempt:
                return await answer(REQUEST, unheard)
        return None

    return retrying


if __name__ == "__main__":
    main()
