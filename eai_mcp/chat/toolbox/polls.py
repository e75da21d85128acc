"""Polls: a model that waits for something asks again and again, and is told "still running" each time.

Only the newest of these answers is worth its tokens, so the model is shown that alone; each use that goes,
goes with its result. The history keeps them all.
"""

from collections.abc import Sequence
from typing import TypeGuard

from eai_mcp.messages import Message, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock

POLLS = ("get_task_result", "get_subagent_result")
RUNNING = '{"status": "running"'
"""How the result of a poll begins while there is no other."""


def collapsed(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without the polls that another one of the same thing follows.

    Those before a thought stay: its seal may hold for all that was there when it was had.
    """
    if not any(_is_poll(block) for one in messages for block in one.content):
        return tuple(messages)
    last_thought = max((at for at, one in enumerate(messages) if _thinks(one)), default=-1)
    newer: set[tuple[str, ...]] = set()
    dropped: set[int] = set()
    for at in range(len(messages) - 2, last_thought, -1):
        polled = _polled(messages[at], messages[at + 1])
        if polled in newer:
            dropped |= {at, at + 1}
        elif asked := _asked(messages[at]):
            newer.add(asked)
    if not dropped:
        return tuple(messages)
    return tuple(one for at, one in enumerate(messages) if at not in dropped)


def _thinks(message: Message) -> bool:
    return message.role == "assistant" and any(isinstance(one, ThinkingBlock) for one in message.content)


def _asked(message: Message) -> tuple[str, ...]:
    """What a message polls for, if it does nothing else; else nothing."""
    if message.role != "assistant" or not message.content:
        return ()
    asked: list[str] = []
    for block in message.content:
        if isinstance(block, TextBlock) and not block.text.strip():
            continue
        if not _is_poll(block):
            return ()
        # Which of its ids a tool takes is its own business.
        ids = (f"{name}={value}" for name, value in sorted(block.input.items()) if name.endswith("_id"))
        asked.append(" ".join((block.name, *ids)))
    return tuple(sorted(asked))


def _is_poll(block: object) -> TypeGuard[ToolUseBlock]:
    return isinstance(block, ToolUseBlock) and block.name in POLLS


def _polled(message: Message, answer: Message) -> tuple[str, ...]:
    """What a message polled for, if all of it was still running."""
    asked = _asked(message)
    return asked if asked and answer.content and all(map(_is_running, answer.content)) else ()


def _is_running(block: object) -> bool:
    if not isinstance(block, ToolResultBlock) or block.failed or len(block.content) != 1:
        return False
    (only,) = block.content
    return isinstance(only, TextBlock) and only.text.startswith(RUNNING)
