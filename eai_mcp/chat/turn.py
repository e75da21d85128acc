"""One turn while it runs: who asked what, what has been heard, and how it ends.

A turn belongs to the process, not to the request that began it: a caller attaches to it, and may leave.
Listeners pull: they look at `heard` when `changed` wakes them, so a slow one delays nobody.
"""

import time
from dataclasses import dataclass, field

import anyio

from eai_mcp.calls import (
    AttemptFailed,
    Call,
    ModelRequest,
    ModelResponse,
    Preparing,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolUseStarted,
)
from eai_mcp.chat.choose import Chosen
from eai_mcp.chat.ending import Ended, Ending, completed, failed, interrupted
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import CallTimeout, EaiError
from eai_mcp.observe import Fact, Observer, Value, internal
from eai_mcp.store import Claim, Store

SAVE_LIMIT_S = 5.0


class Heard:
    """What a reply has said so far. It is the turn's `Emit`."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.characters = 0
        self.note = ""
        self._changed = anyio.Event()
        self._awaited = False

    async def __call__(self, event: StreamEvent) -> None:
        """Remember what was said."""
        match event:
            case TextDelta(text=text):
                self.pieces.append(text)
                self.characters += len(text)
                self.note = ""
            case ThinkingDelta():
                self.note = "thinking"
            case ToolUseStarted(name=name):
                self.note = f"using {name}"
            case Preparing(text=text):
                self.note = text
            case AttemptFailed(reason=reason):
                self.note = f"trying again: {reason}"
        self.wake()

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self.pieces)

    def wake(self) -> None:
        """Let those who wait look again."""
        if self._awaited:
            self._awaited = False
            self._changed.set()
            self._changed = anyio.Event()

    async def changed(self) -> None:
        """Wait for the next thing to be heard."""
        self._awaited = True
        await self._changed.wait()


GRACE_S = 0.25


@dataclass(slots=True, kw_only=True)
class Turn:
    """A turn that was claimed. `run` it once; wait for `done`; then `ending` says how it went.

    `limit_s` bounds the whole of it, in seconds.
    """

    claim: Claim
    chosen: Chosen
    call: Call
    request: ModelRequest
    limit_s: float
    heard: Heard = field(default_factory=Heard)
    done: anyio.Event = field(default_factory=anyio.Event)
    ending: Ending | None = None
    _begun: float = field(default_factory=time.monotonic)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _stopped: bool = False

    def interrupt(self) -> None:
        """Stop it: the provider request is cancelled at once, and what was said is kept as partial."""
        self._stopped = True
        self._scope.cancel()

    def standing(self) -> TurnResult:
        """How it stands while it is running."""
        return TurnResult(
            status="running",
            reply=self.heard.text,
            session=self.claim.name,
            turn_id=self.claim.turn_id,
            effective=self.chosen.effective,
            overridden=self.chosen.overridden,
            progress=self.heard.note or f"{self.heard.characters} characters so far",
        )

    async def run(self, store: Store, observe: Observer) -> None:
        """Ask the model, settle the turn, and let those who wait see how it ended."""
        self._tell(observe, "turn.started", model=self.chosen.model.name)
        ended: Ended | None = None
        try:
            ended = await self._ask()
        finally:
            if ended is None:  # cancelled from outside
                ended = interrupted(self.claim, self.chosen, self.heard.text)
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + SAVE_LIMIT_S):
                self.ending = await _settled(ended, self.claim, store)
            self.done.set()
            self.heard.wake()
            self._tell(
                observe, f"turn.{ended.settlement.outcome.status}", seconds=time.monotonic() - self._begun
            )

    async def _ask(self) -> Ended:
        response: ModelResponse | None = None
        # A little later than the call's own deadline, so that a call which keeps it says what it has.
        self._scope.deadline = anyio.current_time() + self.limit_s + GRACE_S
        try:
            with self._scope:
                response = await self.call(self.request, self.heard)
        except EaiError as error:
            return failed(self.claim, error, self.heard.text)
        except Exception as error:  # noqa: BLE001  # a bug ends its own turn, not the server
            return failed(self.claim, internal(error), self.heard.text)
        if response is not None:
            return completed(self.claim, self.chosen, response)
        if self._stopped:
            return interrupted(self.claim, self.chosen, self.heard.text)
        late = CallTimeout(f"the turn took longer than its limit of {self.limit_s:g} s", limit_s=self.limit_s)
        return failed(self.claim, late, self.heard.text)

    def _tell(self, observe: Observer, name: str, **fields: Value) -> None:
        observe(Fact(name, self.claim.name, self.claim.turn_id, fields))


async def _settled(ended: Ended, claim: Claim, store: Store) -> Ending:
    """The ending once the store has it, or the store's error in its place."""
    try:
        await store.settle(claim, ended.settlement)
    except EaiError as error:
        return error
    except Exception as error:  # noqa: BLE001  # whoever waits must hear of it
        return internal(error)
    return ended.ending
