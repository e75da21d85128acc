"""How soon an interrupt is answered to the call that waits, from the same process and from another one.

    python tests/bench/interrupts.py [ROUNDS] [--bin FOLDER]

Two installed servers share a file of sessions; a model on a socket says a word every 10 ms. In each round a
`talk` is waiting when `interrupt` is sent; what counts is the time from there to the answer of `talk`, and to
the moment when the provider sees its connection closed.

Issue 4: `talk` in one process, `interrupt` from another: median ≤ 200 ms; same process ≤ 50 ms.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio

from tests.e2e.silent_provider import House, answered, asking, built, heard
from tests.e2e.wire import Wire

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
