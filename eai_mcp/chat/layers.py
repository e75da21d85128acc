"""The middleware that stands round turns and tools, in its order, and what becomes of its mistakes.

Whoever asks is known by name, so that the answer comes back to it with what it wanted to remember.
"""

import json
import math
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

import anyio

from eai_mcp.calls import ModelResponse
from eai_mcp.errors import Conflict
from eai_mcp.messages import ToolResultBlock, ToolUseBlock
from eai_mcp.middleware import (
    Ask,
    Failure,
    HearsFailures,
    Named,
    Refuse,
    RoundTools,
    RoundTurns,
    ToolDone,
    ToolGoOn,
    ToolOutcome,
    ToolRun,
    TurnGoOn,
    TurnInput,
    TurnOutcome,
    blamed,
    blaming,
)
from eai_mcp.observe import internal

HEARING_LIMIT_S = 5.0
MOST_ASKED = 1024 * 1024
"""Of a question with its state, which are read whenever its session is: characters as JSON."""
G = TypeVar("G")
R = TypeVar("R")
_Inside: TypeAlias = Callable[[G], Awaitable[R]]


@dataclass(frozen=True, slots=True)
class Asked:
    """The question that was answered, which layer had asked it, and the answer's text."""

    by: str
    ask: Ask
    answer: str


@dataclass(slots=True)
class Asker:
    """Who asked the question that a turn or a tool comes back with: a layer, or "" for what is inside all."""

    name: str = ""
    _known: Ask | None = None

    def note(self, outcome: object, name: str) -> None:
        """What `name` handed out; a question that it only passed on stays that of whoever asked it."""
        if isinstance(outcome, Ask) and outcome is not self._known:
            self.name, self._known = name, outcome


class Layers:
    """Middleware, the outermost first. Where there is none it costs nothing."""

    def __init__(self, layers: Sequence[Named] = (), *, hearing_s: float = HEARING_LIMIT_S) -> None:
        self._hearing_s = hearing_s
        self._turns = [(one.name, one.layer) for one in layers if isinstance(one.layer, RoundTurns)]
        self._tools = [(one.name, one.layer) for one in layers if isinstance(one.layer, RoundTools)]
        self._failures = [one.layer for one in layers if isinstance(one.layer, HearsFailures)]

    async def turn(
        self, given: TurnInput, inside: TurnGoOn, *, asker: Asker, asked: Asked | None
    ) -> TurnOutcome:
        """What a turn comes to with all layers round it.

        Raises:
            EaiError: The inside failed, or a layer did; Conflict if the layer that had asked is gone.
        """
        _check(asked, self._turns)
        for name, layer in reversed(self._turns):
            prepared = partial(_turn_of, name, asked)
            inside = _round(name, layer.turn, inside, prepared, (ModelResponse, Ask, Refuse), asker)
        return await inside(given)

    async def tool(self, run: ToolRun, inside: ToolGoOn, *, asker: Asker, asked: Asked | None) -> ToolDone:
        """What a run of a tool comes to with all layers round it; see `turn`.

        What `inside` asks is asked by "", and it gets the answer.
        """
        _check(asked, self._tools)
        inside = _asked_inside(inside, asked)
        for name, layer in reversed(self._tools):
            prepared = partial(_run_of, name, asked)
            inside = _round(name, layer.tool, inside, prepared, (ToolOutcome, Ask, Refuse), asker)
        return await inside(run)

    async def hear(self, failure: Failure) -> None:
        """Tell those who hear of failures, `hearing_s` seconds each at most; what they raise is logged."""
        for layer in self._failures:
            with anyio.move_on_after(self._hearing_s):
                try:
                    await layer.failed(failure)
                except SystemExit:
                    internal(RuntimeError("a listener to failures tried to end the process"))
                except Exception as error:  # noqa: BLE001  # the failure goes on as it was
                    internal(error)


NO_LAYERS = Layers()


def _check(asked: Asked | None, layers: Sequence[tuple[str, object]]) -> None:
    if asked is not None and asked.by and asked.by not in (name for name, _ in layers):
        raise Conflict(
            f"the question was asked by middleware {asked.by}, which is gone; interrupt drops the question",
            middleware=asked.by,
        )


def _asked_inside(inside: ToolGoOn, asked: Asked | None) -> ToolGoOn:
    """The inside, told the answer to what it asked itself."""

    async def go_on(run: ToolRun) -> ToolDone:
        return await inside(_run_of("", asked, run))

    return go_on


def _turn_of(name: str, asked: Asked | None, given: TurnInput) -> TurnInput:
    own = asked if asked and asked.by == name else None
    # Its own copy: what it writes there is neither the caller's nor what the result tells.
    return replace(given, asked=own.ask if own else None, metadata=deepcopy(dict(given.metadata)))


def _run_of(name: str, asked: Asked | None, run: ToolRun) -> ToolRun:
    own = asked if asked and asked.by == name else None
    answer = own.answer if own else None
    # Its own copy: the model's message holds the original.
    return replace(run, asked=own.ask if own else None, answer=answer, input=deepcopy(run.input))


def _round(
    name: str,
    layer: Callable[[G, _Inside[G, R]], Awaitable[R]],
    inside: _Inside[G, R],
    prepared: Callable[[G], G],
    kinds: tuple[type, ...],
    asker: Asker,
) -> _Inside[G, R]:
    async def go_on(given: G) -> R:
        with blaming(name):
            outcome = await layer(prepared(given), inside)
        if not isinstance(outcome, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise blamed(name, TypeError(f"it returned {type(outcome).__name__}, not {wanted}"))
        if isinstance(outcome, Ask):
            _check_ask(name, outcome)
        if isinstance(outcome, ModelResponse):
            _check_response(name, outcome)
        asker.note(outcome, name)
        return outcome

    return go_on


def _check_ask(name: str, ask: Ask) -> None:
    try:
        written = json.dumps({**ask.state, "question": ask.question}, allow_nan=False)
        if len(written) > MOST_ASKED:
            raise ValueError(f"a question and its state may have {MOST_ASKED:,} characters as JSON")
        if not ask.question.strip():
            raise ValueError("a question needs a text")
        if ask.expires_s is not None and not math.isfinite(ask.expires_s):
            raise ValueError("expires_s must be a number of seconds")
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise blamed(name, error) from error


def _check_response(name: str, response: ModelResponse) -> None:
    """See that the history can end with it: nobody would run tools that it asks for."""
    said = response.message
    if said.role != "assistant" or any(isinstance(b, ToolUseBlock | ToolResultBlock) for b in said.content):
        raise blamed(name, TypeError("a response must be the assistant's, and without uses of tools"))
