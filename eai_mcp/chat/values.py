"""What goes into a turn and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydantic import JsonValue

from eai_mcp.calls import ResourcePushed, Samplers
from eai_mcp.messages import Block, Usage

TurnStatus: TypeAlias = Literal["completed", "awaiting_input", "running", "interrupted"]
IfBusy: TypeAlias = Literal["error", "wait", "interrupt"]
OnTimeout: TypeAlias = Literal["detach", "interrupt"]
RestoreMode: TypeAlias = Literal["merge", "replace"]
DEFAULT_SESSION = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The question that an input answers; `asked_in` as in `TurnResult`, None for any of its turn."""

    turn_id: str
    asked_in: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """One input to a session, and how it should be answered. None leaves a choice to the session.

    `card` "" drops the session's card, `prompt` "" its prompt, `system` "" its own system text,
    `pty_session_id` "" its terminal. `if_busy` says what to do about a turn that is running: refuse, wait for
    its end, or stop it. A `request_id` that the session has seen stands for the turn that it began then.
    With `answers`, it is said only if that very question is still open. `by_person` says that a person said
    it, and not a program: only then does it allow what has to be allowed.

    `chain` are the sessions that asked for this turn, one by the other, and `tools` the only ones that it may
    use then. A session that was there before remembers nothing of what such a turn chose.
    """

    content: str | tuple[Block, ...]
    session: str = DEFAULT_SESSION
    model: str | None = None
    prompt: str | None = None
    system: str | None = None
    card: str | None = None
    pty_session_id: str | None = None
    samplers: Samplers = Samplers()
    if_busy: IfBusy = "error"
    request_id: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    answers: Answers | None = None
    by_person: bool = False
    chain: tuple[str, ...] = ()
    tools: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What a turn was answered with: names from the catalog, and the start of raw `system` text if any.

    `pty_session_id` is the terminal's name where it is not the session's own.
    """

    model: str
    prompt: str | None = None
    system: str | None = None
    card: str | None = None
    pty_session_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """How a turn stands, or how it ended.

    `reply` is the text so far while it is running, the partial text when it was interrupted, and the question
    when it waits for an answer. `overridden` names the arguments that the card replaced. `progress` says what
    a running turn is doing. `usage` is None while nobody knows it: a provider tells it at the end of a reply.
    `metadata` is what the caller gave. `resources` were pushed for the caller, beside the text. `asked_in` is
    the number of the turn's input that led to its question: what tells that from others in the same words.
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
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    resources: tuple[ResourcePushed, ...] = ()
    asked_in: int | None = None
