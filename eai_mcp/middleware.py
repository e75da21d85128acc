"""Middleware: an operator's own code round turns, calls and tools, and told of failures.

An object has any of the methods `turn`, `call`, `tool` and `failed`; the first one named is the outermost.
Each is handed `go_on`, which does what is inside it. What it gets is frozen, so a change is made with
`dataclasses.replace` and holds only for what is inside: nothing piles up when a call is tried again.

Whoever refuses or asks returns a value. What is raised fails the turn, and never lets it pass unseen.
"""

import importlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from pydantic import JsonValue

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse
from eai_mcp.errors import ConfigError, EaiError, Internal, sole
from eai_mcp.messages import DocumentBlock, ImageBlock, JsonObject, Message, TextBlock
from eai_mcp.observe import internal

METHODS = ("turn", "call", "tool", "failed")


@dataclass(frozen=True, slots=True)
class Ask:
    """The turn ends with this question. The next input of the session answers it, wherever it is asked.

    It comes back with the answer, `state` and all. After `expires_s` seconds it cannot be answered any more.
    """

    question: str
    state: JsonObject = field(default_factory=dict)
    expires_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnInput:
    """What was said to a session, before any model is asked.

    The history keeps `message` as it is changed. `is_resumed` says that it answers a question: `asked` if it
    is this middleware's own one. `emit` pushes text for progress, or a resource.
    """

    session: str
    turn_id: str
    request_id: str
    model: str
    message: Message
    metadata: Mapping[str, JsonValue]
    emit: Emit
    is_resumed: bool = False
    asked: Ask | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRun:
    """A tool that the model asks for; see `TurnInput` for what is alike.

    `answer` is what was said to this middleware's own question, which is `asked`.
    """

    session: str
    turn_id: str
    name: str
    input: JsonObject
    emit: Emit
    answer: str | None = None
    asked: Ask | None = None


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a tool came to, as the model will read it."""

    content: tuple[TextBlock | ImageBlock | DocumentBlock, ...]
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """No, and why: the turn fails with the code `refused`, a tool's result is that it was refused."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What failed: a whole turn, or one attempt of a call that may be tried again."""

    place: Literal["turn", "attempt"]
    session: str
    turn_id: str
    request_id: str
    model: str
    error: EaiError
    attempt: int = 1


TurnOutcome: TypeAlias = ModelResponse | Ask | Refuse
ToolDone: TypeAlias = ToolOutcome | Ask | Refuse
TurnGoOn: TypeAlias = Callable[[TurnInput], Awaitable[TurnOutcome]]
ToolGoOn: TypeAlias = Callable[[ToolRun], Awaitable[ToolDone]]


@runtime_checkable
class RoundTurns(Protocol):
    """Stands round each first or resumed turn."""

    async def turn(self, given: TurnInput, go_on: TurnGoOn) -> TurnOutcome:
        """Change, refuse or ask before it, and see or change the response after it."""
        ...


@runtime_checkable
class RoundCalls(Protocol):
    """Stands round each request to a model: once, however often it is tried and whichever model answers."""

    async def call(self, request: ModelRequest, emit: Emit, go_on: Call) -> ModelResponse:
        """Change the request, see the response, or raise `Refused`."""
        ...


@runtime_checkable
class RoundTools(Protocol):
    """Stands round each run of a tool of the chat model."""

    async def tool(self, run: ToolRun, go_on: ToolGoOn) -> ToolDone:
        """Allow, change, answer, block, or ask first."""
        ...


@runtime_checkable
class HearsFailures(Protocol):
    """Is told what failed, and cannot change it."""

    async def failed(self, failure: Failure) -> None:
        """Take note; what is raised here is logged, and the failure goes on as it was."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """A middleware under the name that errors and questions know it by."""

    name: str
    layer: object


def named(layers: Sequence[object]) -> tuple[Named, ...]:
    """Each under the name of its class, made unlike the others' if need be.

    Raises:
        ConfigError: One has none of the methods.
    """
    found: list[Named] = []
    for layer in layers:
        name = layer.name if isinstance(layer, Named) else type(layer).__qualname__
        same = sum(1 for other in found if other.name.partition("#")[0] == name)
        real = layer.layer if isinstance(layer, Named) else layer
        if not any(callable(getattr(real, method, None)) for method in METHODS):
            raise ConfigError(f"middleware {name} has none of the methods {', '.join(METHODS)}")
        found.append(Named(f"{name}#{same + 1}" if same else name, real))
    return tuple(found)


def load(name: str) -> Named:
    """The middleware at `module:attribute`; a class is called without arguments.

    Raises:
        ConfigError: It cannot be loaded.
    """
    return Named(name, loaded("middleware", name))


def loaded(what: str, name: str) -> object:
    """What stands at `module:attribute`; of a class, an instance.

    Raises:
        ConfigError: It cannot be had; `what` says what it should have been.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ConfigError(f"{what} {name!r}: should be like module:attribute")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
        return found() if isinstance(found, type) else found
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what} {name!r} cannot be loaded: {type(error).__name__}: {error}") from error


def blamed(name: str, bug: Exception | SystemExit) -> Internal:
    """The error that stands for a mistake of a middleware, told apart from one of ours."""
    if isinstance(bug, SystemExit):
        bug = RuntimeError("it tried to end the process")
    ours = internal(bug)
    error_id = ours.details["error_id"]
    return Internal(f"middleware {name} failed: {ours.message}", middleware=name, error_id=error_id)


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """What the middleware `name` raises in the block, as an error of ours.

    A lone EaiError in a group is one of what is inside: a layer may have a task group of its own round that.
    """
    try:
        yield
    except EaiError:
        raise
    except (Exception, SystemExit) as raised:
        error = sole(raised)
        if isinstance(error, EaiError):
            raise error from error.__cause__
        raise blamed(name, raised) from raised
