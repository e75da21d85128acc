"""`eai-mcp fetch`: the weights of the model `local`, before anybody waits for them."""

import argparse

import anyio

from eai_mcp.cli import logs, parser, screen
from eai_mcp.providers import weights


def fetch(options: argparse.Namespace) -> int:
    """Download them into the cache, or say that they are there."""
    logs.to_stderr(options.log_level)
    settings = parser.chosen_settings(options)

    async def report(text: str) -> None:
        screen.show(f"{text}\n")

    async def fetched() -> None:
        path = await weights.fetch(settings.cache, report, offline=settings.offline)
        screen.show(f"the weights are at {path}\n")

    anyio.run(fetched)
    return 0
