"""Memory of a server that has kept many sessions, beside a bare server that answered as many calls.

    python tests/bench/sessions.py [SESSIONS] [--messages N] [--store memory:]

Both are real processes over stdio, and a client that writes lines of JSON calls `talk` (ours, the model is a
script) or `echo` (the SDK's) with the same words. What is told is the resident memory (Linux) once
`tools/list` was answered, after the first turn, which loads what is loaded late, and at the end.

Issue 4: memory after 1,000 sessions of 20 messages <= 15 MB above the idle server.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.startup import INITIALIZE, INITIALIZED, LIST, TOP

TEXT = "How much is there in a session that goes on for a while? " * 8
AT_ONCE = 16


def main() -> None:
    """Print a line for each server."""
    parser = argparse.ArgumentParser(description="Memory after many sessions, ours beside a bare server.")
    parser.add_argument("sessions", nargs="?", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=20, help="in each session")
    parser.add_argument("--store", default="", help="where ours keeps them: memory:, or a file (default)")
    options = parser.parse_args()
    turns = options.messages // 2
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or str(Path(folder) / "sessions.db")
        ours = [sys.executable, "-m", "eai_mcp", "serve", "--model", "echo", "--store", store]
        bare = [sys.executable, str(TOP / "tests" / "bench" / "bare.py")]
        talks = [
            ("talk", {"content": TEXT, "chat_session": f"s{session}", "if_busy": "wait"})
            for _ in range(turns)
            for session in range(options.sessions)
        ]
        grown = report("ours", *measured(ours, talks))
        floor = report("bare", *measured(bare, [("echo", {"text": TEXT})] * len(talks)))
    print(f"ours above its idle self {grown:.1f} MB, bare above its own {floor:.1f} MB; target 15 MB")


def report(name: str, idle: float, first: float, last: float, seconds: float) -> float:
    """A line; returns by how much it grew."""
    print(
        f"{name:<5} idle {idle:6.1f} MB   after the first turn {first:6.1f} MB   at the end {last:6.1f} MB"
        f"   ({seconds:.0f} s)"
    )
    return last - idle


def measured(command: Sequence[str], calls: Sequence[tuple[str, dict[str, Any]]]) -> tuple[float, ...]:
    """Megabytes when idle, after one call and after all, and the seconds that took."""
    with server(command) as process:
        for message in (INITIALIZE, INITIALIZED, LIST):
            send(process, message)
            if "id" in message:
                answer(process)
        idle = resident(process.pid)
        call(process, 3, *calls[0])
        answer(process)
        first = resident(process.pid)
        begun = time.perf_counter()
        for number, each in enumerate(calls[1:]):
            call(process, number + 4, *each)
            if number >= AT_ONCE:
                answer(process)
        for _ in range(min(AT_ONCE, len(calls) - 1)):
            answer(process)
        return idle, first, resident(process.pid), time.perf_counter() - begun


@contextmanager
def server(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, without our variables."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TOP, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def call(process: subprocess.Popen[bytes], number: int, tool: str, arguments: dict[str, Any]) -> None:
    """Ask for a tool."""
    params = {"name": tool, "arguments": arguments}
    send(process, {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


def send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    """Write a line."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[bytes]) -> None:
    """Read the next answer, which must be a good one."""
    assert process.stdout is not None
    while True:
        told = json.loads(process.stdout.readline())
        if "id" in told:
            assert not told["result"].get("isError"), told
            return


def resident(pid: int) -> float:
    """Megabytes of resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
