"""Whole histories: what may stand in them, and how one takes the place of another."""

import time
from collections.abc import Sequence

from eai_mcp.errors import InvalidArgument
from eai_mcp.messages import Message, ToolResultBlock, ToolUseBlock, line
from eai_mcp.store import Put, Store


def check_pairs(messages: Sequence[Message]) -> None:
    """See that each tool use has its result in the next message, and each result its use in the one before.

    Raises:
        InvalidArgument: One has not.
    """
    asked: list[str] = []
    for number, message in enumerate(messages, 1):
        given = [block.tool_use_id for block in message.content if isinstance(block, ToolResultBlock)]
        if sorted(given) != sorted(asked):
            raise InvalidArgument(
                f"message {number}: its tool results are {given}, but the tools asked for are {asked}",
                field="messages",
            )
        asked = [block.id for block in message.content if isinstance(block, ToolUseBlock)]
    if asked:
        raise InvalidArgument(f"the last message asks for tools without results: {asked}", field="messages")


async def replace(store: Store, space: str, name: str, messages: Sequence[Message]) -> int:
    """Put messages in place of a session's, which is made if there is none; its new revision."""
    now = time.time()
    (revision,) = await store.put(space, [Put(name=name, lines=[line(each, at=now) for each in messages])])
    return revision


async def revert(store: Store, space: str, name: str, revision: int) -> int:
    """Put a former history in place of the present one; the new revision."""
    lines = await store.scan(space, lambda found: [*next(found)[1]], name=name, revision=revision)
    (new,) = await store.put(space, [Put(name=name, lines=lines, writing="replace")])
    return new
