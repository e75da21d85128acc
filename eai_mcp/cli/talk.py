"""`eai-mcp talk`: turns in the terminal. Replies go to standard output, everything else to standard error."""

import argparse
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio

from eai_mcp import app
from eai_mcp.calls import Samplers
from eai_mcp.chat.heard import Followed, waited_for
from eai_mcp.chat.values import DEFAULT_SESSION, Talk, TurnResult
from eai_mcp.cli import logs, parser, screen, typed
from eai_mcp.errors import EaiError

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
        session=DEFAULT_SESSION if options.session is None else options.session,
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
    async with _interruptible(opened, turn):
        with waited_for(turn):
            await _show_as_it_comes(turn)
    result = await opened.registry.reply(turn, 0)
    if result.status == "awaiting_input" or not turn.heard.text.endswith(result.reply):
        screen.show(f"{result.reply}\n")  # nobody streamed it, or a middleware changed it
    for resource in result.resources:
        screen.tell(f"eai-mcp: pushed {resource.kind} {resource.uri}")
    for warning in result.warnings:
        screen.tell(f"eai-mcp: {warning}")
    if result.stop_reason == "length":
        screen.tell("eai-mcp: the reply was cut at its limit of tokens; --max-tokens sets another")
    return result


async def _show_as_it_comes(turn: Followed) -> None:
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
async def _interruptible(opened: app.App, turn: Followed) -> AsyncIterator[None]:
    """Ctrl-C ends the turn, not the program, where signals can be caught."""
    if sys.platform == "win32":
        yield
        return
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with app.unwrapped(), anyio.create_task_group() as tasks:
            tasks.start_soon(_interrupt_at_signal, signals, opened, turn)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()


async def _interrupt_at_signal(
    signals: AsyncIterator[signal.Signals], opened: app.App, turn: Followed
) -> None:
    async for _ in signals:
        with suppress(EaiError):  # whoever follows it hears how it ended
            await opened.registry.stop("", turn)
