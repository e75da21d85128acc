"""`eai-mcp talk`: turns in the terminal. Replies go to standard output, everything else to standard error."""

import argparse
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from eai_mcp import app
from eai_mcp.calls import Samplers
from eai_mcp.chat.turn import Turn
from eai_mcp.chat.values import Talk, TurnResult
from eai_mcp.cli import logs, parser, screen, typed

LOOK_AGAIN_S = 1.0


def talk(options: argparse.Namespace) -> int:
    """Say each content in turn; with several, each is shown before its reply."""
    logs.to_stderr(options.log_level)
    return anyio.run(_talk, options)


async def _talk(options: argparse.Namespace) -> int:
    async with app.opened(parser.chosen_settings(options)) as opened:
        for content in options.content:
            said = await typed.whole() if content == "-" else typed.argument(content)
            if len(options.content) > 1:
                screen.show(f"> {said}\n")
            result = await take_turn(opened, to_talk(options, said))
            if result.status == "interrupted":
                return 130
    return 0


def to_talk(options: argparse.Namespace, content: str) -> Talk:
    """The turn that the command's options ask for."""
    samplers = Samplers(temperature=options.temperature, max_tokens=options.max_tokens, seed=options.seed)
    return Talk(
        content=content,
        session=options.session,
        model=options.model,
        prompt=options.prompt,
        system=None if options.system is None else typed.argument(options.system),
        card=options.card,
        samplers=samplers,
    )


async def take_turn(opened: app.App, talk: Talk) -> TurnResult:
    """Take a turn and show the reply as it comes. Ctrl-C interrupts it, and keeps what was said.

    Raises:
        EaiError: The turn could not begin, or failed.
    """
    turn = await opened.registry.begin("", talk)
    async with _interruptible(turn):
        await _show_as_it_comes(turn)
    result = await opened.registry.reply(turn, 0)
    for warning in result.warnings:
        screen.tell(f"eai-mcp: {warning}")
    if result.stop_reason == "length":
        screen.tell("eai-mcp: the reply was cut at its limit of tokens; --max-tokens sets another")
    return result


async def _show_as_it_comes(turn: Turn) -> None:
    shown, note = 0, ""
    while True:
        done = turn.done.is_set()
        pieces = turn.heard.pieces[shown:]
        shown += len(pieces)
        screen.show("".join(pieces))
        if turn.heard.note != note and (note := turn.heard.note) and not shown:
            screen.tell(f"[{note}]")
        if done:
            break
        with anyio.move_on_after(LOOK_AGAIN_S):
            await turn.heard.changed()
    if shown:
        screen.show("\n")


@asynccontextmanager
async def _interruptible(turn: Turn) -> AsyncIterator[None]:
    """Ctrl-C ends the turn, not the program, where signals can be caught."""
    if sys.platform == "win32":
        yield
        return
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with app.unwrapped(), anyio.create_task_group() as tasks:
            tasks.start_soon(_interrupt_at_signal, signals, turn)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()


async def _interrupt_at_signal(signals: AsyncIterator[signal.Signals], turn: Turn) -> None:
    async for _ in signals:
        turn.interrupt()
