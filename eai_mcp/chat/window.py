"""What the model is shown: the system text, and the history with the new input behind it.

Nothing is added to what the user and the operator wrote: without a prompt, system text or card there is no
system text at all, and the messages are those of the history. A card adds what `playing` says. Only as much
of the history is shown as the model can read, if its file says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eai_mcp.calls import AttemptFailed, Call, Emit, ModelRequest, ModelResponse
from eai_mcp.catalog.entries import Model
from eai_mcp.chat import fitting
from eai_mcp.chat.choose import Chosen
from eai_mcp.errors import ContextOverflow
from eai_mcp.messages import Message

USER = "User"
SHORTENED_AGAIN = 3
"""How many more times a history is shortened that the provider still finds too long."""


def prepared(
    chosen: Chosen,
    history: Sequence[Message],
    message: Message,
    *,
    user: str = USER,
    session: str = "",
    turn_id: str = "",
) -> tuple[str | None, tuple[Message, ...]]:
    """The system text of a turn, None when there is nothing to say, and the messages of its first call.

    `user` is what a card calls whoever speaks; by session and turn chance is the same when it is told again.

    Raises:
        ConfigError: The card cannot be played.
    """
    prompt = (chosen.system if chosen.prompt is None else chosen.prompt.text) or ""
    # One with nothing in it is refused by providers.
    messages = tuple(one for one in (*history, message) if one.content)
    if chosen.card is None:
        return prompt or None, messages
    # Many servers never play one.
    from eai_mcp.chat import playing
    from eai_mcp.chat.macros import Macros

    macros = Macros(card=chosen.card, user=user, session=session, turn=turn_id)
    return playing.played(macros, prompt, messages)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Asks `model` by `call`, with as much of the history as fits its window; it is a `Call`.

    Lengths are estimates, so the border is the provider's to draw: only what cannot fit by any count is
    refused here. By the policy `drop_oldest` the oldest messages are left out, some more of them if the
    provider still finds it too long, and a warning says how many.
    """

    call: Call
    model: Model

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        """Ask, and raise ContextOverflow for what cannot fit."""
        window = self.model.context_window
        if window is None:
            return await self.call(request, emit)
        if self.model.context_policy == "drop_oldest":
            return await self._with_the_newest(request, emit, window)
        if fitting.tokens(request, fitting.HOPEFUL) > window:
            raise _overflow(request, self.model, window)
        return await self.call(request, emit)

    async def _with_the_newest(self, request: ModelRequest, emit: Emit, window: int) -> ModelResponse:
        sized = fitting.Sized(request)
        most = fitting.budget(request, self.model, window)
        cut = sized.cut(most)
        if sized.tokens(cut) > window and fitting.tokens(request, fitting.HOPEFUL, start=cut) > window:
            raise _overflow(request, self.model, window)
        failed = 0
        while True:
            try:
                response = await self.call(_without(request, cut), emit)
            except ContextOverflow as error:
                if error.partial or failed == SHORTENED_AGAIN or cut == sized.input_at:
                    raise
                # From the same budget each turn, and so at the same place.
                while most >= sized.tokens(cut):
                    most = most * 3 // 4
                cut, failed = sized.cut(most), failed + 1
                await emit(AttemptFailed(error.message))
            else:
                return _told(response, cut, len(request.messages), window, failed)


def _without(request: ModelRequest, cut: int) -> ModelRequest:
    return replace(request, messages=request.messages[cut:]) if cut else request


def _told(response: ModelResponse, cut: int, of: int, window: int, failed: int) -> ModelResponse:
    """The response with what it does not know: which messages were left out, and how often it had failed."""
    if not cut:
        return response
    warning = (
        f"the oldest {cut} of {of} messages had to be left out to fit into what the model reads "
        f"(about {window:,} tokens)"
    )
    return replace(response, warnings=(*response.warnings, warning), attempts=response.attempts + failed)


def _overflow(request: ModelRequest, model: Model, window: int) -> ContextOverflow:
    """The error for what cannot fit, with advice that helps: a new session makes no single input shorter."""
    start = fitting.input_at(request.messages)
    what, advice = "this input alone comes", "send less at once, or take a model with a larger window"
    if fitting.tokens(request, fitting.HOPEFUL, start=start) <= window:
        start, what = 0, "the messages come"
        advice = (
            "start a new session, fork_session at an earlier message, take a model with a larger window, "
            'or set policy = "drop_oldest" under [context] in the model\'s file'
        )
    tokens = fitting.tokens(request, fitting.CAREFUL, start=start)
    return ContextOverflow(
        f"{what} to about {tokens:,} tokens, and model {model.name!r} reads {window:,}; {advice}",
        model=model.name,
        tokens=tokens,
        context_window=window,
    )
