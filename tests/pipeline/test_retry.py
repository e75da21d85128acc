"""The same model again."""

from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.calls import AttemptFailed, Preparing, TextDelta
from eai_mcp.errors import (
    AuthFailed,
    CallTimeout,
    CircuitOpen,
    ContextOverflow,
    RateLimited,
    Refused,
    Throttled,
    TurnOver,
    Unavailable,
)
from eai_mcp.middleware import Failure
from eai_mcp.observe import ignore
from eai_mcp.pipeline.numbers import Numbers
from eai_mcp.pipeline.retry import Retry, backoff
from tests.fakes import Scripted, said
from tests.pipeline.asking import BUSY, DOWN, HELLO, REQUEST, Ears, Facts, forever, model
from tests.pipeline.clock import Hasty


def retry(call, clock=None, *, observe=ignore, failed=None, chance=0.5, **numbers):
    clock = clock or Hasty()
    return Retry(
        call,
        model(),
        numbers=Numbers(**numbers),
        observe=observe,
        failed=failed,
        clock=clock,
        sleep=clock.sleep,
        chance=lambda: chance,
    )


async def test_a_failed_attempt_is_announced_and_tried_again_after_a_pause():
    call, clock, heard = Scripted([DOWN, BUSY, HELLO]), Hasty(), Ears()
    response = await retry(call, clock)(REQUEST, heard)

    assert response == replace(HELLO, attempts=3)
    assert heard == [
        AttemptFailed("nobody is there"),
        AttemptFailed("too many requests"),
        TextDelta("Hello"),
    ]
    assert clock.waits == [0.5, 1.0]
    assert call.requests == [REQUEST, replace(REQUEST, attempt=2), replace(REQUEST, attempt=3)]


async def test_a_success_at_once_is_handed_on_as_it_is():
    call = Scripted([HELLO])
    assert await retry(call)(REQUEST, Ears()) is HELLO
    assert call.requests[0] is REQUEST


async def test_the_last_attempts_error_goes_up_and_says_how_many_there_were():
    clock = Hasty()
    with pytest.raises(Unavailable) as error:
        await retry(Scripted([DOWN, BUSY, Unavailable("gone", status=503)]), clock)(REQUEST, Ears())
    assert error.value.details == {"status": 503, "attempts": 3}
    assert clock.waits == [0.5, 1.0]


@pytest.mark.parametrize(
    "error",
    [
        AuthFailed("key"),
        ContextOverflow("long"),
        Refused("no"),
        Throttled("our limit"),
        CircuitOpen("open"),
        RateLimited("no credit", retryable=False),
        Unavailable("no certificate", retryable=False),
        Unavailable("broke off", partial="half"),
        RateLimited("for ever", retry_after_s=121),
        TurnOver("the turn has ended"),
        ValueError("a bug"),
    ],
)
async def test_what_will_not_pass_is_not_tried_again(error):
    clock, heard = Hasty(), Ears()
    with pytest.raises(type(error)) as raised:
        await retry(Scripted([error]), clock)(REQUEST, heard)
    assert raised.value is error
    assert (clock.waits, heard) == ([], [])


async def test_nothing_is_tried_again_once_text_was_heard():
    async def half(request, emit):
        await emit(TextDelta("half"))
        raise Unavailable("broke off")

    heard = Ears()
    with pytest.raises(Unavailable):
        await retry(half)(REQUEST, heard)
    assert heard == [TextDelta("half")]


async def test_what_is_no_text_does_not_stand_in_the_way():
    async def waking(request, emit):
        await emit(Preparing("waking up"))
        await emit(TextDelta(""))
        raise DOWN

    assert (await retry(Scripted([waking, HELLO]))(REQUEST, Ears())).attempts == 2


@pytest.mark.parametrize(("asked", "waited"), [(0.1, 0.5), (7, 7), (120, 120)])
async def test_the_provider_may_ask_for_a_longer_pause(asked, waited):
    clock = Hasty()
    await retry(Scripted([RateLimited("busy", retry_after_s=asked), HELLO]), clock)(REQUEST, Ears())
    assert clock.waits == [waited]


@pytest.mark.parametrize(("left", "attempts"), [(0.4, 1), (0.5, 1), (0.6, 2), (0, 1), (-1, 1)])
async def test_nothing_is_tried_again_when_the_turn_would_be_over_by_then(left, attempts):
    clock, call = Hasty(), Scripted([DOWN] * 2)
    with pytest.raises(Unavailable):
        await retry(call, clock, attempts=2)(replace(REQUEST, deadline=clock.now + left), Ears())
    assert len(call.requests) == attempts


@pytest.mark.parametrize("place", ["call", "pause"])
async def test_cancellation_is_honoured_at_once_and_is_no_failure(place):
    facts, failures = Facts(), []

    async def failed(failure):
        failures.append(failure)

    with anyio.CancelScope() as scope:

        async def cancelled(request, emit):
            if place == "pause":
                raise DOWN
            scope.cancel()
            return await forever(request, emit)

        async def sleep(seconds):
            scope.cancel()
            await anyio.sleep_forever()

        clock = Hasty()
        call = Scripted([cancelled])
        await Retry(call, model(), numbers=Numbers(), observe=facts, failed=failed, clock=clock, sleep=sleep)(
            REQUEST, Ears()
        )
    assert scope.cancelled_caught
    if place == "call":
        assert (facts.names, failures) == (["provider.attempt", "provider.cancelled"], [])
    else:
        assert facts.names == ["provider.attempt", "provider.failed", "provider.retry"]
    assert len(call.requests) == 1


async def test_facts_tell_of_each_attempt_and_hold_no_text():
    clock, facts = Hasty(), Facts()

    async def slow(request, emit):
        clock.now += 2
        await emit(TextDelta("secret"))
        clock.now += 1
        return said("secret")

    await retry(Scripted([Unavailable("x", status=503), slow]), clock, observe=facts)(REQUEST, Ears())

    of = {"model": "a", "provider": "fake", "wire_model": "a-1"}
    assert [(fact.name, dict(fact.fields)) for fact in facts] == [
        ("provider.attempt", {**of, "attempt": 1}),
        (
            "provider.failed",
            {**of, "attempt": 1, "seconds": 0, "code": "provider_unavailable", "status": 503},
        ),
        ("provider.retry", {"model": "a", "attempt": 1, "wait_s": 0.5, "code": "provider_unavailable"}),
        ("provider.attempt", {**of, "attempt": 2}),
        (
            "provider.answered",
            {
                **of,
                "attempt": 2,
                "seconds": 3,
                "first_chunk_s": 2,
                "stop": "end",
                "input": 2,
                "output": 3,
                "cache_read": 0,
                "reasoning": 0,
            },
        ),
    ]
    assert {(fact.session, fact.turn_id, fact.request_id) for fact in facts} == {("s", "t", "r")}
    assert "secret" not in repr(list(facts))


async def test_a_bug_is_a_failed_attempt_as_well():
    facts = Facts()
    with pytest.raises(ValueError, match="a bug"):
        await retry(Scripted([ValueError("a bug")]), observe=facts)(REQUEST, Ears())
    assert facts.of("provider.failed")[0]["code"] == "internal"


async def test_each_failed_attempt_is_shown_to_the_hook():
    failures = []

    async def failed(failure):
        failures.append(failure)

    with pytest.raises(Unavailable):
        await retry(Scripted([BUSY, DOWN]), failed=failed, attempts=2)(REQUEST, Ears())
    ids = {"session": "s", "turn_id": "t", "request_id": "r", "model": "a"}
    assert failures == [
        Failure(place="attempt", error=BUSY, attempt=1, **ids),
        Failure(place="attempt", error=DOWN, attempt=2, **ids),
    ]


@given(st.integers(1, 20), st.floats(0, 3600), st.floats(0, 3600), st.floats(0, 1))
def test_pauses_double_up_to_the_longest_and_vary_by_a_fifth(attempt, first, more, chance):
    """Issue 6: retry with backoff (jitter, cap)."""
    numbers = Numbers(backoff_first_s=first, backoff_longest_s=first + more)
    pause = backoff(attempt, numbers=numbers, chance=chance)
    plain = min(first + more, first * 2 ** (attempt - 1))
    assert plain * 0.8 - 1e-9 <= pause <= plain * 1.2 + 1e-9


async def test_a_time_out_of_the_attempt_is_tried_again():
    assert (await retry(Scripted([CallTimeout("silent"), HELLO]))(REQUEST, Ears())).attempts == 2
