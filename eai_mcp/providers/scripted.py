"""A model that says what a script tells it to: for tests and demos, without a network and without chance.

scripted_script   the fields of a script;     scripted_choice   which reply answers

The same history has the same answer in every process. Only attempts that fail by plan are counted, and in
this process.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import NoReturn, assert_never

import anyio
from anyio import lowlevel

from eai_mcp import wire
from eai_mcp.calls import (
    Call,
    Emit,
    ModelRequest,
    ModelResponse,
    Samplers,
    Stop,
    TextDelta,
    ThinkingDelta,
    ToolUseStarted,
)
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import (
    AuthFailed,
    CallError,
    CallTimeout,
    CircuitOpen,
    ContextOverflow,
    MissingKey,
    RateLimited,
    Refused,
    Rejected,
    Unavailable,
)
from eai_mcp.messages import (
    Block,
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
)
from eai_mcp.providers import Parts
from eai_mcp.providers.scripted_choice import chosen
from eai_mcp.providers.scripted_script import Code, Fail, Pace, Reply, Script, Tool, script_of
from eai_mcp.wire import INVALID_JSON

ENDLESS_PAUSE_S = 0.05
"""Between the pieces of an endless reply that names no pause: a stream without any would fill the memory."""

MOST_COUNTED = 10_000

_ERRORS: Mapping[Code, type[CallError]] = {
    "missing_api_key": MissingKey,
    "provider_auth": AuthFailed,
    "provider_rejected": Rejected,
    "context_overflow": ContextOverflow,
    "refused": Refused,
    "rate_limited": RateLimited,
    "circuit_open": CircuitOpen,
    "provider_unavailable": Unavailable,
    "timeout": CallTimeout,
}
_WORD = re.compile(r"\S+")


def build(model: Model, parts: Parts) -> Call:
    """The call that plays the script of `model`.

    Raises:
        ConfigError: The script cannot be read, or one of its fields cannot work.
    """
    return Scripted(model, script_of(model))


class Scripted:
    """Plays `script`; it is a `Call`."""

    def __init__(self, model: Model, script: Script) -> None:
        self._model = model
        self._script = script
        self._failed: dict[tuple[str, int, int], int] = {}

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        reply = chosen(self._script, request.messages)
        if reply is None:
            raise Rejected(
                f"model {self._model.name!r}: its script has no reply left; `then` in it says what follows",
                model=self._model.name,
            )
        pace = self._script.pace(reply)
        voice = _Voice(pace, emit)
        is_instant = not (pace.delay_s or pace.pause_s or reply.endless)
        if is_instant and (request.deadline is None or request.deadline > anyio.current_time()):
            return await self._answer(request, reply, voice)
        response: ModelResponse | None = None
        with anyio.CancelScope(deadline=math.inf if request.deadline is None else request.deadline):
            response = await self._answer(request, reply, voice)
        if response is None:
            raise CallTimeout(
                f"model {self._model.name!r} did not finish its reply in the time it had",
                partial=voice.text,
                model=self._model.name,
            )
        return response

    async def _answer(self, request: ModelRequest, reply: Reply, voice: "_Voice") -> ModelResponse:
        plan = self._plan(request, reply)
        await voice.begin()
        if plan is not None:
            await voice.say(plan.partial)
            raise _error(self._model.name, plan)
        await voice.say(reply.thinking, ThinkingDelta)
        if reply.endless:
            await voice.say_endlessly(reply.text)
        text, cut = _cut(reply.text, request.samplers.over(self._model.samplers))
        if cut:
            reply = replace(reply, tools=(), stop=cut)
        await voice.say(text)
        await voice.name(reply.tools)
        turn = sum(message.role == "user" for message in request.messages)
        content = _blocks(reply, text, turn=turn)
        return ModelResponse(
            message=Message("assistant", content),
            stop=reply.stop or ("tools" if reply.tools else "end"),
            usage=_counted(request, content) if reply.usage is None else Usage(**asdict(reply.usage)),
            served_by=self._model.name,
            warnings=reply.warnings,
        )

    def _plan(self, request: ModelRequest, reply: Reply) -> Fail | None:
        """How this attempt fails, None when it does not. The attempt is counted."""
        plan = reply.fail
        if plan is None or plan.times is None:
            return plan
        at = next(at for at, one in enumerate(self._script.replies) if one is reply)
        key = ("", at, 0) if plan.shared else (request.session, at, len(request.messages))
        failed = self._failed.pop(key, 0)
        if failed < plan.times:
            self._failed[key] = failed + 1
            if len(self._failed) > MOST_COUNTED:
                del self._failed[next(iter(self._failed))]
            return plan
        if plan.shared:
            self._failed[key] = failed
        return None


class _Voice:
    """Says a reply at its pace, and remembers the text."""

    def __init__(self, pace: Pace, emit: Emit) -> None:
        self._pace = pace
        self._emit = emit
        self._said: list[str] = []
        self._is_first = True

    @property
    def text(self) -> str:
        return "".join(self._said)

    async def begin(self) -> None:
        """Wait as long as the first piece takes."""
        await lowlevel.checkpoint_if_cancelled()  # a deadline that has passed
        if self._pace.delay_s:
            await anyio.sleep(self._pace.delay_s)

    async def say(self, text: str, kind: type[TextDelta | ThinkingDelta] = TextDelta) -> None:
        """Emit the text piece by piece."""
        size = self._pace.chunk or max(1, len(text))
        for at in range(0, len(text), size):
            await self._pause(self._pace.pause_s or 0)
            piece = text[at : at + size]
            if kind is TextDelta:
                self._said.append(piece)
            await self._emit(kind(piece))

    async def say_endlessly(self, text: str) -> NoReturn:
        """Say it again and again until somebody stops it, or nothing for ever."""
        rest_s = 0 if text and self._pace.pause_s else ENDLESS_PAUSE_S if text else math.inf
        while True:
            await self.say(text)
            await anyio.sleep(rest_s)

    async def name(self, tools: Sequence[Tool]) -> None:
        """Tell that tools are asked for."""
        for tool in tools:
            await self._emit(ToolUseStarted(tool.name))

    async def _pause(self, seconds: float) -> None:
        if not self._is_first:
            await anyio.sleep(seconds)
        self._is_first = False


def _error(model: str, plan: Fail) -> CallError:
    return _ERRORS[plan.code](
        plan.message or f"model {model!r} fails with {plan.code}, as its script says",
        partial=plan.partial,
        retryable=plan.retryable,
        retry_after_s=plan.retry_after_s,
        model=model,
    )


def _cut(text: str, samplers: Samplers) -> tuple[str, Stop | None]:
    """The text up to the first stop sequence, and of that as many words as there are tokens."""
    stop: Stop | None = None
    ends = [at for sequence in samplers.stop_sequences or () if (at := text.find(sequence)) >= 0]
    if ends:
        text, stop = text[: min(ends)], "end"
    if samplers.max_tokens is not None:
        words = list(itertools.islice(_WORD.finditer(text), samplers.max_tokens + 1))
        if len(words) > samplers.max_tokens:
            return text[: words[samplers.max_tokens - 1].end()] if samplers.max_tokens else "", "length"
    return text, stop


def _blocks(reply: Reply, text: str, *, turn: int) -> tuple[Block, ...]:
    thinking = (ThinkingBlock(reply.thinking),) if reply.thinking else ()
    words = (TextBlock(text),) if text else ()
    tools = tuple(
        ToolUseBlock(
            tool.id or f"call_{turn}_{at}",
            tool.name,
            tool.input if tool.raw is None else {INVALID_JSON: tool.raw},
        )
        for at, tool in enumerate(reply.tools, 1)
    )
    return (*thinking, *words, *tools)


def _counted(request: ModelRequest, answer: Sequence[Block]) -> Usage:
    """Words in the place of tokens."""
    asked = sum(_words(block) for message in request.messages for block in message.content)
    thought = sum(_words(block) for block in answer if isinstance(block, ThinkingBlock))
    return Usage(
        input=len((request.system or "").split()) + asked,
        output=sum(map(_words, answer)),
        reasoning=thought,
    )


def _words(block: Block) -> int:
    match block:
        case TextBlock(text=text) | ThinkingBlock(text=text):
            return len(text.split())
        case ToolUseBlock():
            return len(wire.written(block.input).split())
        case ToolResultBlock():
            return sum(map(_words, block.content))
        case ImageBlock() | DocumentBlock():
            return 1
        case _:
            assert_never(block)
