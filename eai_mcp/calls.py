"""The seam between turns and models: one request, one response, and what is heard in between.

    Call = (ModelRequest, Emit) -> ModelResponse

Events are pushed to `emit`, not yielded: a cancel scope across a `yield` breaks anyio. So one function
serves those who stream and those who do not, and a guard is a `Call` that wraps a `Call`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

from pydantic import JsonValue

from eai_mcp.messages import JsonObject, Message, Usage

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Stop: TypeAlias = Literal["end", "length", "tools", "refusal", "pause"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samplers:
    """How the next words are chosen. None means not given; 0, 0.0 and an empty tuple are given."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop_sequences: tuple[str, ...] | None = None
    seed: int | None = None
    anthropic_beta: tuple[str, ...] | None = None
    reasoning_effort: Effort | None = None

    def over(self, defaults: "Samplers") -> "Samplers":
        """These, and the defaults where these say nothing."""
        given = {name: getattr(self, name) for name in self.given()}
        return replace(defaults, **given) if given else defaults

    def given(self) -> tuple[str, ...]:
        """The names of those that were given."""
        return tuple(name for name in self.__slots__ if getattr(self, name) is not None)


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the chat model may use; `parameters` is a JSON Schema with an object at its root."""

    name: str
    description: str
    parameters: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """What a model is asked.

    `samplers` are the caller's alone; each model merges its own defaults, so that a fallback can merge
    others. `deadline` is on `anyio.current_time`'s clock, None for no limit. `attempt` counts from 1. The ids
    are for logs and provider headers.
    """

    messages: tuple[Message, ...]
    system: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    samplers: Samplers = Samplers()
    deadline: float | None = None
    attempt: int = 1
    session: str = ""
    turn_id: str = ""
    request_id: str = ""
    space: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponse:
    """What a model answered; `served_by` is the catalog name of the model that did.

    `warnings` are sentences for the caller: a sampler that could not be said, a fallback that was used.
    """

    message: Message
    stop: Stop
    usage: Usage
    served_by: str
    warnings: tuple[str, ...] = ()
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """The next piece of the reply's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUseStarted:
    """The model began to ask for a tool."""

    name: str


@dataclass(frozen=True, slots=True)
class Preparing:
    """What is being done before the model can answer: a download, a start, a wait. For a person to read."""

    text: str


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt came to nothing; another will follow."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePushed:
    """Something for the caller beside the text: a file, a table, a picture.

    `kind` says what it is in a word. `payload` is its content; None where `uri` leads to it. A later push
    under the same `uri` takes the place of an earlier one.
    """

    kind: str
    uri: str
    payload: str | bytes | None = None
    mime_type: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


StreamEvent: TypeAlias = (
    TextDelta | ThinkingDelta | ToolUseStarted | Preparing | AttemptFailed | ResourcePushed
)
Emit: TypeAlias = Callable[[StreamEvent], Awaitable[None]]


class Call(Protocol):
    """Asks a model once.

    Raises:
        CallError: The model could not be reached, or refused. Text that had streamed is in `partial`.
    """

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        """Ask, push what streams to `emit`, and return the whole answer."""
        ...


async def unheard(event: StreamEvent) -> None:
    """The listener for callers who only want the answer."""
