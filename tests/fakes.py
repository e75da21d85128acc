"""Fakes at the seam: models that say what a test tells them to."""

import signal
from dataclasses import dataclass, field
from typing import Any

import anyio

from eai_mcp.calls import Emit, ModelRequest, ModelResponse, Preparing, TextDelta
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import Unavailable
from eai_mcp.messages import Message, ToolUseBlock, Usage, assistant
from eai_mcp.providers import Parts


def said(text: str, **fields) -> ModelResponse:
    """A whole answer."""
    values = {
        "message": assistant(text),
        "stop": "end",
        "usage": Usage(input=2, output=3),
        "served_by": "fake",
    }
    return ModelResponse(**{**values, **fields})


@dataclass
class Scripted:
    """Plays one step for each request, and remembers the requests.

    A step is a response, an error to raise, or a function that takes request and emit.
    """

    steps: list[Any] = field(default_factory=list)
    requests: list[ModelRequest] = field(default_factory=list)

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, ModelResponse):
            await emit(TextDelta(step.message.text))
            return step
        response: ModelResponse = await step(request, emit)
        return response


def build(model: Model, parts: Parts) -> Scripted:
    """A provider for model files, as `tests.fakes:build`: the wire id says what the model does."""

    async def echo(request: ModelRequest, emit: Emit) -> ModelResponse:
        text = f"{len(request.messages)}: {request.messages[-1].text}"
        await emit(Preparing("waking up"))
        for piece in text.partition(" "):
            await emit(TextDelta(piece))
        warned = model.model == "warn"
        return said(
            text,
            served_by=model.name,
            stop="length" if warned else "end",
            warnings=("top_k was not sent",) if warned else (),
        )

    async def fail(request: ModelRequest, emit: Emit) -> ModelResponse:
        raise Unavailable("nobody is there")

    async def stopped_by_hand(request: ModelRequest, emit: Emit) -> ModelResponse:
        await emit(TextDelta("half a"))
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()
        raise AssertionError

    async def ask(request: ModelRequest, emit: Emit) -> ModelResponse:
        if len(request.messages) > 1:
            return await echo(request, emit)
        use = ToolUseBlock("q1", "ask_user", {"question": "Which colour?"})
        return said("", message=Message("assistant", (use,)), stop="tools")

    behaviours = {"ask": ask, "fail": fail, "stopped-by-hand": stopped_by_hand}
    return Scripted([behaviours.get(model.model, echo)] * 20)


class Held:
    """A step that says `first`, then waits until it is let go; `reached` is set once it waits."""

    def __init__(self, first: str = "", then: str = "done") -> None:
        self.first, self.then = first, then
        self.reached, self.let_go = anyio.Event(), anyio.Event()
        self.cancelled = False

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        if self.first:
            await emit(TextDelta(self.first))
        self.reached.set()
        try:
            await self.let_go.wait()
        except BaseException:
            self.cancelled = True
            raise
        await emit(TextDelta(self.then))
        return said(self.first + self.then)
