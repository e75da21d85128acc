"""What the tests of guards have in common: a request, a model, listeners, and calls that behave."""

from typing import Any

import anyio

from eai_mcp.calls import Emit, ModelRequest, ModelResponse, StreamEvent
from eai_mcp.catalog.entries import Model, Reliability
from eai_mcp.errors import RateLimited, Unavailable
from eai_mcp.messages import user
from eai_mcp.observe import Fact
from tests.fakes import said

REQUEST = ModelRequest(messages=(user("Hello"),), session="s", turn_id="t", request_id="r")
HELLO = said("Hello")
DOWN = Unavailable("nobody is there")
BUSY = RateLimited("too many requests", status=429)


def model(name: str = "a", **reliability: Any) -> Model:
    """A model of that name, whose wire id is it too."""
    return Model(name=name, provider="fake", model=f"{name}-1", reliability=Reliability(**reliability))


class Ears(list[StreamEvent]):
    """A listener that remembers."""

    async def __call__(self, event: StreamEvent) -> None:
        self.append(event)


class Facts(list[Fact]):
    """An observer that remembers."""

    def __call__(self, fact: Fact) -> None:
        self.append(fact)

    @property
    def names(self) -> list[str]:
        return [fact.name for fact in self]

    def of(self, name: str) -> list[dict[str, Any]]:
        """The fields of each fact of that name."""
        return [dict(fact.fields) for fact in self if fact.name == name]


async def forever(request: ModelRequest, emit: Emit) -> ModelResponse:
    """A call that never comes back by itself."""
    await anyio.sleep_forever()
    raise AssertionError


class Gate:
    """A call that waits until it is let go, and counts how many wait so, and how many did at most."""

    def __init__(self) -> None:
        self.inside = self.most = self.calls = 0
        self.let_go = anyio.Event()

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        self.calls += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.let_go.wait()
        finally:
            self.inside -= 1
        return HELLO
