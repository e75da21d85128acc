"""What tools there are for the chat model, made when the first turn may use one: many servers need none."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anyio.abc import TaskGroup

from eai_mcp.calls import Call
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError
from eai_mcp.observe import Observer
from eai_mcp.store import Store
from eai_mcp.terminal import Limits

if TYPE_CHECKING:
    from eai_mcp.chat.toolbox import looking, subagents
    from eai_mcp.chat.toolbox.tool import Tool
    from eai_mcp.formats.files import Folder
    from eai_mcp.terminal.sandbox import Confinement
    from eai_mcp.terminal.terminals import Terminals

    class Sessions(subagents.Sessions, looking.Sessions, Protocol):
        """What the registry does for tools."""


ON_THE_MACHINE = (
    "execute_script",
    "get_task_result",
    "write_to_session",
    "reset_session",
    "list_pty_sessions",
    "read_media_file",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The terminals, their work directories by space and id, and why they are in no sandbox if so."""

    terminals: "Terminals"
    work: Callable[[str, str], Path]
    unconfined: str | None


async def machine(
    confinement: "Confinement | None",
    *,
    private: Sequence[Path],
    limits: Limits,
    environ: Mapping[str, str],
    tasks: TaskGroup,
    observe: Observer,
) -> Machine | None:
    """What the chat model may do on this machine, None for nothing; `private` is shown to no command.

    Raises:
        ConfigError: What the operator chose cannot work.
    """
    if confinement is None:
        return None
    if sys.platform == "win32":
        raise ConfigError("there are no terminals on Windows; leave --terminal out", field="terminal")
    for mount in confinement.mounts:
        for path in private:
            if path.resolve().is_relative_to(mount.path.resolve()):
                raise ConfigError(
                    f"--terminal-mount {mount.path} would show {path} to the chat model; name another folder",
                    field="terminal_mount",
                )
    from eai_mcp.terminal.sandbox import Sandbox
    from eai_mcp.terminal.terminals import Terminals

    sandbox = Sandbox(confinement, limits=limits, environ=environ, observe=observe)
    unconfined = await sandbox.opened()
    terminals = Terminals(sandbox=sandbox, tasks=tasks, limits=limits, observe=observe)
    return Machine(terminals, sandbox.folder, unconfined)


def own(names: Sequence[str]) -> "list[Tool[Any]]":
    """The operator's own tools.

    Raises:
        ConfigError: One cannot be had.
    """
    if not names:
        return []
    from eai_mcp.chat.toolbox.own import load

    return [load(name) for name in names]


def usual(chosen: Sequence[str] | None, own: "Sequence[Tool[Any]]", *, machine: bool) -> tuple[str, ...]:
    """The tools of a turn whose card names none: what the operator chose, or else made possible.

    Raises:
        ConfigError: One was chosen that is not possible.
    """
    if chosen is None:
        return (*(ON_THE_MACHINE if machine else ()), *(tool.name for tool in own))
    for name in chosen:
        if name in ON_THE_MACHINE and not machine:
            raise ConfigError(f"the tool {name} needs a terminal; add --terminal", field="toolbox")
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Stock:
    """Makes the tools. `exports` are the folders that spaces have their files in, `folder` is the store's."""

    sessions: "Sessions"
    catalog: Catalog
    store: Store
    exports: "Callable[[str], Folder]"
    call_for: Callable[[Model], Call]
    tasks: TaskGroup
    machine: Machine | None
    folder: Path | None
    own: "Sequence[Tool[Any]]"

    def __call__(self) -> "Iterator[Tool[Any]]":
        """All of them, in the order in which a model is told of them."""
        from eai_mcp.chat.toolbox import context, looking, machine, media, pushing, subagents

        work = self.machine.work if self.machine else None
        if self.machine is not None:
            yield from machine.tools(self.machine.terminals)
            yield from media.tools(work, catalog=self.catalog, call_for=self.call_for)
        yield from subagents.tools(self.sessions, tasks=self.tasks, exports=self.exports)
        yield from pushing.tools(work)
        yield from context.tools(self.store, self.exports, folder=self.folder)
        yield from looking.tools(self.sessions, self.catalog)
        yield from self.own
