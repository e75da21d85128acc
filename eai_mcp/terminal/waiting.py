"""Whether a program waits to be typed to, as far as the kernel tells.

Linux shows in which call each thread sleeps, and what it waits for there. A read of the terminal is certain,
and so is a wait for the terminal alone. A program that waits for the terminal and for other things too may
only look whether somebody presses a key: then it counts if its last line looks like a prompt.
"""

import os
import platform
import re
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

PROC = Path("/proc")
THREADS = 64
POLLED = 1024
_CALLS = {
    "x86_64": {
        0: "read",
        19: "read",
        7: "poll",
        271: "poll",
        23: "select",
        270: "select",
        232: "epoll",
        281: "epoll",
    },
    "aarch64": {63: "read", 65: "read", 73: "poll", 72: "select", 22: "epoll"},
}.get(platform.machine(), {})
_PROMPT = re.compile(r"(?:[:?] |[>$#] ?|[(\[](?:y|yes)/(?:n|no)[)\]][:?]? ?)\Z", re.IGNORECASE)
_TTYS = range(136, 144)  # the kernel's major numbers of pseudo-terminals


def looks_like_prompt(line: str) -> bool:
    """Whether the end of a line asks for something."""
    return bool(line.strip()) and bool(_PROMPT.search(line))


def reads(pids: Sequence[int]) -> bool | None:
    """Whether one of the processes waits for the terminal; None if it may."""
    said = [_process(pid) for pid in pids] or [None]
    return True if True in said else None if None in said else False


def _process(pid: int) -> bool | None:
    try:
        threads = sorted((PROC / str(pid) / "task").iterdir())[:THREADS]
        said = [_thread(thread) for thread in threads]
    except PermissionError:
        return None  # it runs with other rights than ours
    except OSError:
        return False if PROC.joinpath("self").exists() else None
    return True if True in said else None if None in said else False


def _thread(at: Path) -> bool | None:
    """Whether a thread sleeps until something is typed; None if other things may wake it too."""
    words = (at / "syscall").read_text(encoding="ascii").split()
    if len(words) < 6:
        return False  # it runs
    call, first, second, third, fourth = int(words[0]), *(int(word, 16) for word in words[1:5])
    match _CALLS.get(call) if _CALLS else "?":
        case "read":
            return _is_terminal(at, first)
        case "poll":
            return _among(at, _polled(at, first, second), forever=third in {0, 0xFFFFFFFF})
        case "select":
            return _among(at, _selected(at, first, second), forever=not int(words[5], 16))
        case "epoll":
            return _among(at, _registered(at, first), forever=fourth == 0xFFFFFFFF)
        case "?":
            return None
        case _:
            return False


def _among(at: Path, watched: Sequence[int], *, forever: bool) -> bool | None:
    terminals = [number for number in watched if _is_terminal(at, number)]
    if not terminals:
        return False
    return True if forever and len(terminals) == len(watched) else None


def _polled(at: Path, address: int, count: int) -> list[int]:
    memory = _memory(at, address, min(count, POLLED) * 8)
    return [number for number, events, _ in struct.iter_unpack("=ihh", memory) if events & 1]


def _selected(at: Path, count: int, address: int) -> list[int]:
    """Those of the first set, which is that of reading."""
    bits = int.from_bytes(_memory(at, address, 128), "little") if address else 0
    return [number for number in range(min(count, POLLED)) if bits >> number & 1]


def _registered(at: Path, number: int) -> list[int]:
    told = (at / "fdinfo" / str(number)).read_text(encoding="ascii")
    return [int(found) for found in re.findall(r"^tfd:\s*(\d+)", told, re.MULTILINE)]


def _memory(at: Path, address: int, count: int) -> bytes:
    descriptor = os.open(at / "mem", os.O_RDONLY)
    try:
        return os.pread(descriptor, count, address)
    finally:
        os.close(descriptor)


def _is_terminal(at: Path, number: int) -> bool:
    try:
        found = (at / "fd" / str(number)).stat()
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(found.st_mode) and (
        os.major(found.st_rdev) in _TTYS or found.st_rdev == os.makedev(5, 0)  # /dev/tty
    )
