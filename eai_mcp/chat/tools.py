"""The tools that the chat model asks for: each run through the middleware, each with a result."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from eai_mcp.calls import Samplers
from eai_mcp.catalog.entries import Card
from eai_mcp.chat import questions
from eai_mcp.chat.heard import Heard
from eai_mcp.chat.layers import Asked, Asker, Layers
from eai_mcp.chat.questions import Wanted
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
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
NO_NAME = "(no name)"

Done: TypeAlias = ToolResultBlock | Wanted | ToolUseBlock
"""What a tool came to: its result, what has to be asked before it may run, or the model's own question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Runs what the model of one turn asks for; `tell` tells facts of that turn."""

    claim: Claim
    layers: Layers
    heard: Heard
    tell: Callable[..., None]

    async def step(self, uses: Sequence[ToolUseBlock], card: Card | None, done: list[Done]) -> None:
        """Add to `done` what the tools of a step came to, in order.

        The model may ask one question at a time, and while it does no tool may ask one.
        """
        asks = questions.NAME if questions.is_honoured(card) else None
        asked = next((use for use in uses if use.name == asks), None)
        for use in uses:
            if use.name == asks:
                done.append(use if use is asked else questions.not_asked(use))
                continue
            one = await self._run(use, None)
            done.append(questions.not_asked(use) if asked and isinstance(one, Wanted) else one)

    async def again(
        self, uses: Sequence[ToolUseBlock], question: Question, answer: Message, done: list[Done]
    ) -> None:
        """Add to `done` what came of a step that had to wait for an answer; who had run keeps its result."""
        asked = questions.asked_tools(question, answer)
        for at, (use, before) in enumerate(zip(uses, questions.results(question), strict=True)):
            done.append(before or await self._run(use, asked[at]))

    def question(self, done: Sequence[Done], samplers: Samplers) -> Question | None:
        """What has to be asked before the turn can go on."""
        own = next((one for one in done if isinstance(one, ToolUseBlock)), None)
        finished = [one if isinstance(one, ToolResultBlock) else None for one in done]
        if own is not None:
            return questions.of_model(self.claim.turn_id, own, finished, samplers)
        wanted = {at: one for at, one in enumerate(done) if isinstance(one, Wanted)}
        if not wanted:
            return None
        return questions.of_tools(self.claim.turn_id, finished, wanted, samplers)

    async def _run(self, use: ToolUseBlock, asked: Asked | None) -> ToolResultBlock | Wanted:
        name = use.name if _NAME.fullmatch(use.name) else NO_NAME
        self.tell("tool.started", name=name)
        begun, asker, failed = time.monotonic(), Asker(), True
        run = ToolRun(
            session=self.claim.name,
            turn_id=self.claim.turn_id,
            name=use.name,
            input=use.input,
            emit=self.heard,
        )
        try:
            done = await self.layers.tool(run, _unknown, asker=asker, asked=asked)
            failed = not isinstance(done, ToolOutcome) or done.failed
        finally:
            self.tell("tool.completed", name=name, seconds=time.monotonic() - begun, failed=failed)
        match done:
            case ToolOutcome(content=content):
                return ToolResultBlock(use.id, content, failed=done.failed)
            case Refuse(reason=reason):
                return failed_result(use.id, f"refused: {reason}")
            case Ask():
                return Wanted(use, done, asker.name)


def uses_in(message: Message) -> list[ToolUseBlock]:
    """The tools that a message asks for."""
    return [block for block in message.content if isinstance(block, ToolUseBlock)]


def results_of(done: Sequence[Done]) -> Message:
    """The results of a step that is finished."""
    return Message("user", tuple(one for one in done if isinstance(one, ToolResultBlock)))


def broken_off(uses: Sequence[ToolUseBlock], done: Sequence[Done]) -> Message | None:
    """The results of a step that broke off, failed ones for those not in `done`; None without any."""
    results = {one.tool_use_id: one for one in done if isinstance(one, ToolResultBlock)}
    if not results:
        return None
    return results_of([results.get(use.id) or failed_result(use.id, INTERRUPTED) for use in uses])


async def _unknown(run: ToolRun) -> ToolDone:
    return ToolOutcome((TextBlock(f"there is no tool named {run.name!r}"),), failed=True)
