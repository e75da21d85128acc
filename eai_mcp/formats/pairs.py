"""Tool uses and their results, brought together: each use has its result in the very next message.

Others say results in several messages, or leave them out. What is in order already stays as it is.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from eai_mcp.formats import Repairs
from eai_mcp.messages import Block, Message, ToolResultBlock, ToolUseBlock, failed_result

MISSING = "no result was recorded"


@dataclass(frozen=True, slots=True)
class Placed:
    """A message on its way in: of which turn and time, and where in the file it stood."""

    message: Message
    place: int
    turn_id: str = ""
    at: float | None = None


class Pairing:
    """Takes messages in order, and gives them on in pairs."""

    def __init__(self, repairs: Repairs) -> None:
        self._repairs = repairs
        self._asked: list[str] = []
        self._open: Counter[str] = Counter()
        self._given: list[ToolResultBlock] = []
        self._use: Placed | None = None

    def take(self, placed: Placed) -> Iterator[Placed]:
        """What is complete once this message is known."""
        results = [block for block in placed.message.content if isinstance(block, ToolResultBlock)]
        if self._use is not None:
            if results:
                yield from self._answered(placed, results)
                return
            yield from self.close()
        if results:
            self._repairs.note("a tool result without its tool use was left out", placed.place)
            yield from self._without_results(placed)
            return
        self._asked = [block.id for block in placed.message.content if isinstance(block, ToolUseBlock)]
        self._open = Counter(self._asked)
        self._use = placed if self._asked else None
        yield placed

    def close(self) -> Iterator[Placed]:
        """The results that wait for more, and failed ones for those that never came."""
        if self._use is not None:
            yield replace(self._use, message=Message("user", (*self._given, *self._missing())))
        self._forget()

    def _answered(self, placed: Placed, results: Sequence[ToolResultBlock]) -> Iterator[Placed]:
        fitting = self._fitting(placed, results)
        is_whole = not self._given and len(fitting) == len(results) == len(self._asked)
        if is_whole:
            self._forget()
            yield placed
            return
        self._given += fitting
        others = _others(placed.message)
        if len(self._given) < len(self._asked) and not others:
            return
        content: tuple[Block, ...] = (*self._given, *self._missing(), *others)
        self._forget()
        yield replace(placed, message=replace(placed.message, content=content))

    def _fitting(self, placed: Placed, results: Sequence[ToolResultBlock]) -> list[ToolResultBlock]:
        """The results that were asked for and not given before."""
        fitting = []
        for result in results:
            if self._open[result.tool_use_id]:
                self._open[result.tool_use_id] -= 1
                fitting.append(result)
            else:
                self._repairs.note("a tool result without its tool use was left out", placed.place)
        return fitting

    def _missing(self) -> list[ToolResultBlock]:
        place = self._use.place if self._use else 0
        missing = []
        for use in reversed(self._asked):  # of equal ids, the first were answered
            if self._open[use]:
                self._open[use] -= 1
                self._repairs.note("a tool use without a result was given a failed one", place)
                missing.append(failed_result(use, MISSING))
        return missing[::-1]

    def _without_results(self, placed: Placed) -> Iterator[Placed]:
        if others := _others(placed.message):
            yield replace(placed, message=replace(placed.message, content=others))

    def _forget(self) -> None:
        self._asked, self._given, self._use = [], [], None
        self._open = Counter()


def _others(message: Message) -> tuple[Block, ...]:
    return tuple(block for block in message.content if not isinstance(block, ToolResultBlock))
