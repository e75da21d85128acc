"""What a turn asks before it goes on: the model with `ask_user`, or a middleware. The question, its answer.

A question is data in the store, so it survives a restart. Its `kind` says where the answer goes back to:

- `tool`: the result of the tool `ask_user`;
- `tools`: tools of a step that middleware did not let run yet, all of which hear the one answer;
- `turn`: the middleware round the turn.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from eai_mcp import messages
from eai_mcp.calls import ResourcePushed, Samplers, ToolSpec
from eai_mcp.chat import ending, pushed
from eai_mcp.chat.layers import Asked
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import Conflict, StorageUnavailable
from eai_mcp.messages import (
    INTERRUPTED,
    DocumentBlock,
    ImageBlock,
    JsonObject,
    Message,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from eai_mcp.middleware import Ask
from eai_mcp.store import Outcome, Question, SessionRow, Settlement, Start, Store

NAME = "ask_user"
ASK_USER = ToolSpec(
    NAME,
    "Ask the person you are talking with a question and wait for the answer.",
    {
        "type": "object",
        "properties": {"question": {"type": "string"}},
        "required": ["question"],
    },
)
ONE_AT_A_TIME = "not asked: ask one question at a time"
LONGEST_QUOTED = 500
WITHOUT_TEXT = "The model asks for your input."
WITHDRAWN = "there is no answer: the question was withdrawn"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tool that may run only once `ask` is answered, which the middleware `by` wants to hear."""

    use: ToolUseBlock
    ask: Ask
    by: str


def text_of(asked: ToolUseBlock) -> str:
    """What a use of `ask_user` asks."""
    return next((str(asked.input[key]) for key in ("question", "text") if asked.input.get(key)), WITHOUT_TEXT)


def of_model(
    turn_id: str, asked: ToolUseBlock, results: Sequence[ToolResultBlock | None], samplers: Samplers
) -> Question:
    """The model's question, with what the other tools of the same step said, in order."""
    data: JsonObject = {"kind": "tool", "tool_use_id": asked.id, "results": _written(results)}
    return Question(turn_id, text_of(asked), {**data, "samplers": _given(samplers)})


def of_tools(
    turn_id: str,
    results: Sequence[ToolResultBlock | None],
    wanted: Mapping[int, Wanted],
    samplers: Samplers,
) -> Question:
    """One question for all tools of a step that may not run yet, by their places among the results."""
    asked: list[JsonValue] = [
        {"at": at, "use": one.use.id, "by": one.by, "question": one.ask.question, "state": one.ask.state}
        for at, one in wanted.items()
    ]
    data: JsonObject = {"kind": "tools", "asked": asked, "results": _written(results)}
    # Middleware asks the same of several tools at once; what a person has to allow is told one by one.
    said = [(one.ask.question, at if not one.by else 0) for at, one in wanted.items()]
    text = "\n\n".join(question for question, _ in dict.fromkeys(said))
    return Question(turn_id, text, {**data, "samplers": _given(samplers)})


def of_middleware(turn_id: str, ask: Ask, by: str, samplers: Samplers) -> Question:
    """The question that the middleware `by` asks round a turn."""
    data: JsonObject = {"kind": "turn", "by": by, "state": ask.state}
    return Question(turn_id, ask.question, {**data, "samplers": _given(samplers)})


def expiring(question: Question, limits_s: Sequence[float | None]) -> Question:
    """The question, to be answered within the shortest of some numbers of seconds, if there is any."""
    known = [limit for limit in limits_s if limit is not None]
    if not known:
        return question
    return replace(question, data={**question.data, "expires_at": time.time() + min(known)})


def is_expired(question: Question) -> bool:
    """Whether its time is over."""
    until = question.data.get("expires_at")
    return isinstance(until, int | float) and time.time() > until


def readable(session: str, question: Question) -> Question:
    """The question, if an answer finds its way from there.

    Raises:
        StorageUnavailable: What is stored of it is damaged, or of another version.
    """
    said = Message("user", (TextBlock(WITHDRAWN),))
    try:
        answer(question, said)
        samplers(question, Samplers())
        asker(question, said)
        if kind(question) == "tools":
            asked_tools(question, said)
        ending.withdrawn(session, question)
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise StorageUnavailable(
            f"what session {session!r} waits to be told cannot be read any more; replace its history,"
            " which drops the question, or close it",
            retryable=False,
            chat_session=session,
            turn_id=question.turn_id,
        ) from error
    return question


def kind(question: Question | None) -> str:
    """See the module; "" for no question."""
    return str(question.data.get("kind", "tool")) if question else ""


def asker(question: Question | None, answer: Message) -> Asked | None:
    """The middleware that asked round the turn, with the answer to its question; None if none did."""
    if question is None or kind(question) != "turn":
        return None
    return _asked({**question.data, "question": question.text}, answer)


def asked_tools(question: Question, answer: Message) -> dict[int, Asked]:
    """By place in the step: the tools that were not let run, with the answer to the question about them."""
    return {int(str(one["at"])): _asked(one, answer) for one in _waiting(question)}


def results(question: Question) -> list[ToolResultBlock | None]:
    """What the tools of the step said, in order; None for what waits for the answer."""
    others = question.data["results"]
    assert isinstance(others, list)
    read = [None if other is None else messages.decode(other).content[0] for other in others]
    return [one if isinstance(one, ToolResultBlock) else None for one in read]


def answer(question: Question, said: Message, *, failed: bool = False) -> Message:
    """What is said to a question, as the history keeps it.

    A tool that has to run first has a failed result until then, so that the turn can be cut off at any time.
    """
    if kind(question) == "turn":
        return said
    content = tuple(b for b in said.content if isinstance(b, TextBlock | ImageBlock | DocumentBlock))
    found = results(question)
    if kind(question) == "tool":
        own = ToolResultBlock(str(question.data["tool_use_id"]), content, failed=failed)
        return Message("user", tuple(own if one is None else one for one in found))
    for one in _waiting(question):
        not_run = content if failed else (TextBlock(INTERRUPTED),)
        found[int(str(one["at"]))] = ToolResultBlock(str(one["use"]), not_run, failed=True)
    return Message("user", tuple(one for one in found if one is not None))


async def withdraw(store: Store, space: str, row: SessionRow, question: Question) -> TurnResult:
    """Close the question that a session waits with; what was done until then stays in the history.

    Raises:
        Conflict: Somebody was faster, and answered it or closed it.
        StorageUnavailable: It cannot be read.
    """
    result, settlement = ending.withdrawn(row.name, readable(row.name, question))
    start = Start(
        turn_id=question.turn_id,
        message=answer(question, Message("user", (TextBlock(WITHDRAWN),)), failed=True),
        report=settlement.outcome.report,
        expect=row.version,
    )
    await store.withdraw(space, row.name, start, settlement)
    return result


async def leave_open(
    store: Store, space: str, row: SessionRow, outcome: Outcome, *, request_id: str, why: str
) -> None:
    """Let `request_id` stand for the turn of an open question, which ended with `outcome`, or failed since.

    It is a round in which nothing was said: the question waits on, and its turn is told with `why` it does.

    Raises:
        Conflict: Somebody was faster, and answered it or closed it.
    """
    question = row.question
    assert question is not None
    report = outcome.report
    if why:
        warnings = report.get("warnings")
        report = {**report, "warnings": [*(warnings if isinstance(warnings, list) else ()), why]}
        question = replace(question, data={**question.data, "report": report})
    start = Start(
        turn_id=question.turn_id,
        message=answer(question, Message("user", (TextBlock(why),))),
        report=report,
        request_id=request_id,
        expect=row.version,
    )
    outcome = replace(outcome, report=report)
    await store.withdraw(space, row.name, start, Settlement(outcome=outcome, kept=False, question=question))


def unforeseen(session: str, question: Question) -> Conflict:
    """The error for what was said before the question was asked, and so is no answer to it."""
    return _not_sent(
        question,
        session,
        f"the turn before this one in session {session!r} ended with a question, and nothing was sent",
        "Talk again to answer it, or interrupt to drop it",
    )


def not_of_subagents(session: str, question: Question) -> Conflict:
    """The error for a sub-agent's input to a session that asked somebody else."""
    return _not_sent(
        question,
        session,
        f"session {session!r} waits for an answer, and was asked by somebody else",
        "Nothing was sent; use another chat_session",
    )


def too_late(session: str, question: Question) -> Conflict:
    """The error for an answer to a question whose time is over. It was dropped, and nothing was sent."""
    return _not_sent(
        question,
        session,
        f"the question that session {session!r} waited with has expired and was dropped; nothing was sent",
        "Talk again to say this as a new message",
    )


def samplers(question: Question, given: Samplers) -> Samplers:
    """Those of the turn that asked, with those given with the answer over them."""
    before = question.data["samplers"]
    assert isinstance(before, dict)
    names = given.given()
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in before.items()}
    return Samplers(**{**values, **{name: getattr(given, name) for name in names}})


def metadata(question: Question, given: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """That of the turn that asked, with what was given with the answer over it."""
    before = _report(question).get("metadata")
    return {**before, **given} if isinstance(before, dict) else given


def bounded(question: Question, bound: frozenset[str] | None, chain: Sequence[str]) -> Question:
    """The question of a turn that another turn asked for: whoever answers it lifts no limit of that one."""
    if len(chain) < 2:
        return question
    names: list[JsonValue] | None = None if bound is None else [*sorted(bound)]
    told: JsonObject = {"chain": [*chain[:-1]], "tools": names}
    return replace(question, data={**question.data, "asked_by": told})


def bounds(question: Question | None) -> tuple[tuple[str, ...], frozenset[str] | None]:
    """The sessions that asked for the turn of a question, and the only tools that it may use."""
    told = question.data.get("asked_by") if question else None
    if not isinstance(told, dict):
        return (), None
    chain, names = told.get("chain"), told.get("tools")
    asked_by = tuple(map(str, chain)) if isinstance(chain, list) else ()
    return asked_by, frozenset(map(str, names)) if isinstance(names, list) else None


def resources(question: Question) -> dict[str, ResourcePushed]:
    """What its turn had pushed by then, by uri."""
    return {one.uri: one for one in pushed.read(_report(question).get("resources"))}


def not_asked(use: ToolUseBlock) -> ToolResultBlock:
    """The result of a question beside another one, or of a tool that would have to ask beside one."""
    return messages.failed_result(use.id, ONE_AT_A_TIME)


def _not_sent(question: Question, session: str, why: str, advice: str) -> Conflict:
    """The error for an input that a question stands in the way of."""
    return Conflict(
        f"{why}: {question.text[:LONGEST_QUOTED]!r}. {advice}",
        chat_session=session,
        turn_id=question.turn_id,
    )


def _report(question: Question) -> JsonObject:
    report = question.data.get("report")
    return report if isinstance(report, dict) else {}


def _given(samplers: Samplers) -> JsonObject:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name in samplers.given()
        for value in [getattr(samplers, name)]
    }


def _written(results: Sequence[ToolResultBlock | None]) -> list[JsonValue]:
    return [None if one is None else messages.encode(Message("user", (one,))) for one in results]


def _waiting(question: Question) -> list[JsonObject]:
    asked = question.data["asked"]
    assert isinstance(asked, list)
    return [one for one in asked if isinstance(one, dict)]


def _asked(data: JsonObject, answer: Message) -> Asked:
    state = data["state"]
    assert isinstance(state, dict)
    return Asked(str(data["by"]), Ask(str(data["question"]), state), answer.text)
