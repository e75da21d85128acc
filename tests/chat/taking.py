"""Turns in short, for the tests of the chat layer: registries, what models say, stores with faults."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio

from eai_mcp.calls import ModelResponse
from eai_mcp.chat.archive import Replaced
from eai_mcp.chat.heard import Followed
from eai_mcp.chat.keeper import RENEW_S
from eai_mcp.chat.layers import NO_LAYERS
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.toolbox.box import NO_TOOLS
from eai_mcp.chat.values import Talk, TurnResult
from eai_mcp.formats import Tally
from eai_mcp.messages import Block, Message, TextBlock, ToolResultBlock, ToolUseBlock, line
from eai_mcp.observe import ignore
from eai_mcp.store.sqlite import SqliteStore
from tests.fakes import Scripted, said

QUICK_S = 0.05
"""How often the keeper of a test renews, where the test waits for it."""


@asynccontextmanager
async def opened(
    catalog,
    *steps,
    store=None,
    limits=Limits(),
    observe=ignore,
    layers=NO_LAYERS,
    toolbox=NO_TOOLS,
    renew_s=RENEW_S,
) -> AsyncIterator[tuple[Registry, Scripted]]:
    """A registry whose models play `steps`, and the call that they share."""
    call = Scripted([*steps])
    async with anyio.create_task_group() as tasks:
        registry = Registry(
            store=store or SqliteStore(None),
            catalog=catalog,
            call_for=lambda model: call,
            tasks=tasks,
            default_model="plain",
            limits=limits,
            observe=observe,
            layers=layers,
            toolbox=toolbox,
            renew_s=renew_s,
        )
        with anyio.fail_after(10):
            yield registry, call
            await registry.aclose()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def process(
    catalog, path: Path, *steps, store=None, **fields
) -> AsyncIterator[tuple[Registry, Scripted]]:
    """A registry with a store of its own on a file: a process of its own, as far as others can tell."""
    store = store or SqliteStore(path)
    try:
        async with opened(catalog, *steps, store=store, **{"renew_s": QUICK_S, **fields}) as pair:
            yield pair
    finally:
        await store.aclose()


async def begin(registry: Registry, content: str | tuple[Block, ...], **fields) -> Followed:
    """A turn that has begun."""
    return await registry.begin("", Talk(content=content, **fields))


async def ask(registry: Registry, content: str | tuple[Block, ...], **fields) -> TurnResult:
    """A whole turn."""
    return await registry.reply(await begin(registry, content, **fields), 5)


async def outcome(registry: Registry, turn_id: str | None = None, session: str = "default") -> TurnResult:
    """How a turn stands or ended; the latest if none is named."""
    return await registry.reply(await registry.find("", session, turn_id), 0)


def written(messages: Sequence[Message]) -> AbstractContextManager[Iterator[bytes]]:
    """Messages as the pieces of a file."""
    return nullcontext(iter([f"{line(message).body}\n".encode() for message in messages] or [b"[]"]))


async def replaced(
    registry: Registry, session: str, messages: Sequence[Message], *, space: str = ""
) -> Replaced:
    """Other messages in place of a session's."""
    return await registry.archive.replace(space, session, lambda: written(messages), tally=Tally())


async def history(registry: Registry, session: str = "default") -> list[Message]:
    return [entry.message for entry in await registry.history("", session, limit=None)]


async def texts(registry: Registry, session: str = "default") -> list[str]:
    return [message.text for message in await history(registry, session)]


def asks(question: str = "which one?", use: str = "q1") -> ToolUseBlock:
    """The model asks the person something."""
    return ToolUseBlock(use, "ask_user", {"question": question})


def uses(*blocks: Block) -> ModelResponse:
    """An answer that is a step: tools are asked for."""
    return said("", message=Message("assistant", blocks), stop="tools")


def result(use: str, text: str, *, failed: bool = False) -> ToolResultBlock:
    return ToolResultBlock(use, (TextBlock(text),), failed=failed)


def results_in(message: Message) -> list[ToolResultBlock]:
    """The results that a message has."""
    return [block for block in message.content if isinstance(block, ToolResultBlock)]


def told(result: ToolResultBlock) -> str:
    """What a tool said in words."""
    return "".join(block.text for block in result.content if isinstance(block, TextBlock))


def lasts(call: Scripted) -> list[str]:
    """The newest message of each request."""
    return [request.messages[-1].text for request in call.requests]


class Faulty(SqliteStore):
    """A store whose methods raise what `faults` says, while it says so; `calls` counts by name.

    A list of faults is used up, one a call; None is no fault.
    """

    def __init__(self, path: Path | None = None, **faults: Any) -> None:
        super().__init__(path)
        self.faults: dict[str, Any] = faults
        self.calls: dict[str, int] = {}
        self.was_called = anyio.Event()

    async def until(self, name: str, more: int) -> None:
        """Wait until a method was called so many more times."""
        wanted = self.calls.get(name, 0) + more
        while self.calls.get(name, 0) < wanted:
            await self.was_called.wait()

    def _met(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        self.was_called.set()
        self.was_called = anyio.Event()
        fault = self.faults.get(name)
        if isinstance(fault, list):
            fault = fault.pop(0) if fault else None
        if fault is not None:
            raise fault

    async def load(self, *given: Any, **named: Any) -> Any:
        self._met("load")
        return await super().load(*given, **named)

    async def claim(self, *given: Any) -> Any:
        self._met("claim")
        return await super().claim(*given)

    async def said(self, *given: Any) -> Any:
        self._met("said")
        return await super().said(*given)

    async def amend(self, *given: Any, **named: Any) -> None:
        self._met("amend")
        await super().amend(*given, **named)

    async def withdraw(self, *given: Any) -> None:
        self._met("withdraw")
        await super().withdraw(*given)

    async def append(self, *given: Any) -> None:
        self._met("append")
        await super().append(*given)

    async def renew(self, said: Any) -> None:
        self._met("renew")
        await super().renew(said)

    async def look(self, claims: Sequence[Any]) -> Any:
        self._met("look")
        return await super().look(claims)

    async def find(self, *given: Any) -> Any:
        self._met("find")
        return await super().find(*given)

    async def settle(self, *given: Any) -> None:
        self._met("settle")
        await super().settle(*given)
        self._met("settled")
