"""How fast a terminal takes output, beside a bare read loop, and how much memory many of them need.

    python tests/bench/terminal.py [ROUNDS] [--mb 200] [--terminals 50] [--only throughput|memory]

Each round writes the same output once into a pseudo-terminal that `ptyprocess` alone reads, and once into a
script of ours, in turn. Then so many terminals print that much each at the same time; ask for that alone to
see how much memory it takes.

Issue 7: 50 terminals at once with 200 MB each, in bounded memory; throughput of a terminal within 2 x of a
bare `ptyprocess` read loop.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
from ptyprocess import PtyProcess  # type: ignore[import-untyped]  # it has no types

from tests.terminal.bare import floor

MB = 1 << 20


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description="Throughput and memory of terminals.")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--terminals", type=int, default=50)
    parser.add_argument("--only", choices=["throughput", "memory"])
    options = parser.parse_args()
    if options.only != "memory":
        anyio.run(throughput, options.rounds, options.mb)
    if options.only != "throughput":
        anyio.run(memory, options.terminals, options.mb)


def command(mb: int) -> str:
    """What prints lines of 100 letters; the terminal adds a carriage return to each."""
    return f"head -c {mb * MB} /dev/zero | tr '\\0' x | fold -w 100"


async def throughput(rounds: int, mb: int) -> None:
    """Both in turn, since machines are noisy."""
    plain, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        async with floor(Path(folder) / "terminals") as ground:
            await ground.run("true")
            for _ in range(rounds):
                plain.append(bare(mb))
                begun = _now()
                run = await ground.terminals.run("", "work", command(mb))
                await run.done.wait()
                ours.append(_since(begun))
                assert run.output.total >= mb * MB, run.output.total
    _report("bare read loop", plain, mb)
    _report("terminal", ours, mb)
    for at, what in enumerate(("wall", "cpu")):
        ratio = statistics.median(two[at] / one[at] for one, two in zip(plain, ours, strict=True))
        print(f"{what}: {ratio:.2f} x of the bare loop, target 2 x")


def bare(mb: int) -> tuple[float, float]:
    """Seconds and our own CPU seconds."""
    begun = _now()
    process = PtyProcess.spawn(["bash", "-c", command(mb)], echo=False, dimensions=(50, 200))
    total = 0
    try:
        while True:
            total += len(process.read(65536))
    except EOFError:
        process.wait()
        process.close()
    assert total >= mb * MB, total
    return _since(begun)


async def memory(count: int, mb: int) -> None:
    """All at once; what counts is the highest resident memory of this process."""
    before = _peak()
    begun = _now()
    with tempfile.TemporaryDirectory() as folder:
        async with floor(Path(folder) / "terminals", terminals=count) as ground:
            runs = [await ground.terminals.run("", f"t{number}", command(mb)) for number in range(count)]
            for run in runs:
                await run.done.wait()
            assert all(run.output.total >= mb * MB for run in runs)
            kept = sum(run.output.total - run.output.dropped for run in runs)
            wall, cpu = _since(begun)
    print(
        f"{count} terminals with {mb} MB each: {wall:.1f} s, {cpu:.1f} s of CPU; peak memory {_peak():.0f} MB"
        f" ({before:.0f} before), {kept / MB / count:.0f} MB of each kept on disk"
    )


def _report(way: str, took: Sequence[tuple[float, float]], mb: int) -> None:
    wall, cpu = (statistics.median(times) for times in zip(*took, strict=True))
    print(f"{way}, {len(took)} rounds of {mb} MB: {wall:.2f} s ({mb / wall:.0f} MB/s), {cpu:.2f} s of CPU")


def _now() -> tuple[float, float]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), own.ru_utime + own.ru_stime


def _since(begun: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _now()
    return wall - begun[0], cpu - begun[1]


def _peak() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1024 if sys.platform == "linux" else kilobytes / MB


if __name__ == "__main__":
    main()
