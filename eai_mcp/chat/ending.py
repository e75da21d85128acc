"""How a turn ended: what its caller gets, what the history keeps, and both told again later."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NotRequired, TypeAlias

import pydantic
from pydantic import JsonValue
from typing_extensions import TypedDict

from eai_mcp import messages
from eai_mcp.calls import ModelResponse, ResourcePushed
from eai_mcp.chat import pushed
from eai_mcp.chat.choose import Chosen
from eai_mcp.chat.values import TurnResult, TurnStatus
from eai_mcp.errors import CallError, Detail, EaiError, TurnFailed
from eai_mcp.messages import JsonObject, Message, Usage, assistant
from eai_mcp.store import Claim, Outcome, Question, Running, Settlement

EMPTY = "the model's reply was empty"
STILL_OPEN = " (the question is still open: talk again to answer it, or interrupt to drop it)"
CUT_OFF = "cut off: its server ended, or did not answer for too long; what was saved of it is kept"
RESUMED = f"{CUT_OFF}; if nothing came of the answer, the question is still open: talk again to answer it"
Ending: TypeAlias = TurnResult | EaiError
_TOLD_ANYWAY = ("chat_session", "turn_id", "partial")
_IN_THE_JOURNAL = ("reply", "session", "turn_id")
_REPORTED = tuple(name for name in TurnResult.__dataclass_fields__ if name not in _IN_THE_JOURNAL)


@dataclass(frozen=True, slots=True)
class Ended:
    """`ending` is for the caller, a result or the error to raise; `settlement` is for the store."""

    ending: Ending
    settlement: Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is known of a turn from its beginning, and what it spent since.

    `is_resumed` says that it was given the answer to a question, `has_steps` that steps of it were saved.
    `broken_off` is a step that was not, of whose tools some have run.
    """

    claim: Claim
    chosen: Chosen
    metadata: Mapping[str, JsonValue]
    is_resumed: bool = False
    has_steps: bool = False
    broken_off: tuple[Message, ...] = ()
    spent: Usage | None = None
    warnings: tuple[str, ...] = ()
    resources: tuple[ResourcePushed, ...] = ()

    def result(
        self, status: TurnStatus = "running", *, reply: str = "", stop: str | None = None, warning: str = ""
    ) -> TurnResult:
        """How the turn stands, with one more warning if there is any."""
        return TurnResult(
            status=status,
            reply=reply,
            session=self.claim.name,
            turn_id=self.claim.turn_id,
            effective=self.chosen.effective,
            stop_reason=stop,
            overridden=self.chosen.overridden,
            warnings=(*self.warnings, warning) if warning else self.warnings,
            usage=self.spent,
            metadata=self.metadata,
            resources=self.resources,
        )


def completed(frame: Frame, response: ModelResponse) -> Ended:
    """The model answered."""
    reply = response.message.text
    result = frame.result("completed", reply=reply, stop=response.stop, warning="" if reply else EMPTY)
    return Ended(result, _settlement(frame, result, (response.message,)))


def awaiting(
    frame: Frame, said: tuple[Message, ...], question: Question, *, stop: str | None, replaces: bool = False
) -> Ended:
    """Something is asked first; what `replaces` the question that was just answered drops that answer."""
    asked_in = frame.claim.round + 1
    result = replace(frame.result("awaiting_input", reply=question.text, stop=stop), asked_in=asked_in)
    told = _settlement(frame, result, said, reply=question.text)
    data: JsonObject = {**question.data, "report": told.outcome.report, "asked_in": asked_in}
    question = replace(question, data=data)
    return Ended(result, replace(told, question=question, kept=not replaces))


def withdrawn(session: str, question: Question) -> tuple[TurnResult, Settlement]:
    """The question that it waited with was dropped."""
    report = question.data["report"]
    assert isinstance(report, dict)
    told: JsonObject = {"session": session, "turn_id": question.turn_id, "reply": ""}
    end: JsonObject = {"status": "interrupted", "stop_reason": "interrupted", "usage": None, "asked_in": None}
    result = _result({**told, **report, **end, "reply": ""})
    outcome = Outcome(turn_id=question.turn_id, status="interrupted", report=_told(result))
    return result, Settlement(outcome=outcome)


def interrupted(frame: Frame, partial: str, reason: str | None = None) -> Ended:
    """Somebody stopped it. With nothing said and nothing done yet, it leaves no trace in the history."""
    result = frame.result("interrupted", reply=partial, stop="interrupted", warning=reason or "")
    said = frame.broken_off or _partial(partial)
    settlement = _settlement(frame, result, said, reply=partial if frame.broken_off else None)
    return Ended(result, replace(settlement, kept=bool(said) or frame.has_steps or frame.is_resumed))


def failed(frame: Frame, error: EaiError, partial: str) -> Ended:
    """It came to an error. Steps that were finished, and text that had come, are kept."""
    claim, error = frame.claim, error.copy()
    partial = (error.partial if isinstance(error, CallError) else "") or partial
    error.details = {**error.details, "chat_session": claim.name, "turn_id": claim.turn_id}
    if partial:
        error.details = {**error.details, "partial": partial}
    said = frame.broken_off or _partial(partial)
    kept = bool(said) or frame.has_steps
    if frame.is_resumed and not kept:
        error.message += STILL_OPEN
        error.args = (error.message,)
    told: JsonObject = {"partial": partial} if partial and frame.broken_off else {}
    outcome = Outcome(turn_id=claim.turn_id, status="failed", report={**_report(error), **told})
    return Ended(
        error,
        Settlement(
            outcome=outcome,
            messages=said,
            kept=kept,
            usage=frame.spent or Usage(),
        ),
    )


def unsaved(claim: Claim, error: EaiError, ended: Ended) -> Ended:
    """It ended, but could not be saved: nothing of it is in the history, its reply is in the error.

    The caller knows it as failed and may say it again, so it stays so; what it spent was spent all the same.
    """
    ending, error = ended.ending, error.copy()
    reply = ending.reply if isinstance(ending, TurnResult) else str(ending.details.get("partial", ""))
    error.details = {**error.details, "chat_session": claim.name, "turn_id": claim.turn_id}
    if reply:
        error.details = {**error.details, "partial": reply}
    report = _report(error)
    outcome = Outcome(turn_id=claim.turn_id, status="failed", report={**report, "partial": reply})
    return Ended(error, Settlement(outcome=outcome, kept=False, usage=ended.settlement.usage))


def report_if_cut_off(frame: Frame) -> JsonObject:
    """What is told of a turn whose process died, from what is known at its beginning."""
    warning = RESUMED if frame.is_resumed else CUT_OFF
    return _told(frame.result("interrupted", stop="cut_off", warning=warning))


def told_again(session: str, outcome: Outcome, reply: str) -> TurnResult:
    """The result of a turn that was settled before.

    Raises:
        TurnFailed: It had failed.
    """
    if outcome.status == "failed":
        report = _failures().validate_python(outcome.report)
        details = {**report["details"], "chat_session": session, "turn_id": outcome.turn_id}
        if partial := reply or report.get("partial", ""):
            details["partial"] = partial
        raise TurnFailed(
            report["code"],
            report["message"],
            retryable=report["retryable"],
            retry_after_s=report["retry_after_s"],
            **details,
        )
    told: JsonObject = {"session": session, "turn_id": outcome.turn_id, "reply": reply}
    return _result({**told, **outcome.report, "status": outcome.status})


def standing(session: str, running: Running) -> TurnResult:
    """How a turn stands that runs in another process."""
    told: JsonObject = {"session": session, "turn_id": running.turn_id, "reply": running.said}
    now: JsonObject = {"status": "running", "stop_reason": None, "warnings": []}
    return _result({**told, **running.report, **now})


class _Failure(TypedDict):
    code: str
    message: str
    retryable: bool
    retry_after_s: float | None
    details: dict[str, str | int | float | bool | list[str] | None]
    partial: NotRequired[str]


@functools.cache
def _failures() -> pydantic.TypeAdapter[_Failure]:
    return pydantic.TypeAdapter(_Failure)


@functools.cache
def _results() -> pydantic.TypeAdapter[TurnResult]:
    return pydantic.TypeAdapter(TurnResult)


def _result(told: JsonObject) -> TurnResult:
    resources = pushed.read(told.pop("resources", None))
    return replace(_results().validate_python(told), resources=resources)


def _report(error: EaiError) -> JsonObject:
    told = {name: _plain(value) for name, value in error.details.items() if name not in _TOLD_ANYWAY}
    return {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "retry_after_s": error.retry_after_s,
        "details": told,
    }


def _plain(value: Detail) -> JsonValue:
    return value if value is None or isinstance(value, str | int | float) else list(value)


def _told(result: TurnResult) -> JsonObject:
    """A result without what the journal already holds, and without what is empty."""
    told: JsonObject = {name: value for name in _REPORTED if (value := getattr(result, name))}
    told["effective"] = messages.told(result.effective)
    if result.usage is not None:
        told["usage"] = messages.told(result.usage)
    if result.resources:
        told["resources"] = [pushed.told(resource) for resource in result.resources]
    return told


def _settlement(
    frame: Frame, result: TurnResult, said: tuple[Message, ...], *, reply: str | None = None
) -> Settlement:
    report = _told(result)
    if reply is not None:
        report["reply"] = reply
    return Settlement(
        outcome=Outcome(
            turn_id=result.turn_id,
            status="completed" if result.status == "running" else result.status,
            report=report,
        ),
        messages=said,
        choices=frame.chosen.remembered,
        usage=frame.spent or Usage(),
    )


def _partial(text: str) -> tuple[Message, ...]:
    return (assistant(text, partial=True),) if text else ()
