"""`eai-mcp chat`: a conversation by plain lines, as one can have it in any terminal or pipe.

Lines are gathered until `/s` sends them; `/c` throws them away, `/q` or the end of the input quits. Lines
are kept as they were typed, indentation too.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncIterator

import anyio

from eai_mcp import app
from eai_mcp.cli import logs, parser, screen, talk
from eai_mcp.errors import EaiError

HELP = "Type your message; /s sends it, /c cancels it, /q quits. Ctrl-C stops a reply."


def chat(options: argparse.Namespace) -> int:
    """Talk until the input ends."""
    logs.to_stderr(options.log_level)
    return anyio.run(_chat, options)


async def _chat(options: argparse.Namespace) -> int:
    async with app.opened(parser.chosen_settings(options)) as opened:
        screen.tell(HELP)
        async for message in _messages():
            try:
                await talk.take_turn(opened, talk.to_talk(options, message))
            except EaiError as error:
                screen.tell(f"eai-mcp: {screen.sentence(error)}")
    return 0


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


async def _lines() -> AsyncIterator[str]:
    """Lines of standard input, read without a thread, so that Ctrl-C is heard while we wait."""
    fd, rest = screen.stdin().fileno(), b""
    while data := await _read(fd):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


async def _read(fd: int) -> bytes:
    if sys.platform == "win32":
        return await anyio.to_thread.run_sync(os.read, fd, 65536, abandon_on_cancel=True)
    with contextlib.suppress(OSError):  # a regular file cannot be waited for, and need not be
        await anyio.wait_readable(fd)
    return os.read(fd, 65536)


def _ask() -> None:
    if screen.stdin().isatty():
        screen.show("> ")
