"""The outermost layer: says that a call began, and how it ended."""

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse
from eai_mcp.errors import EaiError
from eai_mcp.observe import Observer, Value, is_heard, tell
from eai_mcp.pipeline.hearing import Clock


class Told:
    """Tells of each call, whoever answers it; `model` is the name of the one that was meant to."""

    def __init__(self, call: Call, model: str, *, observe: Observer, clock: Clock) -> None:
        self._call = call
        self._model = model
        self._observe = observe
        self._clock = clock

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        if not is_heard(self._observe, "call.started"):
            return await self._call(request, emit)
        begun = self._clock()
        tell_of(
            self._observe,
            request,
            "call.started",
            model=self._model,
            messages=len(request.messages),
            tools=len(request.tools),
        )
        try:
            response = await self._call(request, emit)
        except BaseException as error:
            seconds, code = self._clock() - begun, code_of(error)
            if code is None:
                tell_of(self._observe, request, "call.cancelled", model=self._model, seconds=seconds)
            else:
                tell_of(self._observe, request, "call.failed", model=self._model, seconds=seconds, code=code)
            raise
        tell_of(
            self._observe,
            request,
            "call.completed",
            model=self._model,
            seconds=self._clock() - begun,
            served_by=response.served_by,
            attempts=response.attempts,
            stop=response.stop,
            input=response.usage.input,
            output=response.usage.output,
        )
        return response


def tell_of(observe: Observer, request: ModelRequest, name: str, **fields: Value) -> None:
    """Tell a fact about `request`."""
    tell(
        observe,
        name,
        session=request.session,
        turn_id=request.turn_id,
        request_id=request.request_id,
        space=request.space,
        **fields,
    )


def code_of(error: BaseException) -> str | None:
    """The code that a fact names for what was raised; None if it is a cancellation and no error at all."""
    if isinstance(error, EaiError):
        return error.code
    return "internal" if isinstance(error, Exception) else None
