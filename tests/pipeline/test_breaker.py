"""The circuit breaker."""

from dataclasses import replace
from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eai_mcp.calls import Preparing, TextDelta
from eai_mcp.catalog.entries import Breaker as Threshold
from eai_mcp.errors import (
    AuthFailed,
    CallError,
    CallTimeout,
    CircuitOpen,
    ContextOverflow,
    MissingKey,
    RateLimited,
    Refused,
    Rejected,
    Throttled,
    Unavailable,
)
from eai_mcp.pipeline.breaker import Breaker, Circuit, judged
from tests.fakes import Scripted
from tests.pipeline.asking import BUSY, DOWN, HELLO, REQUEST, Ears, Facts, Gate, forever
from tests.pipeline.clock import Clock, settle

TWICE = Threshold(failures=2, recovery_s=30)


def breaker(call, circuit, clock, **fields):
    return Breaker(call, "a", circuit, threshold=fields.pop("threshold", TWICE), clock=clock, **fields)


async def asked(call, circuit, clock, **fields):
    """The response, or the error."""
    try:
        return await breaker(call, circuit, clock, **fields)(REQUEST, Ears())
    except (CallError, ValueError) as error:
        return error


async def test_it_opens_after_failures_in_a_row_and_closes_after_one_success():
    clock, circuit, facts = Clock(), Circuit(), Facts()
    call = Scripted([DOWN, DOWN, HELLO, HELLO])
    for _ in range(2):
        assert await asked(call, circuit, clock, observe=facts) is DOWN
    clock.now += 10
    refusal = await asked(call, circuit, clock, observe=facts)
    assert isinstance(refusal, CircuitOpen)
    assert (refusal.retry_after_s, refusal.retryable) == (20, True)
    assert "'a'" in refusal.message
    assert circuit.state(clock.now, 30) == "open"
    clock.now += 20
    assert circuit.state(clock.now, 30) == "half_open"
    for _ in range(2):
        assert await asked(call, circuit, clock, observe=facts) == HELLO
    assert circuit.state(clock.now, 30) == "closed"
    assert facts.names == ["circuit.opened", "circuit.rejected", "circuit.half_open", "circuit.closed"]
    assert facts.of("circuit.opened") == [{"model": "a", "failures": 2, "seconds": 30}]


async def test_the_first_that_is_heard_of_a_single_try_lets_the_others_in():
    """Issue 6: "one half-open probe": a long reply must not shut the others out until its end."""
    clock, circuit, facts = Clock(), Circuit(), Facts()
    begun, ended = anyio.Event(), anyio.Event()

    async def streams(request, emit):
        await emit(Preparing("waking up"))
        assert circuit.state(clock.now, 30) == "half_open"
        await emit(TextDelta("Once"))
        begun.set()
        await ended.wait()
        raise DOWN

    call = Scripted([DOWN, DOWN, streams, HELLO])
    for _ in range(2):
        await asked(call, circuit, clock)
    clock.now += 30
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(asked, call, circuit, clock, observe=facts))
        await begun.wait()
        assert await asked(call, circuit, clock, observe=facts) == HELLO
        ended.set()
    assert (circuit.failures, circuit.state(clock.now, 30)) == (1, "closed")
    assert facts.names == ["circuit.half_open", "circuit.closed"]


async def test_a_success_in_between_starts_the_count_again():
    clock, circuit = Clock(), Circuit()
    call = Scripted([DOWN, HELLO, DOWN])
    for _ in range(3):
        await asked(call, circuit, clock)
    assert (circuit.failures, circuit.state(clock.now, 30)) == (1, "closed")


async def test_a_single_try_that_fails_opens_it_for_the_whole_time_again():
    clock, circuit = Clock(), Circuit(failures=2, opened_at=970.0)
    assert await asked(Scripted([DOWN]), circuit, clock) is DOWN
    assert circuit.left_s(clock.now, 30) == 30


async def test_only_one_call_tries_a_half_open_circuit():
    clock, circuit, gate = Clock(), Circuit(failures=2, opened_at=970.0), Gate()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, gate, circuit, clock)
            await settle()
            for _ in range(4):
                refusal = await asked(gate, circuit, clock)
                assert isinstance(refusal, CircuitOpen)
                assert refusal.retry_after_s == 5
            gate.let_go.set()
    assert (gate.calls, circuit.state(clock.now, 30)) == (1, "closed")


async def test_a_single_try_that_is_cancelled_leaves_its_place_to_the_next():
    clock, circuit = Clock(), Circuit(failures=2, opened_at=970.0)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await breaker(forever, circuit, clock)(REQUEST, Ears())
    assert circuit.state(clock.now, 30) == "half_open"
    assert await asked(Scripted([HELLO]), circuit, clock) == HELLO
    assert circuit.state(clock.now, 30) == "closed"


@pytest.mark.parametrize("outcome", ["answers", "fails"])
async def test_a_call_from_before_the_opening_changes_nothing_any_more(outcome):
    clock, circuit, gate = Clock(), Circuit(), Gate()

    async def slow(request, emit):
        await gate(request, emit)
        if outcome == "fails":
            raise DOWN
        return HELLO

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, slow, circuit, clock)
            await settle()
            for _ in range(2):
                await asked(Scripted([DOWN]), circuit, clock)
            clock.now += 10
            gate.let_go.set()
    assert (circuit.state(clock.now, 30), circuit.left_s(clock.now, 30)) == ("open", 20)


async def test_a_call_from_before_the_opening_does_not_end_the_single_try():
    clock, circuit, old, new = Clock(), Circuit(), Gate(), Gate()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, old, circuit, clock)
            await settle()
            for _ in range(2):
                await asked(Scripted([DOWN]), circuit, clock)
            clock.now += 30
            tasks.start_soon(asked, new, circuit, clock)
            await settle()
            old.let_go.set()
            await settle()
            assert circuit.is_trying
            new.let_go.set()
    assert circuit.state(clock.now, 30) == "closed"


async def test_a_bug_says_nothing_about_the_provider():
    clock, circuit = Clock(), Circuit(failures=1)
    assert isinstance(await asked(Scripted([ValueError("a bug")]), circuit, clock), ValueError)
    assert circuit == Circuit(failures=1)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Unavailable("not reached"), "down"),
        (Unavailable("overloaded", status=529), "down"),
        (Unavailable("broken", status=500, retryable=False), "down"),
        (RateLimited("busy", status=503), "down"),
        (CallTimeout("gateway", status=504), "down"),
        (CallTimeout("silent"), "down"),
        (RateLimited("busy", status=429), "up"),
        (RateLimited("busy"), "up"),
        (AuthFailed("key", status=401), "up"),
        (Rejected("wrong", status=400), "up"),
        (Rejected("it cannot see pictures", status=500), "up"),
        (Refused("no"), "up"),
        (ContextOverflow("too long", status=413), "up"),
        (Unavailable("conflict", status=409), "up"),
        (CallTimeout("it gave up", status=408), "up"),
        (ContextOverflow("too long by our count"), "neutral"),
        (MissingKey("no key"), "neutral"),
        (Rejected("the URL is malformed"), "neutral"),
        (Throttled("our limit"), "neutral"),
        (CircuitOpen("another circuit"), "neutral"),
        (Unavailable("its certificate is not valid", retryable=False), "neutral"),
    ],
)
async def test_what_an_error_says_about_the_provider(error, verdict):
    assert judged(error, is_late=False) == verdict


@pytest.mark.parametrize(("left", "failures"), [(5, 2), (0, 1), (None, 2)])
async def test_a_time_out_is_the_providers_unless_the_turn_had_no_time_left(left, failures):
    clock, circuit = Clock(), Circuit(failures=1)
    deadline = None if left is None else clock.now + left
    with pytest.raises(CallTimeout):
        await breaker(Scripted([CallTimeout("late")]), circuit, clock, threshold=Threshold(failures=9))(
            replace(REQUEST, deadline=deadline), Ears()
        )
    assert circuit.failures == failures


async def test_a_provider_that_asks_to_wait_is_up():
    clock, circuit = Clock(), Circuit(failures=2, opened_at=970.0)
    assert await asked(Scripted([BUSY]), circuit, clock) is BUSY
    assert circuit.state(clock.now, 30) == "closed"


async def test_each_use_brings_its_own_numbers():
    clock, circuit = Clock(), Circuit(failures=3)
    await asked(Scripted([DOWN]), circuit, clock, threshold=Threshold(failures=9))
    assert circuit.state(clock.now, 30) == "closed"
    await asked(Scripted([DOWN]), circuit, clock, threshold=Threshold(failures=2))
    assert circuit.state(clock.now, 30) == "open"
    clock.now += 3
    assert await asked(Scripted([HELLO]), circuit, clock, threshold=Threshold(recovery_s=3)) == HELLO


class Circuits(RuleBasedStateMachine):
    """A circuit beside the plainest account of what it should do."""

    def __init__(self):
        super().__init__()
        self.circuit, self.now = Circuit(), 0.0
        self.calls: list[tuple[int, str]] = []  # their generation, and the state that they began in
        self.row = 0
        self.open_until: float | None = None
        self.opened = 0  # how often; calls belong to the number that they began under

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def enter(self):
        generation = self.circuit.enter(self.now, 10)
        trying = any(state == "trying" for _, state in self.calls)
        if self.open_until is None:
            assert generation is not None
            self.calls.append((generation, f"closed {self.opened}"))
        elif self.now < self.open_until or trying:
            assert generation is None
        else:
            assert generation is not None
            self.calls.append((generation, "trying"))

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 99), verdict=st.sampled_from(["up", "down", "neutral"]))
    def leave(self, which, verdict):
        generation, began = self.calls.pop(which % len(self.calls))
        changed = self.circuit.leave(generation, verdict, self.now, 3)
        counts = began == "trying" or (self.open_until is None and began == f"closed {self.opened}")
        if not counts or verdict == "neutral":
            assert changed is None
        elif verdict == "up":
            self.row, self.open_until = 0, None
            assert changed == ("closed" if began == "trying" else None)
        else:
            self.row += 1
            opens = began == "trying" or self.row >= 3
            assert changed == ("open" if opens else None)
            if opens:
                self.open_until, self.opened = self.now + 10, self.opened + 1

    @invariant()
    def stands_as_told(self):
        trying = sum(state == "trying" for _, state in self.calls)
        assert trying <= 1
        assert self.circuit.is_trying == bool(trying)
        expected = "closed"
        if self.open_until is not None:
            expected = "half_open" if trying or self.now >= self.open_until else "open"
        assert self.circuit.state(self.now, 10) == expected


TestCircuits = Circuits.TestCase


@given(st.floats(0, 1e6), st.floats(0.1, 1e5), st.floats(0, 1e6))
def test_the_time_that_is_told_is_the_time_after_which_it_may_be_tried(opened_at, recovery_s, later):
    circuit = Circuit(failures=5, opened_at=opened_at)
    left = circuit.left_s(opened_at + later, recovery_s)
    assert (left > 0) == (circuit.state(opened_at + later, recovery_s) == "open")
