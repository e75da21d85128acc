"""What a caller hears while a turn runs: new text at most every 100 ms, and a sign of life every 5 s.

Whoever waits for a turn to begin, or for a person, has signs of life too. Of long work on files it is how
many messages went through, each second.

It is never the only carrier of the reply: clients drop progress that arrives together with the result.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
from anyio.from_thread import check_cancelled

from eai_mcp.app import unwrapped
from eai_mcp.chat.heard import Followed
from eai_mcp.formats import Tally

TOGETHER_S = 0.1
HEARTBEAT_S = 5.0
COUNT_S = 1.0
LONGEST_TEXT = 2000

Report: TypeAlias = Callable[[float, str], Awaitable[None]]


async def unheard(seconds: float, text: str) -> None:
    """The report to a caller who does not listen."""


class Rising:
    """A report whose seconds always rise, whoever of one call makes it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = 0.0

    async def __call__(self, seconds: float, text: str) -> None:
        """Report, a little later than the last time if need be."""
        self._last = max(self._last + 0.001, seconds)
        await self._report(round(self._last, 3), text)


@asynccontextmanager
async def alive(
    report: Report, doing: str, *, begun: float, heartbeat_s: float = HEARTBEAT_S
) -> AsyncIterator[None]:
    """Give signs of life during the block, in which the caller waits for what `doing` says."""
    if report is unheard:
        yield
        return

    async def tell() -> None:
        while True:
            await anyio.sleep(heartbeat_s)
            seconds = round(anyio.current_time() - begun, 3)
            await report(seconds, f"{doing} ({seconds:.0f} s)")

    async with unwrapped(), anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        yield
        tasks.cancel_scope.cancel()


async def follow(
    turn: Followed, report: Report, *, begun: float | None = None, heartbeat_s: float = HEARTBEAT_S
) -> None:
    """Report until the turn is done. The value is seconds since `begun`, by default now; it only rises."""
    if report is unheard and not turn.done.is_set():
        await turn.done.wait()
    begun, last, told = anyio.current_time() if begun is None else begun, 0.0, 0
    while not turn.done.is_set():
        if told == len(turn.heard.pieces):  # else it was heard before we began to follow, or came meanwhile
            with anyio.move_on_after(heartbeat_s):
                await turn.heard.changed()
        if turn.done.is_set():
            return
        last = max(last + 0.001, round(anyio.current_time() - begun, 3))
        text = "".join(turn.heard.pieces[told:])
        told = len(turn.heard.pieces)
        await report(last, text[-LONGEST_TEXT:] if text else _sign_of_life(turn, last))
        with anyio.move_on_after(TOGETHER_S):
            await turn.done.wait()


@asynccontextmanager
async def counted(report: Callable[[float, int], Awaitable[None]]) -> AsyncIterator[Tally]:
    """What counts the messages of the block, and ends its threads if it is cancelled.

    Each second `report` is told how many seconds passed, and how many messages went through.
    """
    begun, tally = anyio.current_time(), Tally(check_cancelled)

    async def tell() -> None:
        while True:
            await anyio.sleep(COUNT_S)
            await report(round(anyio.current_time() - begun, 3), tally.messages)

    async with unwrapped(), anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        yield tally
        tasks.cancel_scope.cancel()


def _sign_of_life(turn: Followed, seconds: float) -> str:
    return f"{turn.model}: {turn.heard.doing} ({seconds:.0f} s)"
