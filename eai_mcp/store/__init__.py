"""Durable truth behind the sessions: what every store promises.

`space` is whose sessions they are ('' for the one user of a stdio server); it is part of every name, and no
method works without it. A turn is taken with `claim`, which keeps the user's message, and given back with
`settle`, which keeps everything else in one step: messages, choices, usage and the outcome. Until then the
turn's messages are not part of what a model is shown; those of a turn that came to nothing never are.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from eai_mcp.messages import JsonObject, Message, Usage

Status: TypeAlias = Literal["completed", "interrupted", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a session remembers from the last turn that set it. `system` is raw text in a prompt's place."""

    model: str | None = None
    prompt: str | None = None
    system: str | None = None
    card: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in its place: `seq` counts from 1 within the session, `at` is in seconds since 1970."""

    seq: int
    turn_id: str
    at: float
    message: Message


@dataclass(frozen=True, slots=True)
class Running:
    """The turn that runs in a session, and since when (seconds since 1970)."""

    turn_id: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session without its messages. `updated_at` is in seconds since 1970."""

    name: str
    message_count: int
    updated_at: float
    choices: Choices = Choices()
    usage: Usage = Usage()
    running: Running | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write the outcome of one turn."""

    space: str
    name: str
    turn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a turn ended. `report` is JSON that only the layer above reads; the reply stands in the journal."""

    turn_id: str
    status: Status
    report: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a turn leaves behind.

    `messages` follow the user's own; with `kept` False neither they nor the user's message become part of
    the history. `choices` None leaves what the session remembers as it was.
    """

    outcome: Outcome
    messages: tuple[Message, ...] = ()
    kept: bool = True
    choices: Choices | None = None
    usage: Usage = Usage()


class Store(Protocol):
    """Keeps sessions. Each method is one atomic step, and returns once its effect will last."""

    async def ensure(self, space: str, name: str) -> bool:
        """Make an empty session; False if there is one of that name."""
        ...

    async def row(self, space: str, name: str) -> SessionRow | None:
        """The session without its messages, None if there is none."""
        ...

    async def load(self, space: str, name: str, *, after: int = 0, limit: int | None = None) -> list[Entry]:
        """The history behind position `after`, oldest first.

        Raises:
            NotFound: No such session.
        """
        ...

    async def list(
        self, space: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[SessionRow]:
        """Sessions in the order of their names' bytes, from the first name behind `after`."""
        ...

    async def claim(self, space: str, name: str, turn_id: str, message: Message) -> Claim:
        """Begin a turn with the user's message, in a session that is made if there is none.

        Raises:
            SessionBusy: Another turn is running.
        """
        ...

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """End the turn.

        Raises:
            Conflict: The turn is no longer this claim's.
        """
        ...

    async def outcome(self, space: str, name: str, turn_id: str | None = None) -> tuple[Outcome, str]:
        """How a settled turn ended, the last one if none is named, and the reply that it left.

        Raises:
            NotFound: No such session, or no such settled turn in it.
        """
        ...

    async def aclose(self) -> None:
        """Let go of files and connections."""
        ...
