"""Middleware for tests: each is one function, in one place."""

from dataclasses import dataclass
from typing import Any

from eai_mcp.chat.layers import Layers
from eai_mcp.middleware import named


@dataclass
class RoundTurn:
    """Round turns: `play(given, go_on)`; remembers what it was given."""

    play: Any

    def __post_init__(self) -> None:
        self.given: list[Any] = []

    async def turn(self, given, go_on):
        self.given.append(given)
        return await self.play(given, go_on)


@dataclass
class RoundTool:
    """Round tools: `play(run, go_on)`; remembers the runs."""

    play: Any

    def __post_init__(self) -> None:
        self.runs: list[Any] = []

    async def tool(self, run, go_on):
        self.runs.append(run)
        return await self.play(run, go_on)


def layers(*every) -> Layers:
    return Layers(named(every))
