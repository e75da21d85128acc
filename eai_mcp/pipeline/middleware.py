"""An operator's own code round each call."""

from dataclasses import dataclass, field

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse
from eai_mcp.errors import EaiError, sole
from eai_mcp.middleware import Named, RoundCalls, blamed


class Middleware:
    """One layer round `call`. What it raises fails the call, and names it if that was a bug of its own."""

    def __init__(self, call: Call, name: str, layer: RoundCalls) -> None:
        self._call = call
        self._name = name
        self._layer = layer

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        inside = _Inside(self._call)
        try:
            # It is somebody else's code, and may return anything.
            response: object = await self._layer.call(request, emit, inside)
        except EaiError:
            raise
        except SystemExit as error:
            raise blamed(self._name, error) from error
        except Exception as raised:
            one = sole(raised)
            if isinstance(one, EaiError) or any(one is other for other in inside.raised):
                raise one from one.__cause__
            raise blamed(self._name, raised) from raised
        if not isinstance(response, ModelResponse):
            wrong = TypeError(f"call of {self._name} returned {type(response).__name__}, not a ModelResponse")
            raise blamed(self._name, wrong)
        return response


def round_call(call: Call, layer: Named) -> Call:
    """`call` with `layer` round it, if that has something to do with calls."""
    if not callable(getattr(layer.layer, "call", None)) or not isinstance(layer.layer, RoundCalls):
        return call
    return Middleware(call, layer.name, layer.layer)


@dataclass(slots=True)
class _Inside:
    """What is inside of a layer, and what it raised: that is no fault of the layer."""

    call: Call
    raised: list[Exception] = field(default_factory=list)

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        if not isinstance(request, ModelRequest):
            raise TypeError(f"go_on was handed {type(request).__name__}, not a ModelRequest")
        try:
            return await self.call(request, emit)
        except Exception as error:
            self.raised.append(error)
            raise
