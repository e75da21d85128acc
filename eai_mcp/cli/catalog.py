"""`eai-mcp models`, `prompts` and `cards`: what there is to choose from."""

import argparse

import anyio

from eai_mcp import app
from eai_mcp.cli import logs, parser, screen
from eai_mcp.server import listing

WIDTH = 100


def show(options: argparse.Namespace) -> int:
    """Print a line for each entry, and what is wrong with files to standard error."""
    logs.to_stderr(options.log_level)
    return anyio.run(_show, options)


async def _show(options: argparse.Namespace) -> int:
    async with app.opened(parser.chosen_settings(options)) as opened:
        told = listing.catalog(opened, options.kind, options.filter)
        for entry in told["entries"]:
            mark = "*" if entry.get("default") else " "
            needs = f"  [{entry['needs']}]" if "needs" in entry else ""
            description = " ".join(entry.get("description", "").split())
            if len(description) > WIDTH:
                description = description[: WIDTH - 1] + "…"
            screen.show(f"{mark} {entry['name']:<20} {description}{needs}\n")
        for problem in told.get("problems", []):
            screen.tell(f"eai-mcp: {problem}")
    return 0
