"""What the tools of one turn share: which there are, for whom, and what they began that outlasts a step."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio

from eai_mcp.catalog.entries import Model
from eai_mcp.errors import EaiError
from eai_mcp.messages import Line, Usage
from eai_mcp.observe import internal

STOP_S = 1.0
"""How long what a turn began may take to end once the turn was stopped."""

End: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Begun:
    """What the tools of a turn began. `history` will stand before the turn's own words once it has ended.

    `ends` end what is under way, by a name of it; who has ended by itself takes its name out. `spent` is what
    models took that tools asked.
    """

    ends: dict[str, End] = field(default_factory=dict)
    history: Sequence[Line] | None = None
    spent: Usage | None = None

    def spend(self, usage: Usage) -> None:
        """A tool asked a model, which took this."""
        self.spent = usage if self.spent is None else self.spent + usage

    async def end(self) -> None:
        """End all of it at once, within `STOP_S` seconds."""
        if not self.ends:
            return
        with anyio.move_on_after(STOP_S, shield=True):
            async with anyio.create_task_group() as tasks:
                for one in [*self.ends.values()]:
                    tasks.start_soon(_ended, one)


async def _ended(end: End) -> None:
    try:
        await end()
    except EaiError:
        pass  # it has ended by itself
    except Exception as bug:  # noqa: BLE001  # the others are ended all the same
        internal(bug)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What a turn's tools share.

    `names` are the tools that it may use, and those of sub-agents too; `bound` the only ones that whoever
    asked for the turn lets it use. `chain` are the sessions that wait for
    this one's turn, itself last. `by_person` says that its input came from a person.
    """

    names: tuple[str, ...] = ()
    bound: frozenset[str] | None = None
    may_ask: bool = True
    chain: tuple[str, ...] = ()
    by_person: bool = False
    pty_session_id: str = ""
    model: Model | None = None
    begun: Begun = field(default_factory=Begun)
