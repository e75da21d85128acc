"""What the model asks the person it talks with: the tool `ask_user`, the question that waits, its answer.

A question is data in the store, so it survives a restart. The answer goes back as the tool's result.
"""

from collections.abc import Sequence

from pydantic import JsonValue

from eai_mcp import messages
from eai_mcp.calls import Samplers, ToolSpec
from eai_mcp.catalog.entries import Card
from eai_mcp.chat import ending
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import Conflict
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    JsonObject,
    Message,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from eai_mcp.store import Question, SessionRow, Start, Store

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


def offered(card: Card | None) -> tuple[ToolSpec, ...]:
    """The tools that the model may use in a turn: those of the card that there are."""
    return (ASK_USER,) if card and card.tools and NAME in card.tools else ()


def first(uses: Sequence[ToolUseBlock], card: Card | None) -> ToolUseBlock | None:
    """The first question among the tools that the model asks for, unless its card allows others only."""
    if card and card.tools is not None and NAME not in card.tools:
        return None
    return next((use for use in uses if use.name == NAME), None)


def waiting(turn_id: str, asked: ToolUseBlock, uses: Sequence[ToolUseBlock], samplers: Samplers) -> Question:
    """The question, with what the other tools of the same step said, in order, and the turn's samplers."""
    text = next((str(asked.input[key]) for key in ("question", "text") if asked.input.get(key)), WITHOUT_TEXT)
    others: list[JsonValue] = [
        None if use is asked else messages.encode(Message("user", (_meanwhile(use),))) for use in uses
    ]
    given: JsonObject = {
        name: list(value) if isinstance(value, tuple) else value
        for name in samplers.given()
        for value in [getattr(samplers, name)]
    }
    return Question(turn_id, text, {"tool_use_id": asked.id, "results": others, "samplers": given})


def answer(question: Question, said: Message, *, failed: bool = False) -> Message:
    """What is said to a question, as the result of the tool that asked it."""
    content = tuple(b for b in said.content if isinstance(b, TextBlock | ImageBlock | DocumentBlock))
    own = ToolResultBlock(str(question.data["tool_use_id"]), content, failed=failed)
    others = question.data["results"]
    assert isinstance(others, list)
    results = [own if other is None else messages.decode(other).content[0] for other in others]
    return Message("user", tuple(results))


async def withdraw(store: Store, space: str, row: SessionRow, question: Question) -> TurnResult:
    """Close the question that a session waits with; what was done until then stays in the history.

    Raises:
        Conflict: Somebody was faster, and answered it or closed it.
    """
    result, settlement = ending.withdrawn(row.name, question)
    start = Start(
        turn_id=question.turn_id,
        message=answer(question, Message("user", (TextBlock(WITHDRAWN),)), failed=True),
        report=settlement.outcome.report,
        expect=row.version,
    )
    await store.withdraw(space, row.name, start, settlement)
    return result


def unforeseen(session: str, question: Question) -> Conflict:
    """The error for what was said before the question was asked, and so is no answer to it."""
    return Conflict(
        f"the turn before this one in session {session!r} ended with a question, and nothing was sent: "
        f"{question.text[:LONGEST_QUOTED]!r}. Talk again to answer it, or interrupt to drop it",
        chat_session=session,
        turn_id=question.turn_id,
    )


def samplers(question: Question, given: Samplers) -> Samplers:
    """Those of the turn that asked, with those given with the answer over them."""
    before = question.data["samplers"]
    assert isinstance(before, dict)
    names = given.given()
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in before.items()}
    return Samplers(**{**values, **{name: getattr(given, name) for name in names}})


def unknown(use: ToolUseBlock) -> ToolResultBlock:
    """The result of a tool that there is not."""
    return ToolResultBlock(use.id, (TextBlock(f"there is no tool named {use.name!r}"),), failed=True)


def _meanwhile(use: ToolUseBlock) -> ToolResultBlock:
    """The result of another tool of the step that asked."""
    if use.name != NAME:
        return unknown(use)
    return ToolResultBlock(use.id, (TextBlock(ONE_AT_A_TIME),), failed=True)
