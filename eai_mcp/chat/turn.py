"""One turn while it runs: who asked what, what has been heard, and how it ends.

A turn belongs to the process, not to the request that began it: a caller attaches to it, and may leave.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import anyio
import anyio.lowlevel
from pydantic import JsonValue

from eai_mcp.calls import Call, ModelRequest, Samplers
from eai_mcp.chat import ending, questions, window
from eai_mcp.chat.choose import Chosen
from eai_mcp.chat.distant import past
from eai_mcp.chat.ending import Ended, Ending, Frame
from eai_mcp.chat.heard import Heard
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import CallTimeout, Conflict, EaiError, LimitExceeded, StorageUnavailable
from eai_mcp.messages import Message, ToolUseBlock, Usage
from eai_mcp.observe import Fact, Observer, Value, internal
from eai_mcp.store import Claim, Question, Running, Settlement, Store

SAVE_LIMIT_S = 5.0
MOST_STEPS = 50
LONGEST_METADATA_TOLD = 1000
GRACE_S = 0.25


@dataclass(slots=True, kw_only=True)
class Turn:
    """A turn that was claimed. `run` it once; wait for `done`; then `ending` says how it went.

    `message` is its input, the answer to `question` if there was one. `limit_s` bounds the whole
    of it, in seconds, `save_s` the saving of its end. `unsaved` is what the store still has to be
    told of that end.
    """

    claim: Claim
    message: Message
    chosen: Chosen
    call: Call
    limit_s: float
    save_s: float = SAVE_LIMIT_S
    samplers: Samplers = Samplers()
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    request_id: str = ""
    question: Question | None = None
    heard: Heard = field(default_factory=Heard)
    done: anyio.Event = field(default_factory=anyio.Event)
    ending: Ending | None = None
    unsaved: Settlement | None = None
    waiters: int = 0
    left_at: float = field(default_factory=time.monotonic)
    _frame: Frame = field(init=False)
    _begun: float = field(default_factory=time.monotonic)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _stopped: bool = False
    _why: str | None = None

    def __post_init__(self) -> None:
        self._frame = Frame(
            claim=self.claim,
            chosen=self.chosen,
            metadata=self.metadata,
            is_resumed=self.question is not None,
        )

    @property
    def session(self) -> str:
        """See `Followed`."""
        return self.claim.name

    @property
    def turn_id(self) -> str:
        """See `Followed`."""
        return self.claim.turn_id

    @property
    def model(self) -> str:
        """See `Followed`."""
        return self.chosen.model.name

    def interrupt(self, reason: str | None = None) -> None:
        """Stop it: the provider request is cancelled at once, and what was said is kept as partial."""
        if not self._stopped:
            self._stopped, self._why = True, reason
            self._scope.cancel()

    def standing(self) -> TurnResult:
        """See `Followed`."""
        return replace(self._frame.result(), reply=self.heard.text, progress=self.heard.doing)

    async def run(self, store: Store, observe: Observer) -> None:
        """Ask the model, settle the turn, and let those who wait see how it ended."""
        self._tell(observe, "turn.resumed" if self.question else "turn.started", **self._asked_with())
        ended: Ended | None = None
        try:
            ended = await self._ask(store)
        finally:
            if ended is None:  # cancelled from outside
                ended = ending.interrupted(self._frame, self.heard.partial)
            self.ending = await self._settled(ended, store)
            self.done.set()
            self.heard.wake()
            status = self.ending.status if isinstance(self.ending, TurnResult) else "failed"
            self._tell(observe, f"turn.{status}", seconds=time.monotonic() - self._begun)

    async def _ask(self, store: Store) -> Ended:
        ended: Ended | None = None
        # A little later than the call's own deadline, so that a call which keeps it says what it has.
        deadline = anyio.current_time() + self.limit_s
        self._scope.deadline = deadline + GRACE_S
        try:
            with self._scope:
                ended = await self._steps(await self._first_request(store, deadline), store)
        except EaiError as error:
            return ending.failed(self._frame, error, self.heard.partial)
        except Exception as error:  # noqa: BLE001  # a bug ends its own turn, not the server
            return ending.failed(self._frame, internal(error), self.heard.partial)
        if ended is not None:
            return ended
        if self._stopped:
            return ending.interrupted(self._frame, self.heard.partial, self._why)
        late = CallTimeout(f"the turn took longer than its limit of {self.limit_s:g} s", limit_s=self.limit_s)
        return ending.failed(self._frame, late, self.heard.partial)

    async def _first_request(self, store: Store, deadline: float) -> ModelRequest:
        history = [entry.message for entry in await store.load(self.claim.space, self.claim.name)]
        if self.question is not None:
            *before, _ = await store.said(self.claim)
            history += before
        return ModelRequest(
            messages=window.shown(history, self.message),
            system=window.system_text(self.chosen),
            tools=questions.offered(self.chosen.card),
            samplers=self.samplers,
            deadline=deadline,
            session=self.claim.name,
            turn_id=self.claim.turn_id,
            request_id=self.request_id,
        )

    async def _steps(self, request: ModelRequest, store: Store) -> Ended:
        """Ask until the model has answered, or asks something itself."""
        for _ in range(MOST_STEPS):
            await anyio.lowlevel.checkpoint_if_cancelled()  # a call may come to its end without one
            response = await self.call(request, self.heard)
            self._frame = replace(
                self._frame,
                spent=(self._frame.spent or Usage()) + response.usage,
                warnings=tuple(dict.fromkeys((*self._frame.warnings, *response.warnings))),
            )
            uses = [block for block in response.message.content if isinstance(block, ToolUseBlock)]
            if not uses:
                return ending.completed(self._frame, response)
            if asked := questions.first(uses, self.chosen.card):
                question = questions.waiting(self.claim.turn_id, asked, uses, self.samplers)
                return ending.awaiting(self._frame, response, question)
            results = Message("user", tuple(questions.unknown(use) for use in uses))
            with self.heard.saving_step():
                await store.append(self.claim, (response.message, results))
            self._frame = replace(self._frame, has_steps=True)
            request = replace(request, messages=(*request.messages, response.message, results))
        raise LimitExceeded(
            f"the model asked for tools {MOST_STEPS} times without an answer", limit=MOST_STEPS
        )

    async def _settled(self, ended: Ended, store: Store) -> Ending:
        """The ending once the store has it, or the store's error in its place."""
        try:
            with anyio.fail_after(self.save_s, shield=True):
                await store.settle(self.claim, ended.settlement)
        except Conflict as error:  # there is nothing left to save
            return await self._as_others_ended_it(ended, error, store)
        except TimeoutError:
            late = StorageUnavailable(f"the turn could not be saved within {self.save_s:g} s")
            failed = ending.unsaved(self.claim, late, ended)
        except EaiError as error:
            failed = ending.unsaved(self.claim, error, ended)
        except Exception as error:  # noqa: BLE001  # whoever waits must hear of it
            failed = ending.unsaved(self.claim, internal(error), ended)
        else:
            return ended.ending
        self.unsaved = failed.settlement
        return failed.ending

    async def _as_others_ended_it(self, ended: Ended, error: Conflict, store: Store) -> Ending:
        """The outcome that the store has, for others settled the turn; the error if it has none."""
        with suppress(EaiError):
            found = await store.find(self.claim.space, self.claim.name, self.claim.turn_id)
            if not isinstance(found, Running):
                return past(self.claim.name, *found).ending or ended.ending
        return ending.unsaved(self.claim, error, ended).ending

    def _asked_with(self) -> dict[str, Value]:
        told: dict[str, Value] = {"model": self.model}
        if self.metadata:
            told["metadata"] = json.dumps(self.metadata)[:LONGEST_METADATA_TOLD]
        return told

    def _tell(self, observe: Observer, name: str, **fields: Value) -> None:
        try:
            observe(Fact(name, self.claim.name, self.claim.turn_id, self.request_id, fields))
        except Exception as error:  # noqa: BLE001  # whoever listens must not end the turn
            internal(error)
