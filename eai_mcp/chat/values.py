"""What goes into a turn and what comes out of it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from eai_mcp.calls import Samplers
from eai_mcp.messages import Block, Usage

TurnStatus: TypeAlias = Literal["completed", "running", "interrupted"]
DEFAULT_SESSION = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """One input to a session, and how it should be answered. None leaves a choice to the session.

    `card` "" drops the session's card, `prompt` "" its prompt, `system` "" its own system text.
    """

    content: str | tuple[Block, ...]
    session: str = DEFAULT_SESSION
    model: str | None = None
    prompt: str | None = None
    system: str | None = None
    card: str | None = None
    samplers: Samplers = Samplers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What a turn was answered with: names from the catalog, and the start of raw `system` text if any."""

    model: str
    prompt: str | None = None
    system: str | None = None
    card: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """How a turn stands, or how it ended.

    `reply` is the text so far while it is running, and the partial text when it was interrupted.
    `overridden` names the arguments that the card replaced. `progress` says what a running turn is doing.
    `usage` is None while nobody knows it: a provider tells it at the end of a reply.
    """

    status: TurnStatus
    reply: str
    session: str
    turn_id: str
    effective: Effective
    stop_reason: str | None = None
    overridden: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    usage: Usage | None = None
    progress: str | None = None
