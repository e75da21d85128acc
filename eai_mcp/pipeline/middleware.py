"""An operator's own code round each call."""

from dataclasses import dataclass

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse
from eai_mcp.errors import EaiError
from eai_mcp.middleware import Named, RoundCalls, blamed, blaming
from eai_mcp.observe import internal


class Middleware:
    """One layer round `call`. What it raises fails the call, and names it if that was a bug of its own."""

    def __init__(self, call: Call, name: str, layer: RoundCalls) -> None:
        self._inside = _Inside(call)
        self._name = name
        self._layer = layer

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        with blaming(self._name):
            # It is somebody else's code, and may return anything.
            response: object = await self._layer.call(request, emit, self._inside)
        if not isinstance(response, ModelResponse):
            wrong = TypeError(f"call of {self._name} returned {type(response).__name__}, not a ModelResponse")
            raise blamed(self._name, wrong)
        return response


def round_call(call: Call, layer: Named) -> Call:
    """`call` with `layer` round it, if that has something to do with calls."""
    if not callable(getattr(layer.layer, "call", None)) or not isinstance(layer.layer, RoundCalls):
        return call
    return Middleware(call, layer.name, layer.layer)


@dataclass(frozen=True, slots=True)
class _Inside:
    """What is inside of a layer, whose bugs are none of the layer's."""

    call: Call

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        if not isinstance(request, ModelRequest):
            raise TypeError(f"go_on was handed {type(request).__name__}, not a ModelRequest")
        try:
            return await self.call(request, emit)
        except EaiError:
            raise
        except Exception as bug:
            raise internal(bug) from bug
