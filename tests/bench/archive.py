"""What a long history costs on its way into a file and back, in each format, and all sessions at once.

    python tests/bench/archive.py [MESSAGES] [--in FOLDER]

Each format is written and read in a fresh process, on a file store with a session of MESSAGES messages
(users' text, answers with a thought, every tenth with a tool and its result). Told are the seconds, CPU and
wall, and by how much the peak of the resident memory grew (Linux); beside it the bare `json` module, which
writes and reads the same messages as one list held in memory.

Issue 5: 100,000 messages export and import in seconds with bounded memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from eai_mcp import messages
from eai_mcp.chat.archive import Archive
from eai_mcp.formats import Tally, files, outlets, writing
from eai_mcp.messages import (
    Line,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    line,
    user,
)
from eai_mcp.store import Put
from eai_mcp.store.sqlite import SqliteStore

FORMS = ("eai-mcp", "jsonl", "converse", "openai", "openai-responses", "anthropic", "markdown")
TEXT = "What is there to say about a history that goes on for a while? " * 6
SESSIONS = 100


def main() -> None:
    """Print a line for each piece of work."""
    parser = argparse.ArgumentParser(description="Long histories into files and back.")
    parser.add_argument("messages", nargs="?", type=int, default=100_000)
    parser.add_argument("--in", dest="folder", type=Path, help="where the files are made")
    parser.add_argument("--only", nargs=2, metavar=("WORK", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        anyio.run(one, options.only[0], Path(options.only[1]))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        anyio.run(filled, folder, options.messages)
        print(f"{options.messages:,} messages")
        for form in FORMS:
            run("export", form, folder)
            if form != "markdown":
                run("import", form, folder)
        run("snapshot", "all", folder)
        run("restore", "all", folder)
        run("bare", "json", folder)


def run(work: str, form: str, folder: Path) -> None:
    """Do a piece of work in a process of its own, which prints its line."""
    command = [sys.executable, "-m", "tests.bench.archive", "--only", f"{work} {form}", str(folder)]
    subprocess.run(command, check=True, timeout=600, cwd=Path(__file__).parents[2])


def history(count: int) -> Iterator[Line]:
    """Messages of a session that used a tool now and then."""
    for number in range(count):
        yield line(said(number), turn_id=f"t_{number // 2:012x}", at=1.7e9 + number)


def said(number: int) -> Message:
    match number % 20:
        case 17:
            use = ToolUseBlock(f"use-{number}", "look", {"where": [number, "there"], "deep": {"a": None}})
            return Message("assistant", (TextBlock(TEXT), use))
        case 18:
            return user((ToolResultBlock(f"use-{number - 1}", (TextBlock(TEXT),)),))
        case 1 | 3 | 5 | 7 | 9 | 11 | 13 | 15 | 19:
            return Message("assistant", (ThinkingBlock("hm", "sealed"), TextBlock(TEXT)))
        case _:
            return user(f"{number}: {TEXT}")


async def filled(folder: Path, count: int) -> None:
    """A file with one long session, and one with many."""
    for name, sessions in (("long.db", 1), ("many.db", SESSIONS)):
        store = SqliteStore(folder / name)
        lines = [*history(count // sessions)]
        for number in range(sessions):
            await store.put("", [Put(name=f"s{number}", lines=lines)])
        await store.aclose()


async def one(what: str, folder: Path) -> None:
    """A piece of work, measured."""
    work, form = what.split()
    if work == "bare":
        bare(folder)
        return
    store = SqliteStore(folder / ("many.db" if form == "all" else "long.db"))
    await store.list("")
    archive = Archive(store, save=nothing)
    tally = Tally()
    place = files.Folder(folder)
    name = f"{form}.gz" if form in ("eai-mcp", "all") else form
    with measured(f"{work:<8} {form:<17}", lambda: (folder / name).stat().st_size):
        match work:
            case "export":
                packed = writing.is_packed(form, name)  # type: ignore[arg-type]  # one of FORMS
                sink = outlets.saving(place, name)
                await archive.export("", "s0", form, sink, tally=tally, packed=packed)  # type: ignore[arg-type]  # one of FORMS
            case "import":
                await archive.replace("", "new", lambda: place.reading(name), tally=tally)
            case "snapshot":
                await archive.snapshot("", outlets.saving(place, name), tally=tally)
            case "restore":
                await archive.restore("", lambda: place.reading(name), "replace", tally=tally)
            case _:
                raise ValueError(work)
    await store.aclose()


async def nothing(key: tuple[str, str]) -> None:
    """No turn has ended that could not be saved."""


def bare(folder: Path) -> None:
    """The same with nothing but the standard library: all in memory, checked by nobody."""
    rows = [json.loads(row) for row in (folder / "jsonl").read_text(encoding="utf-8").splitlines()]
    with measured("bare json, out and in     ", lambda: 0):
        text = json.dumps(rows, separators=(",", ":"))
        for row in json.loads(text):
            messages.decode({name: row[name] for name in ("role", "content", "partial")})


@contextmanager
def measured(name: str, size: Callable[[], int]) -> Iterator[None]:
    """Print what the block took."""
    forget_peak()
    before, cpu, wall = peak_mb(), time.process_time(), time.perf_counter()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown = peak_mb() - before
    print(
        f"{name}  {cpu:6.2f} s CPU  {wall:6.2f} s   +{grown:6.1f} MB   {size() / 1e6:7.1f} MB file",
        flush=True,
    )


def forget_peak() -> None:
    """Let the peak be what it is now: a process inherits that of its parent."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """The largest resident memory since then."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
