"""What the store costs: turns kept beside a bare SQLite file, and a large file opened, listed and loaded.

    python tests/bench/store.py [ROUNDS] [--sessions N] [--messages N] [--in FOLDER]

A turn of the store is a `claim` and a `settle`: two messages, two commits. The bare one puts two rows of the
same words into a file with the same settings and commits each, in one thread. Both run in turn on the same
disk; what counts are medians. FOLDER is where the files are made: on the disk that is to be measured.

Issue 4: append p50/p99 and throughput at 64 tasks; 10,000 sessions and 1 M messages: start <= 100 ms, list
page <= 5 ms, load of one <= 5 ms.
"""

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread

from eai_mcp.messages import JsonObject, assistant, line, user
from eai_mcp.store import Claim, Outcome, Put, Settlement, Start
from eai_mcp.store.sqlite import SqliteStore

TEXT = "x" * 600
TURNS = 640
SESSIONS = 64
PUT_AT_ONCE = 100
LOOKS = 50
REPORT: JsonObject = {"effective": {"model": "plain"}, "stop_reason": "end"}

Take: TypeAlias = Callable[[int], Awaitable[None]]


def main() -> None:
    """Print the figures of both parts."""
    parser = argparse.ArgumentParser(description="The store beside bare SQLite, and a large file.")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=100, help="in each session")
    parser.add_argument("--in", dest="folder", type=Path, help="where the files are made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        anyio.run(turns, Path(folder), options.rounds)
        anyio.run(large, Path(folder), options.rounds, options.sessions, options.messages)


@dataclass
class Figures:
    """Of some rounds: how long each turn took, turns a second, and CPU of this process for a turn."""

    ms: list[float] = field(default_factory=list)
    a_second: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        ms = statistics.quantiles(self.ms, n=100)
        a_second, cpu_us = statistics.median(self.a_second), statistics.median(self.cpu_us)
        return f"p50 {ms[49]:6.2f} ms   p99 {ms[98]:7.2f} ms   {a_second:6.0f} turns/s   {cpu_us:5.0f} us CPU"


async def turns(folder: Path, rounds: int) -> None:
    """Turns one after the other, and by 64 tasks at once."""
    store = SqliteStore(folder / "store.db")
    with bare(folder / "bare.db") as plain:
        for tasks in (1, 64):
            figures: dict[str, Figures] = {"store": Figures(), "bare": Figures()}
            for number in range(rounds):
                await measured(figures["store"], kept(store, f"{tasks}-{number}"), tasks)
                await measured(figures["bare"], plain, tasks)
            for name, each in figures.items():
                print(f"{tasks:2} tasks, {name:<5}  {each}")
    await store.aclose()


async def measured(figures: Figures, take: Take, tasks: int) -> None:
    """One round of turns, by some tasks."""
    numbers = iter(range(TURNS))

    async def work() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await take(number)
            figures.ms.append((time.perf_counter() - begun) * 1e3)

    begun, spent = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(work)
    figures.a_second.append(TURNS / (time.perf_counter() - begun))
    figures.cpu_us.append((time.process_time() - spent) / TURNS * 1e6)


def kept(store: SqliteStore, round_name: str) -> Take:
    """Turns of the store, each in the next session."""

    async def take(number: int) -> None:
        # With twice as many sessions as tasks nobody finds a turn still running.
        turn_id, session = f"{round_name}-{number}", f"s{number % (2 * SESSIONS)}"
        claim = await store.claim("", session, Start(turn_id=turn_id, message=user(TEXT), report=REPORT))
        assert isinstance(claim, Claim)
        outcome = Outcome(turn_id=turn_id, status="completed", report=REPORT)
        await store.settle(claim, Settlement(outcome=outcome, messages=(assistant(TEXT),)))

    return take


@contextmanager
def bare(path: Path) -> Iterator[Take]:
    """Two inserts in a thread, each with its session's row and a commit of its own."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE session (id INTEGER PRIMARY KEY, count INTEGER)",
        "CREATE TABLE message (session INTEGER, seq INTEGER, body TEXT)",
        "CREATE UNIQUE INDEX place ON message (session, seq)",
    ):
        connection.execute(statement)
    connection.executemany("INSERT INTO session VALUES (?, 0)", ((number,) for number in range(SESSIONS)))
    limiter = anyio.CapacityLimiter(1)

    def append(session: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE session SET count = count + 1 WHERE id = ?", (session,))
        connection.execute(
            "INSERT INTO message SELECT id, count, ? FROM session WHERE id = ?", (TEXT, session)
        )
        connection.execute("COMMIT")

    async def take(number: int) -> None:
        for _ in range(2):
            await anyio.to_thread.run_sync(append, number % SESSIONS, limiter=limiter)

    yield take
    connection.close()


async def large(folder: Path, rounds: int, sessions: int, messages: int) -> None:
    """A file with many sessions: the first list page from a fresh start, a page, one whole session."""
    path = folder / "large.db"
    begun = time.perf_counter()
    await build(path, sessions, messages)
    print(
        f"{sessions} sessions with {sessions * messages} messages: {path.stat().st_size / 1e6:.0f} MB, "
        f"built in {time.perf_counter() - begun:.0f} s"
    )
    dice = random.Random(1)
    starts: list[float] = []
    pages: list[float] = []
    loads: list[float] = []
    for _ in range(rounds):
        store = SqliteStore(path)
        await timed(starts, store.list(""))
        for _ in range(LOOKS):
            name = f"s{dice.randrange(sessions):05}"
            await timed(pages, store.list("", after=name))
            await timed(loads, store.load("", name))
        await store.aclose()
    for what, ms, target in (("start", starts, 100), ("list page", pages, 5), ("load of one", loads, 5)):
        print(f"{what:<12} median {statistics.median(ms):6.2f} ms   max {max(ms):6.2f}   target {target}")


async def timed(milliseconds: list[float], look: Awaitable[object]) -> None:
    """Note how long a look took."""
    begun = time.perf_counter()
    await look
    milliseconds.append((time.perf_counter() - begun) * 1e3)


async def build(path: Path, sessions: int, messages: int) -> None:
    """Sessions with messages of 600 letters, some hundred in one transaction."""
    store = SqliteStore(path)
    said = (user(TEXT), assistant(TEXT))
    lines = [line(said[seq % 2], turn_id=f"t{seq // 2}") for seq in range(messages)]
    for first in range(0, sessions, PUT_AT_ONCE):
        last = min(first + PUT_AT_ONCE, sessions)
        await store.put("", [Put(name=f"s{number:05}", lines=lines) for number in range(first, last)])
    await store.aclose()


if __name__ == "__main__":
    main()
