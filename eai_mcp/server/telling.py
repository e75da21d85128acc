"""A turn's result as a tool answers it, with where to read on if its reply had to be cut."""

from contextlib import suppress

from eai_mcp.chat.registry import Registry
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import EaiError
from eai_mcp.server import answers
from eai_mcp.server.registry import Answer, Request

MOST_STEPS_BACK = 100
"""Messages at the end of a history among which the place of a long reply is looked for."""


async def of_turn(registry: Registry, result: TurnResult, request: Request) -> Answer:
    """The answer of `talk`, `wait_for_reply` and `interrupt`."""
    room = request.room
    after = await _place(registry, request.space, result) if answers.is_cut(result, room) else None
    return answers.of_turn(result, room, after=after, published=request.published)


async def _place(registry: Registry, space: str, result: TurnResult) -> int | None:
    """The position before the message that holds a turn's reply; None if it is not among the last."""
    with suppress(EaiError):  # the session may have been closed meanwhile; the reply is told all the same
        last = (await registry.session(space, result.session)).message_count
        for after in range(last - 1, max(-1, last - 1 - MOST_STEPS_BACK), -1):
            for entry in await registry.history(space, result.session, after=after, limit=1):
                if entry.turn_id == result.turn_id and entry.message.text == result.reply:
                    return after
    return None
