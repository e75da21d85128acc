"""The tools that the chat model asks for: each run through the middleware, each with a result.

Those of one step run at the same time. Their results stand in the order in which they were asked for.
"""

import itertools
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import anyio

from eai_mcp.calls import Samplers, ToolSpec
from eai_mcp.chat import questions
from eai_mcp.chat.heard import Heard
from eai_mcp.chat.layers import Asked, Asker, Layers
from eai_mcp.chat.questions import Wanted
from eai_mcp.chat.toolbox.box import Toolbox
from eai_mcp.chat.toolbox.kit import Kit
from eai_mcp.chat.toolbox.steps import Budget
from eai_mcp.chat.toolbox.use import Use
from eai_mcp.errors import sole
from eai_mcp.messages import (
    INTERRUPTED,
    Message,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    failed_result,
)
from eai_mcp.middleware import Ask, Refuse, ToolDone, ToolOutcome, ToolRun
from eai_mcp.store import Claim, Question

# Models make names up, with whole sentences in them; facts and metrics must hold neither.
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
NO_NAME = "(no name)"
NOTHING = TextBlock("(nothing)")

Done: TypeAlias = ToolResultBlock | Wanted | ToolUseBlock
"""What a tool came to: its result, what has to be asked before it may run, or the model's own question."""
Slots: TypeAlias = list[Done | None]
"""What the tools of a step came to, in order; None for what is not done yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Runs what the model of one turn asks for; `tell` tells facts of that turn."""

    claim: Claim
    layers: Layers
    box: Toolbox
    kit: Kit
    heard: Heard
    tell: Callable[..., None]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def step(self, uses: Sequence[ToolUseBlock], done: Slots, budget: Budget) -> None:
        """Put into `done` what the tools of a step came to.

        The model may ask one question at a time, and while it does no tool may ask one.
        """
        asks = questions.NAME if self.kit.may_ask else None
        asked = next((use for use in uses if use.name == asks), None)
        done[:] = [self._question(use, asked) if use.name == asks else None for use in uses]

        async def one(at: int, use: ToolUseBlock) -> None:
            came = await self._run(use, None, budget)
            done[at] = questions.not_asked(use) if asked and isinstance(came, Wanted) else came

        await _together([partial(one, at, use) for at, use in enumerate(uses) if done[at] is None])

    async def again(
        self, uses: Sequence[ToolUseBlock], question: Question, answer: Message, done: Slots, budget: Budget
    ) -> None:
        """Put into `done` what came of a step that waited for an answer; who had run keeps its result."""
        asked = questions.asked_tools(question, answer)
        done[:] = questions.results(question)

        async def one(at: int, use: ToolUseBlock) -> None:
            done[at] = await self._run(use, asked[at], budget)

        await _together([partial(one, at, use) for at, use in enumerate(uses) if done[at] is None])

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """Those that the model is told of."""
        return self.box.specs(self.kit.names)

    def do_something(self, uses: Sequence[ToolUseBlock]) -> bool:
        """Whether any of the uses is of a tool that there is."""
        return any(self.box.has(use.name, self.kit) for use in uses)

    def question(self, done: Slots, samplers: Samplers) -> Question | None:
        """What has to be asked before the turn can go on."""
        own = next((one for one in done if isinstance(one, ToolUseBlock)), None)
        finished = [one if isinstance(one, ToolResultBlock) else None for one in done]
        if own is not None:
            return questions.of_model(self.claim.turn_id, own, finished, samplers)
        wanted = {at: one for at, one in enumerate(done) if isinstance(one, Wanted)}
        if not wanted:
            return None
        return questions.of_tools(self.claim.turn_id, finished, wanted, samplers)

    def _question(self, use: ToolUseBlock, asked: ToolUseBlock | None) -> Done:
        return use if use is asked else questions.not_asked(use)

    async def _run(self, use: ToolUseBlock, asked: Asked | None, budget: Budget) -> ToolResultBlock | Wanted:
        name, number = use.name if _NAME.fullmatch(use.name) else NO_NAME, next(self._numbers)
        self.tell("tool.started", name=name, number=number)
        begun, asker, failed = time.monotonic(), Asker(), True
        run = ToolRun(
            session=self.claim.name,
            turn_id=self.claim.turn_id,
            name=use.name,
            input=use.input,
            emit=self.heard,
        )
        try:
            done = await self.layers.tool(run, partial(self._inside, asker), asker=asker, asked=asked)
            failed = not isinstance(done, ToolOutcome) or done.failed
        finally:
            seconds = time.monotonic() - begun
            self.tell("tool.completed", name=name, number=number, seconds=seconds, failed=failed)
        match done:
            case ToolOutcome():
                kept = budget.held(done)
                return ToolResultBlock(use.id, kept.content or (NOTHING,), failed=done.failed)
            case Refuse(reason=reason):
                return failed_result(use.id, f"refused: {reason}")
            case Ask():
                return Wanted(use, done, asker.name)

    async def _inside(self, asker: Asker, run: ToolRun) -> ToolDone:
        done = await self.box.run(Use(claim=self.claim, run=run, kit=self.kit))
        asker.note(done, "")
        return done


def slots(uses: Sequence[ToolUseBlock]) -> Slots:
    """Room for what some uses come to."""
    return [None] * len(uses)


def uses_in(message: Message) -> list[ToolUseBlock]:
    """The tools that a message asks for."""
    return [block for block in message.content if isinstance(block, ToolUseBlock)]


def results_of(done: Slots) -> Message:
    """The results of a step that is finished."""
    return Message("user", tuple(one for one in done if isinstance(one, ToolResultBlock)))


def broken_off(uses: Sequence[ToolUseBlock], done: Slots) -> Message:
    """The results of a step that broke off, failed ones for what was not done."""
    closed = [
        one if isinstance(one, ToolResultBlock) else failed_result(use.id, INTERRUPTED)
        for use, one in zip(uses, done, strict=True)
    ]
    return replace(results_of([]), content=tuple(closed))


def has_run(done: Slots) -> bool:
    """Whether any of the tools came to a result."""
    return any(isinstance(one, ToolResultBlock) for one in done)


async def _together(runs: Sequence[Callable[[], Coroutine[object, object, None]]]) -> None:
    """Run all at the same time; the first error ends the others and is raised itself."""
    if len(runs) == 1:
        await runs[0]()
        return
    try:
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(run)
    except BaseExceptionGroup as group:
        error = sole(group)
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from error.__cause__
