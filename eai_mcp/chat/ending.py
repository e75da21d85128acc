"""How a turn ended: what its caller gets, what the history keeps, and both told again later."""

import functools
from dataclasses import asdict, dataclass
from typing import TypeAlias

import pydantic
from pydantic import JsonValue
from typing_extensions import TypedDict

from eai_mcp.calls import ModelResponse
from eai_mcp.chat.choose import Chosen
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import CallError, Detail, EaiError, TurnFailed
from eai_mcp.messages import JsonObject, Message, Usage, assistant
from eai_mcp.store import Claim, Outcome, Settlement

EMPTY = "the model's reply was empty"
Ending: TypeAlias = TurnResult | EaiError
_TOLD_ANYWAY = ("chat_session", "turn_id", "partial")
_IN_THE_JOURNAL = ("reply", "session", "turn_id")


@dataclass(frozen=True, slots=True)
class Ended:
    """`ending` is for the caller, a result or the error to raise; `settlement` is for the store."""

    ending: Ending
    settlement: Settlement


def completed(claim: Claim, chosen: Chosen, response: ModelResponse) -> Ended:
    """The model answered."""
    reply = response.message.text
    result = TurnResult(
        status="completed",
        reply=reply,
        session=claim.name,
        turn_id=claim.turn_id,
        effective=chosen.effective,
        stop_reason=response.stop,
        overridden=chosen.overridden,
        warnings=response.warnings if reply else (*response.warnings, EMPTY),
        usage=response.usage,
    )
    return Ended(result, _settlement(result, chosen, (response.message,)))


def interrupted(claim: Claim, chosen: Chosen, partial: str) -> Ended:
    """Somebody stopped it. With nothing said yet, the turn leaves no trace in the history."""
    result = TurnResult(
        status="interrupted",
        reply=partial,
        session=claim.name,
        turn_id=claim.turn_id,
        effective=chosen.effective,
        stop_reason="interrupted",
        overridden=chosen.overridden,
    )
    return Ended(result, _settlement(result, chosen, _partial(partial)))


def failed(claim: Claim, error: EaiError, partial: str) -> Ended:
    """It came to an error. Text that had come is kept as partial; without any, nothing is kept."""
    partial = (error.partial if isinstance(error, CallError) else "") or partial
    error.details = {**error.details, "chat_session": claim.name, "turn_id": claim.turn_id}
    if partial:
        error.details = {**error.details, "partial": partial}
    told = {name: value for name, value in error.details.items() if name not in _TOLD_ANYWAY}
    report: JsonObject = {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "retry_after_s": error.retry_after_s,
        "details": {name: _plain(value) for name, value in told.items()},
    }
    outcome = Outcome(turn_id=claim.turn_id, status="failed", report=report)
    kept = _partial(partial)
    return Ended(error, Settlement(outcome=outcome, messages=kept, kept=bool(kept)))


def _plain(value: Detail) -> JsonValue:
    return value if value is None or isinstance(value, str | int | float) else list(value)


def told_again(session: str, outcome: Outcome, reply: str) -> TurnResult:
    """The result of a turn that was settled before.

    Raises:
        TurnFailed: It had failed.
    """
    told: JsonObject = {"session": session, "turn_id": outcome.turn_id, "reply": reply}
    if outcome.status == "failed":
        report = _failures().validate_python(outcome.report)
        details = {**report["details"], "chat_session": session, "turn_id": outcome.turn_id}
        if reply:
            details["partial"] = reply
        raise TurnFailed(
            report["code"],
            report["message"],
            retryable=report["retryable"],
            retry_after_s=report["retry_after_s"],
            **details,
        )
    return _results().validate_python({**outcome.report, **told})


class _Failure(TypedDict):
    code: str
    message: str
    retryable: bool
    retry_after_s: float | None
    details: dict[str, str | int | float | bool | list[str] | None]


@functools.cache
def _failures() -> pydantic.TypeAdapter[_Failure]:
    return pydantic.TypeAdapter(_Failure)


@functools.cache
def _results() -> pydantic.TypeAdapter[TurnResult]:
    return pydantic.TypeAdapter(TurnResult)


def _settlement(result: TurnResult, chosen: Chosen, messages: tuple[Message, ...]) -> Settlement:
    """The report is the result without what the journal already holds."""
    report = {name: value for name, value in asdict(result).items() if name not in _IN_THE_JOURNAL}
    outcome = Outcome(
        turn_id=result.turn_id,
        status="interrupted" if result.status == "interrupted" else "completed",
        report=report,
    )
    return Settlement(
        outcome=outcome,
        messages=messages,
        kept=bool(messages),
        choices=chosen.remembered,
        usage=result.usage or Usage(),
    )


def _partial(text: str) -> tuple[Message, ...]:
    return (assistant(text, partial=True),) if text else ()
