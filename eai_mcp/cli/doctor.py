"""`eai-mcp doctor`: what is there, what is missing, and what to do about it."""

import argparse
import importlib.metadata
import os
import platform
from pathlib import Path

import anyio

import eai_mcp
from eai_mcp import app
from eai_mcp.cli import logs, parser, screen
from eai_mcp.errors import EaiError
from eai_mcp.settings import Settings

PACKAGES = ("mcp", "anyio", "httpx2", "pydantic", "xllamacpp")


def doctor(options: argparse.Namespace) -> int:
    """Print a line for each finding; exit code 1 if the default model cannot answer."""
    logs.to_stderr(options.log_level)
    return anyio.run(_doctor, parser.chosen_settings(options))


async def _doctor(settings: Settings) -> int:
    found = _Findings()
    found.good(f"eai-mcp {eai_mcp.__version__}, Python {platform.python_version()}, {platform.platform()}")
    found.good(", ".join(_version(package) for package in PACKAGES))
    found.folder("cache", settings.cache)
    found.folder("configuration", settings.config)
    async with app.opened(settings) as opened:
        _catalog(found, opened)
        return _default_model(found, opened)


def _catalog(found: "_Findings", opened: app.App) -> None:
    models = opened.catalog.models()
    ready = [model.name for model in models if opened.missing(model) is None]
    found.good(f"models ready: {', '.join(ready) or 'none'}")
    for model in models:
        if missing := opened.missing(model):
            found.note(f"model {model.name}: {missing}")
    found.good(f"{len(opened.catalog.prompts())} prompts, {len(opened.catalog.cards())} cards")
    for problem in opened.catalog.problems():
        found.bad(f"skipped {problem}")


def _default_model(found: "_Findings", opened: app.App) -> int:
    name = opened.settings.model
    try:
        missing = opened.missing(opened.catalog.model(name))
    except EaiError as error:
        missing = error.message
    if missing is None:
        found.good(f"the default model {name} can answer")
        return 0
    found.bad(f"the default model {name} cannot answer: {missing}")
    return 1


class _Findings:
    """Lines with a mark: what is good, what is missing, what is wrong."""

    def good(self, text: str) -> None:
        screen.show(f"ok       {text}\n")

    def note(self, text: str) -> None:
        screen.show(f"missing  {text}\n")

    def bad(self, text: str) -> None:
        screen.show(f"WRONG    {text}\n")

    def folder(self, what: str, path: Path) -> None:
        """A folder that is not there yet is made when it is needed, if the one above it can be written."""
        there = next(each for each in (path, *path.parents) if each.exists())
        if there.is_dir() and _writable(there):
            self.good(f"{what} folder {path}{'' if there == path else ' (not made yet)'}")
        else:
            self.bad(
                f"{what} folder {path} cannot be written: {there} is not ours to write; set EAI_MCP_CACHE"
            )


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} not installed"
