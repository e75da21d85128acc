"""The next model."""

from dataclasses import replace

import anyio
import pytest

from eai_mcp.calls import AttemptFailed, TextDelta
from eai_mcp.errors import (
    AuthFailed,
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
from eai_mcp.observe import ignore
from eai_mcp.pipeline.fallback import Fallback
from tests.fakes import Scripted
from tests.pipeline.asking import HELLO, REQUEST, Ears, Facts
from tests.pipeline.clock import Clock


def chain(*steps, clock=None, observe=ignore):
    calls = [Scripted([step]) for step in steps]
    return calls, Fallback(list(zip("abcd", calls, strict=False)), observe=observe, clock=clock or Clock())


async def test_the_response_says_who_answered_and_why_the_others_did_not():
    """Issue 6: Fallback names who answered and why the first did not, in `warnings`."""
    facts, heard = Facts(), Ears()
    answer = replace(HELLO, warnings=("top_k was not sent",), attempts=2)
    _, fallback = chain(
        Unavailable("it is down", attempts=3), CircuitOpen("left alone"), answer, observe=facts
    )
    response = await fallback(REQUEST, heard)

    assert response == replace(
        HELLO,
        warnings=(
            "model 'a' did not answer (provider_unavailable: it is down); 'c' did",
            "model 'b' did not answer (circuit_open: left alone); 'c' did",
            "top_k was not sent",
        ),
        attempts=6,
    )
    assert heard == [
        AttemptFailed("it is down; now asking 'b'"),
        AttemptFailed("left alone; now asking 'c'"),
        TextDelta("Hello"),
    ]
    assert facts.of("provider.fallback") == [
        {"from": "a", "to": "b", "code": "provider_unavailable"},
        {"from": "b", "to": "c", "code": "circuit_open"},
    ]


async def test_the_first_model_that_answers_is_the_only_one_asked():
    calls, fallback = chain(HELLO, HELLO)
    assert await fallback(REQUEST, Ears()) is HELLO
    assert calls[1].requests == []


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("x"),
        RateLimited("no credit", retryable=False),
        Throttled("x"),
        Unavailable("x"),
        CallTimeout("x"),
        CircuitOpen("x"),
    ],
)
async def test_a_model_that_cannot_answer_for_now_is_replaced(error):
    _, fallback = chain(error, HELLO)
    assert (await fallback(REQUEST, Ears())).message == HELLO.message


@pytest.mark.parametrize(
    "error",
    [
        Rejected("x"),
        AuthFailed("x"),
        MissingKey("x"),
        ContextOverflow("x"),
        Refused("x"),
        Unavailable("x", partial="half"),
        ValueError("a bug"),
    ],
)
async def test_what_another_model_would_not_cure_goes_up_as_it_is(error):
    calls, fallback = chain(error, HELLO)
    with pytest.raises(type(error)) as raised:
        await fallback(REQUEST, Ears())
    assert raised.value is error
    assert str(error) in {"x", "a bug"}
    assert calls[1].requests == []


async def test_no_other_model_is_asked_once_text_was_heard():
    async def half(request, emit):
        await emit(TextDelta("half"))
        raise Unavailable("broke off")

    calls, fallback = chain(half, HELLO)
    heard = Ears()
    with pytest.raises(Unavailable, match=r"broke off$"):
        await fallback(REQUEST, heard)
    assert (heard, calls[1].requests) == ([TextDelta("half")], [])


async def test_no_other_model_is_asked_when_the_turn_is_over():
    clock = Clock()
    calls, fallback = chain(CallTimeout("late"), HELLO, clock=clock)
    with pytest.raises(CallTimeout, match=r"late$"):
        await fallback(replace(REQUEST, deadline=clock.now), Ears())
    assert calls[1].requests == []


async def test_no_other_model_is_asked_after_a_cancellation():
    with anyio.CancelScope() as scope:

        async def cancelled(request, emit):
            scope.cancel()
            await anyio.sleep_forever()

        calls, fallback = chain(cancelled, HELLO)
        await fallback(REQUEST, Ears())
    assert scope.cancelled_caught
    assert calls[1].requests == []


async def test_if_none_answers_the_first_error_goes_up_and_names_the_others():
    first = Unavailable("it is down", retryable=False, attempts=3, status=503)
    _, fallback = chain(first, RateLimited("x", retry_after_s=9), CircuitOpen("y", retry_after_s=4))
    with pytest.raises(Unavailable) as error:
        await fallback(REQUEST, Ears())

    told = error.value
    assert str(told) == told.message == "it is down; then 'b': rate_limited; then 'c': circuit_open"
    assert (told.retry_after_s, told.retryable) == (4, True)
    assert str(first) == first.message == "it is down", "its adapter may raise it again"
    assert told.details == {
        "status": 503,
        "attempts": 5,
        "tried": ("a: provider_unavailable", "b: rate_limited", "c: circuit_open"),
    }


async def test_an_error_that_ends_the_chain_is_told_behind_the_first():
    calls, fallback = chain(Unavailable("it is down"), Rejected("too odd"), HELLO)
    with pytest.raises(Unavailable, match="it is down; then 'b': provider_rejected"):
        await fallback(REQUEST, Ears())
    assert calls[2].requests == []


@pytest.mark.parametrize("error", [MissingKey("no key"), AuthFailed("revoked")])
async def test_a_stand_in_without_a_key_is_passed_over(error):
    _, fallback = chain(Unavailable("it is down"), error, HELLO)
    response = await fallback(REQUEST, Ears())
    assert response.message == HELLO.message
    assert [warning.partition(" did not")[0] for warning in response.warnings] == ["model 'a'", "model 'b'"]


async def test_the_error_of_a_model_that_had_begun_to_speak_is_the_one_that_counts():
    async def half(request, emit):
        await emit(TextDelta("half"))
        raise Unavailable("broke off", partial="half")

    _, fallback = chain(RateLimited("busy"), half)
    with pytest.raises(Unavailable, match="broke off; before it 'a': rate_limited") as error:
        await fallback(REQUEST, Ears())
    assert error.value.partial == "half"
