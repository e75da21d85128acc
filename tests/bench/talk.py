"""What a `talk` costs over stdio, beside an echo tool on a bare server of the SDK.

    python -m tests.bench.talk [ROUNDS] [--calls N] [--starts N] [--bin FOLDER]

Real processes, and a client that writes lines of JSON. Ours twice, with the sessions in memory and in a file;
its model is a script that says the words back. What is told is the CPU of one call with nothing else to do,
the calls a second with 100 in flight (of sessions that differ), the resident memory once `tools/list` was
answered, and the start. All servers take their turn in each round, and the ratios of each round are taken:
the median is what counts, since machines are noisy.

Issue 8: ratios in one run: CPU of a `talk` over stdio with the scripted model <= 1.5 x an echo tool on the
bare low-level SDK; 100 in flight >= 0.8 x its throughput; start to `tools/list` <= 1.3 x; idle memory
<= 1.2 x.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import startup
from tests.bench.sessions import answer, call, resident, send, server
from tests.bench.startup import INITIALIZE, INITIALIZED, LIST, TOP

TEXT = "How much is it to say a few words to somebody, and to be answered?"
IN_FLIGHT = 100
TURNS = 10
"""How many are taken in each session."""


@dataclass
class Bench:
    """A server, and what was measured of it in each round: microseconds, and calls a second."""

    name: str
    process: subprocess.Popen[bytes]
    asked: int = 0
    cpu: list[float] = field(default_factory=list)
    throughput: list[float] = field(default_factory=list)

    def ask(self, session: str) -> int:
        """Send one call, and return its id."""
        self.asked += 1
        if self.name == "bare":
            call(self.process, self.asked, "echo", {"text": TEXT})
        else:
            call(self.process, self.asked, "talk", {"content": TEXT, "chat_session": session})
        return self.asked

    def one_by_one(self, calls: int) -> float:
        """CPU microseconds of each of some calls, with one in flight."""
        before = startup.cpu(self.process.pid)
        for number in range(calls):
            self.ask(f"one-{self.asked - number}-{number // TURNS}")
            answer(self.process)
        return (startup.cpu(self.process.pid) - before) / calls * 1e6

    def all_at_once(self, calls: int) -> float:
        """Calls a second, with many in flight; a session is talked to again once it has answered."""
        begun, left = time.perf_counter(), calls
        sessions = {self.ask(name): name for name in (f"many-{self.asked}-{i}" for i in range(IN_FLIGHT))}
        while sessions:
            name = sessions.pop(answered(self.process))
            left -= 1
            if left >= IN_FLIGHT:
                sessions[self.ask(name)] = name
        return calls / (time.perf_counter() - begun)


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description="What a talk costs, beside a bare echo.")
    parser.add_argument("rounds", nargs="?", type=int, default=9)
    parser.add_argument("--calls", type=int, default=400, help="of each kind, in each round")
    parser.add_argument("--starts", type=int, default=9, help="rounds of the start; 0 leaves it out")
    parser.add_argument(
        "--bin", type=Path, help="the environment's folder of commands, by default a fresh one"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        benches, idle = [], []
        for name, command in commands(Path(folder)).items():
            bench = Bench(name, stack.enter_context(server(command)))
            idle.append(begin(bench))
            bench.one_by_one(100)
            benches.append(bench)
        for _ in range(options.rounds):
            for bench in benches:
                bench.cpu.append(bench.one_by_one(options.calls))
            for bench in benches:
                bench.throughput.append(bench.all_at_once(max(options.calls, 2 * IN_FLIGHT)))
    report(benches, idle)
    if options.starts:
        begun(options.starts, options.bin)


def commands(folder: Path) -> dict[str, Sequence[str]]:
    """Each server by its name, the one that the others are measured by last."""
    ours = [sys.executable, "-m", "eai_mcp", "serve", "--model", "echo", "--store"]
    return {
        "memory": [*ours, "memory:"],
        "file": [*ours, str(folder / "sessions.db")],
        "bare": [sys.executable, str(TOP / "tests" / "bench" / "bare.py")],
    }


def begin(bench: Bench) -> float:
    """Say hello; returns the megabytes of the idle server."""
    for message in (INITIALIZE, INITIALIZED, LIST):
        send(bench.process, message)
        if "id" in message:
            answer(bench.process)
    bench.asked = 2  # the id of the last question
    return resident(bench.process.pid)


def answered(process: subprocess.Popen[bytes]) -> int:
    """The id of the next answer, which must be a good one."""
    assert process.stdout is not None
    told: dict[str, Any] = {}
    while "id" not in told:  # ours also says when the list of its sessions has changed
        told = json.loads(process.stdout.readline())
    assert not told["result"].get("isError"), told
    return int(told["id"])


def report(benches: Sequence[Bench], idle: Sequence[float]) -> None:
    """A line for each server; the ratios are to the last one."""
    floor = benches[-1]
    for bench, size in zip(benches, idle, strict=True):
        dearer = compared(bench.cpu, floor.cpu)
        faster = compared(bench.throughput, floor.throughput)
        print(
            f"{bench.name:<7} CPU {statistics.median(bench.cpu):5.0f} us a call, {dearer};"
            f"  {IN_FLIGHT} in flight {statistics.median(bench.throughput):5.0f} calls/s, {faster};"
            f"  idle {size:.1f} MB, x {size / idle[-1]:.2f}"
        )
    print("targets: CPU x 1.5, in flight x 0.8, idle x 1.2")


def compared(ours: Sequence[float], floor: Sequence[float]) -> str:
    """The ratio of each round: the median, and between what it was."""
    ratios = [mine / its for mine, its in zip(ours, floor, strict=True)]
    return f"x {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def begun(rounds: int, commands: Path | None) -> None:
    """The start, as `startup` measures it."""
    with tempfile.TemporaryDirectory() as folder:
        startup.report(startup.pairs(commands or startup.install(Path(folder)), rounds))


if __name__ == "__main__":
    main()
