"""CPU from process start to the first `tools/list` answer, ours against a bare server of the SDK.

    python tests/bench/startup.py [ROUNDS] [--bin FOLDER]

Both run in one environment, in turn, and the ratio of each pair is taken; the median is what counts, since
machines are noisy. Target (DESIGN section 13): at most 1.3. FOLDER is the environment's folder of commands;
without it the wheel is built and installed into a fresh one, so that `.pyc` files are there as for any user.

Issue 2: CPU from process start to the `tools/list` answer at most 1.3 times that of a bare low-level `mcp`
echo server measured in the same run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).parents[2]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}


def main() -> None:
    """Print a line a round and the medians."""
    parser = argparse.ArgumentParser(description="Start-up, ours against a bare server.")
    parser.add_argument("rounds", nargs="?", type=int, default=9)
    parser.add_argument("--bin", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(pairs(options.bin or install(Path(folder)), options.rounds))


def pairs(commands: Path, rounds: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """What each round measured, of ours and of the bare server."""
    bare = [str(commands / "python"), str(TOP / "tests" / "bench" / "bare.py")]
    ours = [str(commands / "eai-mcp"), "serve"]
    for command in (bare, ours):
        start(command)  # once for nothing, so that every file is in memory
    return [(start(ours), start(bare)) for _ in range(rounds)]


def report(measured: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    """The ratio pair by pair, and its median."""
    ratios = [mine[0] / floor[0] for mine, floor in measured]
    print("CPU seconds (wall seconds)")
    for (mine, floor), ratio in zip(measured, ratios, strict=True):
        print(f"ours {mine[0]:.3f} ({mine[1]:.3f})   bare {floor[0]:.3f} ({floor[1]:.3f})   {ratio:.2f}")
    ours = statistics.median(mine[0] for mine, _ in measured)
    bare = statistics.median(floor[0] for _, floor in measured)
    print(
        f"median: ours {ours:.3f} s CPU, bare {bare:.3f} s CPU, ratio {statistics.median(ratios):.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f}); target 1.3"
    )


def start(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds from the start of a process to its answer to `tools/list`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in (INITIALIZE, INITIALIZED, LIST):
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            if "id" in message:
                answer = json.loads(process.stdout.readline())
                assert answer["id"] == message["id"], answer
        spent, passed = cpu(process.pid), time.perf_counter() - begun
        assert answer["result"]["tools"]
        process.stdin.close()
        process.wait(10)
    return spent, passed


def cpu(pid: int) -> float:
    """CPU seconds of all threads of a process, by the scheduler's nanosecond clock (Linux)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def install(folder: Path) -> Path:
    """Build the wheel and install it into a fresh environment; returns the folder of commands."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(TOP)]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("eai_mcp-*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    commands = folder / "venv" / "bin"
    subprocess.run([str(commands / "python"), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return commands


if __name__ == "__main__":
    main()
