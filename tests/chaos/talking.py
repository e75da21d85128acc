"""A process that takes turns in a file of sessions, and tells on standard output what is kept.

    python -m tests.chaos.talking JOB FILE WORD

Lines are JSON lists in both directions: `["ready"]` comes first, and a line has to come in before it opens
the file. The catalog stands beside FILE, or beside its folder. WORD makes what it says, and its dice, its
own.
"""

import itertools
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse, TextDelta
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.values import Talk
from eai_mcp.errors import EaiError
from eai_mcp.messages import Message, TextBlock, ToolUseBlock, Usage, assistant, user
from eai_mcp.store import Claim, Outcome, Settlement, Start
from eai_mcp.store.sqlite import SqliteStore

WRITERS = 8
SESSIONS = 64
TURNS = 8
LEASE_S = 0.5
"""The lease of an `owner`; it renews ten times as often."""


async def model(request: ModelRequest, emit: Emit) -> ModelResponse:
    """Answers `re: TEXT` a little later. Now and then it asks for a tool first, which there is not."""
    text = next(each.text for each in reversed(request.messages) if each.role == "user" and each.text)
    await emit(TextDelta("re: "))
    await anyio.sleep(random.random() / 100)
    use = ToolUseBlock(f"use-{text}", "clock", {})
    if text.endswith(("0", "3", "6", "9")) and request.messages[-1].text == text:
        return _answer(Message("assistant", (TextBlock("let me see"), use)))
    await emit(TextDelta(text))
    return _answer(assistant(f"re: {text}"))


def _answer(message: Message) -> ModelResponse:
    return ModelResponse(message=message, stop="end", usage=Usage(input=1, output=1), served_by="plain")


@asynccontextmanager
async def talking(
    path: Path, *, call: Call = model, renew_s: float = 0.02, **options: Any
) -> AsyncIterator[Registry]:
    """A registry on the file, with the catalog beside it. It saves what was said more often than usual."""
    store = SqliteStore(path, **options)
    async with anyio.create_task_group() as tasks:
        registry = Registry(
            store=store,
            catalog=Catalog(roots=(path.parent, path.parent.parent)),
            call_for=lambda model: call,
            tasks=tasks,
            default_model="plain",
            renew_s=renew_s,
        )
        yield registry
        await registry.aclose()
        await store.aclose()
        tasks.cancel_scope.cancel()


async def endless(path: Path, word: str) -> None:
    """Eight tasks, each in a session of its own, until the process is killed."""

    async def talk(session: str) -> None:
        for number in itertools.count():
            await _take(registry, session, f"{word}-{number}")

    async with talking(path) as registry, anyio.create_task_group() as tasks:
        for number in range(WRITERS):
            tasks.start_soon(talk, f"s{number}")


async def contend(path: Path, word: str) -> None:
    """Eight tasks that want turns in the same sessions as everybody else."""

    async def talk(task: int) -> None:
        for number in range(TURNS):
            session = f"s{dice.randrange(SESSIONS)}"
            await _take(registry, session, f"{word}-{task}-{number}")

    dice = random.Random(word)
    async with talking(path) as registry, anyio.create_task_group() as tasks:
        for task in range(WRITERS):
            tasks.start_soon(talk, task)


async def same(path: Path, word: str) -> None:
    """The same requests as every other process with this job, all at once."""

    async def talk(session: str) -> None:
        for number in range(TURNS):
            await _take(registry, session, f"same-{number}")

    async with talking(path) as registry, anyio.create_task_group() as tasks:
        for number in range(WRITERS):
            tasks.start_soon(talk, f"s{number}")


async def held(path: Path, word: str) -> None:
    """One turn, whose model says half and then waits for a line."""

    async def wait(request: ModelRequest, emit: Emit) -> ModelResponse:
        await emit(TextDelta("half "))
        tell("asked")
        await _line()
        return _answer(assistant("half whole"))

    async with talking(path, call=wait, lease_s=LEASE_S, renew_s=LEASE_S / 10) as registry:
        await _take(registry, "work", word)
        await _line()


async def owner(path: Path, word: str) -> None:
    """Holds a claim; then writes with it whatever the lines that come in say: `append` or `settle`."""
    store = SqliteStore(path, lease_s=LEASE_S)
    claim = await store.claim("", "work", Start(turn_id=word, message=user(word), report={"cut": "off"}))
    assert isinstance(claim, Claim)

    async def renew() -> None:
        while True:
            await store.renew({claim: "half"})
            await anyio.sleep(LEASE_S / 10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(renew)
        tell("claimed", claim.fence)
        while line := await _line():
            await _write(store, claim, *line)
        tasks.cancel_scope.cancel()
    await store.aclose()


async def fresh(path: Path, word: str) -> None:
    """A first turn in a file that others make at the same moment."""
    async with talking(path) as registry:
        await _take(registry, word, "hi")


async def full(path: Path, word: str) -> None:
    """Turns until the disk is full; then what is there is read; then there is room, and turns again."""
    ballast = path.with_name("ballast")
    ballast.write_bytes(bytes(300_000))
    contents = (f"{word}-{number} {'x' * 20_000}" for number in itertools.count())
    async with talking(path) as registry:
        while await _take(registry, "work", next(contents)):
            pass
        tell("read", [entry.message.text for entry in await registry.history("", "work")])
        ballast.unlink()
        await _take(registry, "work", next(contents))
        tell("read", [entry.message.text for entry in await registry.history("", "work")])


async def _write(store: SqliteStore, claim: Claim, how: str) -> None:
    outcome = Outcome(turn_id=claim.turn_id, status="completed", report={})
    try:
        if how == "append":
            await store.append(claim, [assistant("late")])
        else:
            await store.settle(claim, Settlement(outcome=outcome, messages=(assistant("too late"),)))
    except EaiError as error:
        tell("refused", how, error.code)
    else:
        tell("written", how)


async def _take(registry: Registry, session: str, content: str) -> bool:
    """A turn, whose request id is its first word; whether it came to an end."""
    begun = time.monotonic()
    talk = Talk(content=content, session=session, if_busy="wait", request_id=content.split(maxsplit=1)[0])
    try:
        turn = await registry.begin("", talk)
        tell("begun", session, content, turn.turn_id)
        result = await registry.reply(turn, 60)
    except EaiError as error:
        tell("failed", session, content, error.code, error.message, time.monotonic() - begun)
        return False
    tell("kept", session, content, turn.turn_id, result.status, result.reply)
    return True


def tell(*words: object) -> None:
    print(json.dumps(words), flush=True)


async def _line() -> Any:
    line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    return json.loads(line) if line else None


JOBS: dict[str, Callable[[Path, str], Coroutine[Any, Any, None]]] = {
    job.__name__: job for job in (endless, contend, same, held, owner, fresh, full)
}


async def main() -> None:
    job, path, word = sys.argv[1:]
    random.seed(word)
    tell("ready")
    await _line()
    await JOBS[job](Path(path), word)


if __name__ == "__main__":
    anyio.run(main)
