"""Large histories whose writing stops in the middle, so that a test can look at what others see then."""

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from eai_mcp.errors import EaiError
from eai_mcp.messages import Line, line, user
from eai_mcp.store import Put
from eai_mcp.store.sqlite import SqliteStore

CHUNK = 4
LONGEST_S = 10
TEXTS = [f"text {number}" for number in range(1, 3 * CHUNK + 2)]


def lines(texts: Sequence[str] = TEXTS) -> list[Line]:
    """A history of user's messages, large if nothing else is said."""
    return [line(user(text), turn_id="put", at=50.0 + place) for place, text in enumerate(texts)]


def large(name: str = "work", **fields) -> Put:
    return Put(name=name, lines=lines(), **fields)


class Gated:
    """A large history that stops before each of the places `stops`, and may fail at the last."""

    def __init__(self, *stops: int, error: Exception | None = None) -> None:
        self._stops = stops or (2 * CHUNK,)
        self._error = error
        self._reached = threading.Semaphore(0)
        self._opened = threading.Semaphore(0)

    def __iter__(self) -> Iterator[Line]:
        for place, said in enumerate(lines()):
            if place in self._stops:
                self._reached.release()
                assert self._opened.acquire(timeout=LONGEST_S)
                if self._error and place == self._stops[-1]:
                    raise self._error
            yield said

    async def reached(self) -> None:
        """Wait until the next stop."""
        assert await anyio.to_thread.run_sync(lambda: self._reached.acquire(timeout=LONGEST_S))

    def open(self) -> None:
        """Let it go on."""
        self._opened.release()


@dataclass(slots=True)
class Ending:
    """What a put returned or raised."""

    revisions: tuple[int, ...] = ()
    error: EaiError | None = None


@asynccontextmanager
async def halfway(store: SqliteStore, *puts: Put, only: bool = False) -> AsyncIterator[Ending]:
    """The moment when the first of the puts, whose lines are gated, has come to the first stop."""
    ending, gate = Ending(), puts[0].lines
    assert isinstance(gate, Gated)

    async def put() -> None:
        try:
            ending.revisions = await store.put("", puts, only=only)
        except EaiError as error:
            ending.error = error

    with anyio.fail_after(LONGEST_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(put)
            await gate.reached()
            try:
                yield ending
            finally:
                gate.open()


async def stored(store: SqliteStore) -> tuple[int, int, int]:
    """How many sessions, messages and turns there are, those included that nobody sees."""

    def count(table: str) -> int:
        (rows,) = store._writer.connection().execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(rows)

    return count("session"), count("message"), count("turn")
