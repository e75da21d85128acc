"""One turn while it runs: who asked what, what has been heard, and how it ends.

A turn belongs to the process, not to the request that began it: a caller attaches to it, and may leave.
"""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import anyio
from pydantic import JsonValue

from eai_mcp.calls import Call, ResourcePushed, Samplers
from eai_mcp.chat import ending, pushed, questions
from eai_mcp.chat.choose import Chosen
from eai_mcp.chat.distant import past
from eai_mcp.chat.ending import Ended, Ending, Frame
from eai_mcp.chat.heard import Heard
from eai_mcp.chat.layers import NO_LAYERS, Layers
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.rounds import Round
from eai_mcp.chat.toolbox.box import NO_TOOLS, Toolbox
from eai_mcp.chat.toolbox.kit import Kit
from eai_mcp.chat.toolbox.steps import Budget
from eai_mcp.chat.tools import Tools
from eai_mcp.chat.values import TurnResult
from eai_mcp.errors import CallTimeout, Conflict, EaiError, StorageUnavailable
from eai_mcp.messages import Message
from eai_mcp.middleware import Failure
from eai_mcp.observe import Observer, Value, ignore, internal, tell
from eai_mcp.store import Claim, Question, Running, Settlement, Store

SAVE_LIMIT_S = 5.0
LONGEST_METADATA_TOLD = 1000
GRACE_S = 0.25
ENDS = {
    "completed": "turn.completed",
    "awaiting_input": "turn.yielded",
    "interrupted": "turn.cancelled",
    # Others ended it, and now it runs elsewhere.
    "running": "turn.cancelled",
}

log = logging.getLogger("eai_mcp")


@dataclass(slots=True, kw_only=True)
class Turn:
    """A turn that was claimed. `run` it once; wait for `done`; then `ending` says how it went.

    `said` is its input, the answer to `question` if there was one, which may be given again within
    `question_limit_s` seconds if another one is asked. `limit_s` bounds the whole of it, in seconds, `save_s`
    the saving of its end. `unsaved` is what the store still has to be told of that end, and `is_lasting`
    says that its beginning is on the disk.
    """

    claim: Claim
    said: Message
    chosen: Chosen
    call: Call
    limit_s: float
    save_s: float = SAVE_LIMIT_S
    samplers: Samplers = Samplers()
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    request_id: str = ""
    question: Question | None = None
    question_limit_s: float | None = None
    layers: Layers = NO_LAYERS
    toolbox: Toolbox = NO_TOOLS
    kit: Kit = field(default_factory=Kit)
    most_steps: int = Limits().turn_steps
    observe: Observer = ignore
    heard: Heard = field(default_factory=Heard)
    done: anyio.Event = field(default_factory=anyio.Event)
    ending: Ending | None = None
    unsaved: Settlement | None = None
    is_lasting: bool = False
    waiters: int = 0
    left_at: float = field(default_factory=time.monotonic)
    _round: Round = field(init=False)
    _begun: float = field(default_factory=time.monotonic)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _stopped: bool = False
    _why: str | None = None

    def __post_init__(self) -> None:
        self.heard.pushed = self._tell_of_push
        if log.isEnabledFor(logging.DEBUG):  # there are as many as pieces of text
            self.heard.said = self._tell_of_text
        if self.question is not None:
            self.heard.resources.update(questions.resources(self.question))
        self._round = Round(
            said=self.said,
            call=self.call,
            samplers=self.samplers,
            request_id=self.request_id,
            question=self.question,
            question_limit_s=self.question_limit_s,
            heard=self.heard,
            layers=self.layers,
            tools=Tools(
                claim=self.claim,
                layers=self.layers,
                box=self.toolbox,
                kit=self.kit,
                heard=self.heard,
                tell=self._tell,
            ),
            budget=Budget(self.most_steps, anyio.current_time() + self.limit_s, self.limit_s),
            known=Frame(
                claim=self.claim,
                chosen=self.chosen,
                metadata=self.metadata,
                is_resumed=self.question is not None,
            ),
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

    @property
    def _frame(self) -> Frame:
        return self._round.frame

    @property
    def _partial(self) -> str:
        """What was heard of a reply that nobody held back."""
        return "" if self._round.is_withheld else self.heard.partial

    async def run(self, store: Store) -> None:
        """Ask the model, settle the turn, and let those who wait see how it ended."""
        self._tell("turn.received", model=self.model, characters=len(self.said.text))
        self._tell("turn.resumed" if self.question else "turn.started", **self._asked_with())
        ended: Ended | None = None
        try:
            ended = await self._ask(store)
        finally:
            self.heard.close()
            if ended is None or self._is_cut_short(ended):
                await self.kit.begun.end()
            if ended is None:  # cancelled from outside
                ended = ending.interrupted(self._frame, self._partial)
            if self.kit.begun.history is not None:
                settlement = replace(ended.settlement, history=self.kit.begun.history)
                ended = replace(ended, settlement=settlement)
            self.ending = await self._settled(ended, store)
            self.done.set()
            self.heard.wake()
            self._tell_the_end(self.ending)

    async def tell_failure(self) -> None:
        """Let those middlewares that hear of failures hear of it, if it was one."""
        if isinstance(self.ending, EaiError):
            await self.layers.hear(self._failure(self.ending))

    async def _ask(self, store: Store) -> Ended:
        failure: EaiError | None = None
        # A little later than the call's own deadline, so that a call which keeps it says what it has.
        self._scope.deadline = self._round.budget.deadline + GRACE_S
        try:
            with self._scope:
                return await self._round.ended(store)
        except EaiError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # a bug ends its own turn, not the server
            failure = internal(error)
        if self._stopped:  # whatever broke on the way out
            return ending.interrupted(self._frame, self._partial, self._why)
        if failure is None:
            limit = f"the turn took longer than its limit of {self.limit_s:g} s"
            failure = CallTimeout(limit, limit_s=self.limit_s)
        return ending.failed(self._frame, failure, self._partial)

    def _is_cut_short(self, ended: Ended) -> bool:
        """Whether somebody stopped it, its time is over, or it failed while tools ran."""
        broke_off = isinstance(ended.ending, EaiError) and bool(self._round.known.broken_off)
        return self._stopped or broke_off or anyio.current_time() >= self._round.budget.deadline

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

    def _tell_of_push(self, resource: ResourcePushed) -> None:
        uri, size = pushed.address(resource), pushed.size(resource)
        self._tell("resource.pushed", kind=resource.kind, uri=uri, bytes=size)

    def _tell_of_text(self, characters: int) -> None:
        self._tell("output.delta", characters=characters)

    def _tell_the_end(self, ended: Ending) -> None:
        told: dict[str, Value] = {"seconds": time.monotonic() - self._begun, "model": self.model}
        if isinstance(ended, EaiError):
            self._tell("turn.failed", code=ended.code, **told)
            return
        if spent := ended.usage:
            told |= {"input": spent.input, "output": spent.output, "cost_usd": spent.cost_usd}
        self._tell(ENDS[ended.status], stop=ended.stop_reason, **told)

    def _failure(self, error: EaiError) -> Failure:
        return Failure(
            place="turn",
            session=self.session,
            turn_id=self.turn_id,
            request_id=self.request_id,
            model=self.model,
            error=error,
        )

    def _tell(self, fact: str, /, **fields: Value) -> None:
        tell(
            self.observe,
            fact,
            session=self.session,
            turn_id=self.turn_id,
            request_id=self.request_id,
            space=self.claim.space,
            **fields,
        )
