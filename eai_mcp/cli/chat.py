"""`eai-mcp chat`: a conversation by plain lines, as one can have it in any terminal or pipe.

Lines are gathered until `/s` sends them; `/c` throws them away, `/q` or the end of the input quits. Lines
are kept as they were typed, indentation too.
"""

import argparse
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio

from eai_mcp import app
from eai_mcp.cli import logs, parser, screen, talk, typed
from eai_mcp.errors import EaiError

HELP = "Type your message; /s sends it, /c cancels it, /q quits. Ctrl-C stops a reply."


def chat(options: argparse.Namespace) -> int:
    """Talk until the input ends; exit code 1 if the last turn failed."""
    logs.to_stderr(options.log_level)
    return anyio.run(_chat, options)


async def _chat(options: argparse.Namespace) -> int:
    code = 0
    async with app.opened(parser.chosen_settings(options)) as opened:
        screen.tell(HELP)
        async for message in _messages():
            try:
                said = replace(talk.to_talk(options, message), by_person=typed.is_terminal())
                await talk.take_turn(opened, said)
                code = 0
            except EaiError as error:
                screen.tell(f"eai-mcp: {screen.sentence(error)}")
                code = 1
    return code


async def _messages() -> AsyncIterator[str]:
    gathered: list[str] = []
    _ask()
    async for line in _lines():
        match line.strip():
            case "/q":
                return
            case "/c":
                gathered.clear()
            case "/s" if gathered:
                yield "\n".join(gathered)
                gathered.clear()
            case "/s":
                screen.tell("eai-mcp: nothing to send yet")
            case _:
                gathered.append(line)
                continue
        _ask()
    if gathered:
        screen.tell(f"eai-mcp: {len(gathered)} lines were not sent, since no /s followed")


async def _lines() -> AsyncIterator[str]:
    rest = b""
    async for data in typed.pieces():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


def _ask() -> None:
    if typed.is_terminal():
        screen.show("> ")
