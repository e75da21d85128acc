"""Toolboxes for tests: tools that a test can watch, hold and break."""

from collections.abc import Callable
from typing import Any

import anyio

from eai_mcp.chat.toolbox.box import Toolbox
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Use
from eai_mcp.messages import JsonObject


class Word(Arguments):
    word: str = ""


class Held:
    """A tool that says when it was reached, and waits until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = anyio.Event(), anyio.Event()

    async def __call__(self, given: Word, use: Use) -> JsonObject:
        self.reached.set()
        await self.go.wait()
        return {"said": given.word}


def tool(name: str, run: Callable[..., Any], **fields: Any) -> Tool[Word]:
    return Tool(name=name, description=f"Does {name}.", arguments=Word, run=run, **fields)


def box(*tools: Tool[Any], usual: tuple[str, ...] | None = None, **fields: Any) -> Toolbox:
    """A toolbox of these; without a card all of them are had."""
    made = Toolbox(usual=[one.name for one in tools] if usual is None else usual, **fields)
    made.add(*tools)
    return made


async def echo(given: Word, use: Use) -> JsonObject:
    return {"said": given.word}
