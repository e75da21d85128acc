"""Answers that are meant for one question, and for no other: a person may take their time."""

from eai_mcp.chat.values import Answers
from eai_mcp.errors import Conflict
from eai_mcp.store import Question


def check(session: str, question: Question | None, answers: Answers | None) -> None:
    """See that what is answered, if anything, is the question that waits.

    Raises:
        Conflict: It was answered or dropped, or another one is asked.
    """
    if answers is None or is_open(question, answers):
        return
    raise Conflict(
        f"the question of turn {answers.turn_id} in session {session!r} is not open any more: it was"
        " answered, dropped or followed by another meanwhile, and this answer was not sent; see first how the"
        " session stands",
        chat_session=session,
        turn_id=answers.turn_id,
    )


def is_open(question: Question | None, answers: Answers) -> bool:
    """Whether the question that waits is the one that is meant."""
    if question is None or question.turn_id != answers.turn_id:
        return False
    return answers.asked_in in (None, question.data.get("asked_in"))
