"""The servers of local models, shared by all models that want the same weights and context."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from weakref import WeakKeyDictionary

import anyio

from eai_mcp.providers.local_server import Server

Wanted: TypeAlias = tuple[Path | None, int]
"""A weights file, None for the shipped default, and the context in tokens."""


@dataclass(slots=True)
class Servers:
    """One server for each thing wanted. `users` says what each model's file wants now."""

    servers: dict[Wanted, Server] = field(default_factory=dict)
    users: dict[str, Wanted] = field(default_factory=dict)

    def for_model(self, name: str, wanted: Wanted, make: Callable[[], Server]) -> Server:
        """The server that the model of that name wants, in place of any that it wanted before."""
        self.users[name] = wanted
        if wanted not in self.servers:
            self.servers[wanted] = make()
        return self.servers[wanted]

    async def end_unwanted(self) -> None:
        """End the servers that no model wants any more and that answer nobody: each holds whole weights."""
        for wanted, server in [*self.servers.items()]:
            if wanted not in self.users.values() and not server.is_used:
                del self.servers[wanted]
                await server.aclose()

    async def aclose(self) -> None:
        """End all of them, at the same time: one that is stuck takes its second."""
        async with anyio.create_task_group() as tasks:
            for server in self.servers.values():
                tasks.start_soon(server.aclose)


_all: "WeakKeyDictionary[AsyncExitStack, Servers]" = WeakKeyDictionary()


def of(closing: AsyncExitStack) -> Servers:
    """The servers that end with `closing`."""
    if closing not in _all:
        _all[closing] = Servers()
        closing.push_async_callback(_all[closing].aclose)
    return _all[closing]
