"""The processes of a terminal, as the kernel tells of them, and how they are ended.

They are those that descend from the child that we started, or are in its session. A daemon stays among them
as long as something above it inherits orphans: the launcher does, and the first process of a namespace. Where
there is no /proc, `ps` is asked; it does not say when a process began.

A look at all of them takes seconds where a fork bomb holds each core, so it is taken in a worker thread,
which whoever waits for it may leave behind.
"""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

PROC = Path("/proc")
LINUX = sys.platform == "linux"
STOP_ROUNDS = 50
MEMBERS = 256
LOOK_S = 0.01
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `began` is in the kernel's ticks since it started, 0 where it is not known."""

    pid: int
    parent: int
    group: int
    session: int
    began: int


def now() -> int:
    """What `began` is of a process that begins now."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) / TICK_S) if LINUX else 0


def everyone() -> dict[int, Process]:
    """Each process that has not ended, by its number."""
    found = _listed() if not LINUX else filter(None, map(_told, _numbers()))
    return {process.pid: process for process in found}


def family(root: int) -> set[Process]:
    """What descends from process `root` or is in its session, and `root` itself."""
    table = everyone()
    below = _children(table.values())
    found: set[int] = set()
    fresh = [process.pid for process in table.values() if root in {process.pid, process.session}]
    while fresh:
        pid = fresh.pop()
        if pid not in found:
            found.add(pid)
            fresh += [child.pid for child in below[pid]]
    return {table[pid] for pid in found}


def since(began: int, root: int, shell: int) -> set[Process]:
    """Those of the terminal's that began at `began` or later, nor descend from an earlier one.

    Whatever lies between `root` and `shell` holds the shell, and is not counted.
    """
    relatives = {process.pid: process for process in family(root)}
    holders = {shell}
    at = relatives.get(shell)
    while at is not None:
        holders.add(at.pid)
        at = relatives.get(at.parent) if at.parent not in holders else None
    below = _children(relatives.values())
    earlier: set[int] = set()
    fresh = [pid for pid, process in relatives.items() if process.began < began and pid not in holders]
    while fresh:
        pid = fresh.pop()
        earlier.add(pid)
        fresh += [child.pid for child in below[pid] if child.pid not in earlier | holders]
    return {process for pid, process in relatives.items() if pid not in earlier | holders}


async def found(find: Callable[[], set[Process]]) -> set[Process]:
    """What `find` finds, without holding up the event loop."""
    return await to_thread.run_sync(find, abandon_on_cancel=True)


async def surely(find: Callable[[], set[Process]]) -> set[Process]:
    """What is found, and nothing only if that is found twice.

    One that starts another and ends while we look may be missed, with the other: that began after we looked.
    """
    return await found(lambda: find() or find())


def group(shell: int, number: int) -> list[int]:
    """The members of a process group that the shell has in the foreground; of a storm only some."""
    seen: list[Process] = []
    fresh = [shell]
    try:
        while fresh and len(seen) < MEMBERS:
            pid = fresh.pop()
            if (process := _told(pid)) is not None:
                seen.append(process)
                fresh += _below(pid)
    except FileNotFoundError:  # a kernel that does not list the children
        seen = list(everyone().values())
    return [process.pid for process in seen if process.group == number]


def send(number: int, to: Iterable[int]) -> None:
    """Send a signal to processes, whether they are still there or not."""
    for pid in to:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


async def ended(find: Callable[[], set[Process]], *, within_s: float, stop: bool = False) -> bool:
    """Kill what is found until there is nothing more; whether that was within the time.

    With `stop` all are stopped before the first is killed, so that a fork bomb cannot fill its place. Not
    where the shell shall live: it would take a stopped job for one that is over. Our own child, which holds
    the others, is killed last.
    """
    seen: set[int] = set()
    with anyio.move_on_after(within_s):
        if stop:
            await _stop(find, seen)
        while left := await surely(find):
            seen |= _pids(left)
            send(signal.SIGKILL, _held(left) or _pids(left))
            await anyio.sleep(LOOK_S)
        return True
    if stop:
        send(signal.SIGKILL, seen)  # none may stay stopped
    return False


async def _stop(find: Callable[[], set[Process]], seen: set[int]) -> None:
    for _ in range(STOP_ROUNDS):
        there = await found(find)
        fresh = _held(there) - seen
        seen |= _pids(there)
        if not fresh:
            return
        send(signal.SIGSTOP, fresh)


def _held(of: set[Process]) -> set[int]:
    """Without our own children: these hold the others together, and may just be ending them."""
    return {process.pid for process in of if process.parent != os.getpid()}


def _pids(of: Iterable[Process]) -> set[int]:
    return {process.pid for process in of}


def _children(of: Iterable[Process]) -> dict[int, list[Process]]:
    below: dict[int, list[Process]] = defaultdict(list)
    for process in of:
        below[process.parent].append(process)
    return below


def _numbers() -> Iterator[int]:
    return (int(name) for name in os.listdir(PROC) if name.isdecimal())  # noqa: PTH208  # only the names


def _told(pid: int) -> Process | None:
    """None for one that has ended, also if nobody has asked for its status."""
    try:
        # Without pathlib, which takes as long as the kernel does.
        descriptor = os.open(f"{PROC}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        told = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    # The name in front may hold blanks and parentheses.
    fields = told.rpartition(b")")[2].split()
    if fields[0] in {b"Z", b"X"}:
        return None
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _below(pid: int) -> list[int]:
    """The children of a process: each thread has its own."""
    found: list[int] = []
    tasks = PROC / str(pid) / "task"
    with suppress(ProcessLookupError, PermissionError):
        for thread in os.listdir(tasks) if tasks.exists() else []:  # noqa: PTH208  # only the names
            found += map(int, (tasks / thread / "children").read_bytes().split())
    return found


def _listed() -> Iterator[Process]:
    lines = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    for pid, parent, of_group, state in (line.split()[:4] for line in lines):
        if "Z" not in state:
            yield Process(int(pid), int(parent), int(of_group), 0, 0)
