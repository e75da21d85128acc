"""`eai-mcp doctor`: what is there, what is missing, and what to do about it."""

import argparse
import importlib.metadata
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio

import eai_mcp
from eai_mcp import app
from eai_mcp.catalog.entries import Model
from eai_mcp.cli import logs, parser, screen
from eai_mcp.errors import EaiError
from eai_mcp.providers import local_status
from eai_mcp.settings import Settings
from eai_mcp.store import database
from eai_mcp.store.sqlite import SqliteStore
from eai_mcp.terminal import Limits

PACKAGES = ("mcp", "anyio", "httpx2", "pydantic", "xllamacpp")
HERE = ("localhost", "127.0.0.1", "::1")
KNOCK_S = 2.0


def doctor(options: argparse.Namespace) -> int:
    """Print a line for each finding; exit code 1 if anything is wrong."""
    logs.to_stderr(options.log_level)
    return anyio.run(_doctor, parser.chosen_settings(options))


async def _doctor(settings: Settings) -> int:
    found = _Findings()
    found.good(f"eai-mcp {eai_mcp.__version__}, Python {platform.python_version()}, {platform.platform()}")
    found.good(", ".join(_version(package) for package in PACKAGES))
    found.folder("cache folder", settings.cache, "EAI_MCP_CACHE")
    await _sessions(found, settings)
    found.folder("folder for exports", settings.exports, "EAI_MCP_EXPORTS")
    found.settings_in(settings.config)
    async with app.opened(settings) as opened:
        await _models(found, opened)
        found.good(f"{len(opened.catalog.prompts())} prompts, {len(opened.catalog.cards())} cards")
        for problem in opened.catalog.problems():
            found.bad(f"{problem}")
    await _terminals(found)
    return 1 if found.is_wrong else 0


async def _sessions(found: "_Findings", settings: Settings) -> None:
    """Whether the file with the sessions can be used."""
    if settings.store is None:
        found.mind("sessions are forgotten at the end of the process (EAI_MCP_STORE=memory:)")
    elif not _may_be_there(settings.store):
        found.folder("folder of the sessions", settings.store.parent, "EAI_MCP_STORE")
    else:
        store = SqliteStore(settings.store)
        try:
            await store.list("", limit=1)
        except EaiError as error:
            found.bad(screen.sentence(error))
        else:
            megabytes = settings.store.stat().st_size / 1e6
            found.good(f"sessions in {settings.store} ({megabytes:.1f} MB)")
        finally:
            await store.aclose()
    if database.is_affected():
        found.mind(
            f"SQLite {sqlite3.sqlite_version} can damage a file that two programs checkpoint at one moment"
            " (corrected in 3.51.3 and 3.53); eai-mcp keeps out of the way of that, but leave the file to it"
        )
    else:
        found.good(f"SQLite {sqlite3.sqlite_version}")


async def _terminals(found: "_Findings") -> None:
    """Whether commands of the chat model would be confined, where terminals are turned on."""
    if sys.platform == "win32":
        return
    from eai_mcp.terminal.sandbox import Confinement, Sandbox

    with _scratch() as folder:
        sandbox = Sandbox(Confinement(folder=folder), limits=Limits(), environ=os.environ)
        why_not = await sandbox.opened()
    if why_not is None:
        found.good("bubblewrap works: commands of the chat model would be confined (--terminal)")
    else:
        found.mind(f"no sandbox for commands of the chat model (--terminal): {why_not}")


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for a moment, in which another user may look, as whom root's commands run."""
    with tempfile.TemporaryDirectory(prefix="eai-mcp-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _may_be_there(path: Path) -> bool:
    """Whether there is a file, or it cannot be known: then the store says why."""
    try:
        return path.exists()
    except OSError:
        return True


async def _models(found: "_Findings", opened: app.App) -> None:
    """What can answer, what cannot and why, in a line for each reason; then the default model by itself."""
    missing: dict[str, str | None] = {}

    async def look(model: Model) -> None:
        missing[model.name] = opened.missing(model) or await _silence(model)

    models = opened.catalog.models()
    async with anyio.create_task_group() as tasks:
        for model in models:
            tasks.start_soon(look, model)
    reasons: dict[str, list[str]] = {}
    for model in models:
        if reason := missing[model.name]:
            reasons.setdefault(reason, []).append(model.name)
    ready = [model.name for model in models if not missing[model.name]]
    found.good(f"models that can answer: {', '.join(ready) or 'none'}")
    for reason, names in reasons.items():
        found.note(f"{', '.join(names)}: {reason}")
    _default_model(found, opened, missing)


def _default_model(found: "_Findings", opened: app.App, missing: dict[str, str | None]) -> None:
    name = opened.settings.model
    try:
        model = opened.catalog.model(name)
        reason = missing[name]
    except EaiError as error:
        reason = screen.sentence(error)
    if reason is not None:
        found.bad(f"the default model {name} cannot answer: {reason}")
        return
    standing = f"; {local_status.status(model, opened.parts).text}" if model.provider == "local" else ""
    found.good(f"the default model is {name}{standing}")


async def _silence(model: Model) -> str | None:
    """Why a model that is served on this machine cannot answer: nothing listens there. No other is asked."""
    address = urlsplit(model.base_url or "")
    if address.hostname not in HERE:
        return None
    port = address.port or (443 if address.scheme == "https" else 80)
    with anyio.move_on_after(KNOCK_S):
        try:
            stream = await anyio.connect_tcp(address.hostname, port)
        except OSError:
            return f"nothing answers at {address.hostname}:{port}; is it running?"
        await stream.aclose()
    return None


class _Findings:
    """Lines with a mark: what is good, what is missing, what is wrong."""

    is_wrong = False

    def good(self, text: str) -> None:
        screen.show(f"ok       {text}\n")

    def note(self, text: str) -> None:
        screen.show(f"missing  {text}\n")

    def mind(self, text: str) -> None:
        screen.show(f"note     {text}\n")

    def bad(self, text: str) -> None:
        self.is_wrong = True
        screen.show(f"WRONG    {text}\n")

    def settings_in(self, path: Path) -> None:
        """The folder of the configuration, which need not be there."""
        try:
            self.good(f"configuration folder {path}{'' if path.is_dir() else ' (not made yet)'}")
        except OSError as error:
            self.bad(
                f"configuration folder {path} cannot be used: {error.strerror}; EAI_MCP_CONFIG names another"
            )

    def folder(self, what: str, path: Path, variable: str) -> None:
        """A folder that is not there yet is made when it is needed, if the one above it can be written."""
        try:
            there = next(each for each in (path, *path.parents) if each.exists())
        except OSError as error:
            self.bad(f"{what} {path} cannot be used: {error.strerror}; {variable} names another")
            return
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            self.good(f"{what} {path}{'' if there == path else ' (not made yet)'}")
        else:
            self.bad(
                f"{what} {path} cannot be written: {there} is not ours to write; {variable} names another"
            )


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} not installed"
