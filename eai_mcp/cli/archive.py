"""`eai-mcp export`, `import`, `snapshot` and `restore`: histories into files, and back.

What was done is told on standard output, or on standard error where the file itself goes there.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import anyio
import anyio.from_thread

from eai_mcp import app
from eai_mcp.chat.archive import Archive
from eai_mcp.cli import logs, parser, screen, typed
from eai_mcp.errors import ConfigError, PathDenied, StorageFull, StorageUnavailable
from eai_mcp.formats import FULL, Tally, files, outlets, writing
from eai_mcp.formats.outlets import Pieces, Saved
from eai_mcp.server import progress

STANDARD = "-"
AT_ONCE = 4096


def export(options: argparse.Namespace) -> int:
    """Write one session's history."""

    async def work(archive: Archive, tally: Tally) -> int:
        form = options.format or writing.form_of(options.file)
        packed = options.file != STANDARD and writing.is_packed(form, options.file)
        exported, saved = await archive.export(
            "", options.session, form, _sink(options.file), tally=tally, packed=packed
        )
        for what in exported.left_out:
            screen.tell(f"eai-mcp: {what}")
        _done(options.file, f"{tally.messages:,} messages of {options.session} as {form}", saved)
        return 0

    return _run(options, work)


def import_(options: argparse.Namespace) -> int:
    """Put a file's history in place of a session's."""

    async def work(archive: Archive, tally: Tally) -> int:
        done = await archive.replace(
            "", options.session, lambda: _source(options.file), options.format, tally=tally
        )
        for repair in done.repairs:
            screen.tell(f"eai-mcp: {repair}")
        screen.show(
            f"{done.session}: {done.message_count:,} messages, read as {done.format}; "
            f"revision {done.revision}\n"
        )
        return 0

    return _run(options, work)


def snapshot(options: argparse.Namespace) -> int:
    """Write all sessions to one file."""

    async def work(archive: Archive, tally: Tally) -> int:
        copied, saved = await archive.snapshot("", _sink(options.file), tally=tally, wait_s=options.wait)
        for what in copied.left_out:
            screen.tell(f"eai-mcp: {what}")
        _done(options.file, f"{copied.session_count:,} sessions, {copied.message_count:,} messages", saved)
        return 0

    return _run(options, work)


def restore(options: argparse.Namespace) -> int:
    """Bring all sessions of a snapshot back."""

    async def work(archive: Archive, tally: Tally) -> int:
        done = await archive.restore("", lambda: _source(options.file), options.mode, tally=tally)
        for repair in done.repairs:
            screen.tell(f"eai-mcp: {repair}")
        screen.show(f"{done.session_count:,} sessions, {done.message_count:,} messages restored\n")
        return 0

    return _run(options, work)


def _run(options: argparse.Namespace, work: Callable[[Archive, Tally], Awaitable[int]]) -> int:
    logs.to_stderr(options.log_level)

    async def opened() -> int:
        async with app.opened(parser.chosen_settings(options)) as parts, progress.counted(_report) as tally:
            return await work(parts.registry.archive, tally)

    return anyio.run(opened)


async def _report(seconds: float, messages: int) -> None:
    screen.tell(f"{messages:,} messages so far")


def _done(file: str, what: str, saved: Saved) -> None:
    line = f"{what}: {saved.size_bytes:,} bytes, sha256 {saved.sha256}"
    if file == STANDARD or sys.stdout is None:
        screen.tell(line)
    else:
        screen.show(f"{line}, in {saved.path}\n")


def _sink(file: str) -> Callable[[Pieces], Saved]:
    if file != STANDARD:
        return outlets.saving(*_named(file))
    return _to_stdout


def _named(file: str) -> tuple[files.Folder, str]:
    path = Path(file)
    if path.is_dir():
        raise PathDenied(f"{file!r} is a folder; name a file in it", path=file)
    if not path.parent.is_dir():
        raise PathDenied(
            f"there is no folder {str(path.parent)!r}; make it, or name a file elsewhere", path=file
        )
    return files.anywhere(path)


def _to_stdout(pieces: Pieces) -> Saved:
    if sys.stdout is None:
        raise BrokenPipeError
    if sys.stdout.isatty():
        raise ConfigError("standard output is a terminal; name a file")
    descriptor = sys.stdout.fileno()
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        # Not written in this thread: it would go on waiting for a reader when it is stopped by hand.
        anyio.from_thread.run(_write, descriptor, piece)
        size += len(piece)
        digest.update(piece)
    return Saved(Path(STANDARD), size, digest.hexdigest())


async def _write(descriptor: int, piece: bytes) -> None:
    """Write all of it; a pipe takes this much at once whenever it is ready.

    Raises:
        BrokenPipeError: Nobody reads any more.
        StorageUnavailable: It cannot be written.
    """
    at = 0
    while at < len(piece):
        if sys.platform != "win32":
            with suppress(OSError):  # a regular file cannot be waited for, and need not be
                await anyio.wait_writable(descriptor)
        try:
            at += os.write(descriptor, piece[at : at + AT_ONCE])
        except BrokenPipeError:
            raise
        except OSError as error:
            kind = StorageFull if error.errno in FULL else StorageUnavailable
            raise kind(f"standard output cannot be written: {error.strerror}") from error


def _source(file: str) -> AbstractContextManager[Iterator[bytes]]:
    if file != STANDARD:
        folder, name = _named(file)
        return folder.reading(name)
    return _stdin()


@contextmanager
def _stdin() -> Iterator[Iterator[bytes]]:
    if sys.stdin is None:
        raise ConfigError("standard input is closed, and it is where the file should come from")
    descriptor = sys.stdin.fileno()
    # Not read in this thread: it would go on waiting for more when it is stopped by hand.
    yield iter(lambda: anyio.from_thread.run(typed.read, descriptor), b"")
