"""How soon an interrupt is answered to the call that waits, from the same process and from another one.

    python tests/bench/interrupts.py [ROUNDS] [--bin FOLDER]

Then the same while the chat model's own tools are at work: a script that ends at once, one that ignores
signals, a sub-agent.

Two installed servers share a file of sessions; a model on a socket says a word every 10 ms. In each round a
`talk` is waiting when `interrupt` is sent; what counts is the time from there to the answer of `talk`, and to
the moment when the provider sees its connection closed.

Issue 4: `talk` in one process, `interrupt` from another: median ≤ 200 ms; same process ≤ 50 ms.
Issue 7: while tools run ≤ 1 s, ≤ 50 ms where nothing has to be killed.
"""

import argparse
import os
import shlex
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

from tests.e2e.silent_provider import House, answered, asking, built, heard
from tests.e2e.test_machine import runs, scripts
from tests.e2e.wire import Wire

STUBBORN = "trap '' INT TERM; while :; do sleep 1; done"
WAYS = {
    "sleep": (runs("sleep 1000"),),
    "stubborn": (runs(f"bash -c {shlex.quote(STUBBORN)}"),),
    "sub-agent": ([("call_subagent", {"message": "go", "model": "silent"})],),
}
TARGETS = {"sleep": 1000, "stubborn": 1000, "sub-agent": 50}
SETTLED_S = 0.5
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description="Interrupts, from the same process and from another.")
    parser.add_argument("rounds", nargs="?", type=int, default=20)
    parser.add_argument("--bin", type=Path, required=True, help="the folder with the command eai-mcp")
    options = parser.parse_args()
    anyio.run(measured, options.bin, options.rounds)


async def measured(commands: Path, rounds: int) -> None:
    """Both ways in turn, since machines are noisy."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    with tempfile.TemporaryDirectory() as folder:
        async with (
            built(commands, environment, Path(folder)) as house,
            house.server() as one,
            house.server() as other,
        ):
            same, across = [], []
            for number in range(rounds):
                same.append(await once(house, one, one, f"same{number}"))
                across.append(await once(house, one, other, f"across{number}"))
    report("same process", same, 50)
    report("another process", across, 200)
    await at_work(commands, environment, rounds)


async def at_work(commands: Path, environment: dict[str, str], rounds: int) -> None:
    """Interrupts of turns whose tools are running."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="eai-mcp-") as folder, _open_to_all() as work:
        async with built(commands, environment, Path(folder)) as house:
            for name, replies in WAYS.items():
                (house.folder / "models" / f"{name}.toml").write_text(scripts(*replies), encoding="utf-8")
            tools = ",".join(use for replies in WAYS.values() for use, _ in replies[0])
            options = ("--terminal", "--terminal-dir", str(work), "--toolbox", tools)
            async with house.server(*options) as wire:
                for name in WAYS:
                    took = [await once_at_work(wire, name, f"{name}{number}") for number in range(rounds)]
                    print(f"{name}, {rounds} rounds: answered after {_shown(took)}, target {TARGETS[name]}")


async def once_at_work(wire: Wire, model: str, session: str) -> float:
    """Milliseconds until the waiting call was answered."""
    call = {"content": "go", "model": model, "chat_session": session}
    waiting = await wire.begin("tools/call", name="talk", arguments=call)
    await anyio.sleep(SETTLED_S)
    begun = anyio.current_time()
    stop = await wire.begin("tools/call", name="interrupt", arguments={"chat_session": session})
    outcome = await answered(wire, waiting)
    took = anyio.current_time() - begun
    await answered(wire, stop)
    assert outcome["status"] == "interrupted", outcome
    return took * 1000


@contextmanager
def _open_to_all() -> Iterator[Path]:
    """A folder that the users of root's terminals can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="eai-mcp-work-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


async def once(house: House, talking: Wire, stopping: Wire, session: str) -> tuple[float, float]:
    """Milliseconds until the waiting call was answered, and until the provider was left."""
    waiting, asked = await asking(house, talking, content="a story", model="slow", chat_session=session)
    await heard(talking, session)
    begun = anyio.current_time()
    stop = await stopping.begin("tools/call", name="interrupt", arguments={"chat_session": session})
    outcome = await answered(talking, waiting)
    took = anyio.current_time() - begun
    await asked.left.wait()
    await answered(stopping, stop)
    assert outcome["status"] == "interrupted", outcome
    return took * 1000, (asked.left_at - begun) * 1000


def report(way: str, took: Sequence[tuple[float, float]], target: int) -> None:
    """Medians and the worst."""
    answers, closed = zip(*took, strict=True)
    print(
        f"{way}, {len(took)} rounds: answered after {_shown(answers)}, target {target};"
        f" provider left after {_shown(closed)}"
    )


def _shown(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.1f} ms (worst {max(times):.1f})"


if __name__ == "__main__":
    main()
