"""One round of a turn: an input or an answer, through the middleware to the model and its tools."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
import anyio.lowlevel

from eai_mcp.calls import Call, ModelRequest, ModelResponse, Samplers
from eai_mcp.chat import ending, questions, window
from eai_mcp.chat.ending import Ended, Frame
from eai_mcp.chat.heard import Heard
from eai_mcp.chat.layers import Asker, Layers
from eai_mcp.chat.questions import Wanted
from eai_mcp.chat.tools import Done, Tools, broken_off, results_of, uses_in
from eai_mcp.errors import EaiError, LimitExceeded, Refused, TurnOver
from eai_mcp.messages import (
    DocumentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
    assistant,
)
from eai_mcp.middleware import Ask, Refuse, TurnInput, TurnOutcome
from eai_mcp.observe import internal
from eai_mcp.store import Question, Store

MOST_STEPS = 50
SAID = (TextBlock, ImageBlock, DocumentBlock)


@dataclass(frozen=True, slots=True)
class _Asking:
    """A question from inside all layers, with the message that asks it and how the model stopped.

    It may take the place of the question that this round had the answer to.
    """

    question: Question
    said: tuple[Message, ...] = ()
    stop: str | None = None
    replaces: bool = False


@dataclass(slots=True, kw_only=True)
class Round:
    """What happens between a claim and its settlement. `ended` it once.

    `said` is what the caller said, the answer to `question` if there is one. `known` is what is known so
    far. `is_withheld` says that the model has answered, and no middleware has let the answer out yet.
    """

    said: Message
    call: Call
    samplers: Samplers
    request_id: str
    question: Question | None
    question_limit_s: float | None
    heard: Heard
    layers: Layers
    tools: Tools
    known: Frame
    is_withheld: bool = False
    _asker: Asker = field(default_factory=Asker)
    _asking: _Asking | None = None
    _went_on: bool = False

    @property
    def frame(self) -> Frame:
        """What is known so far, with what was pushed."""
        pushed = self.heard.resources
        return replace(self.known, resources=tuple(pushed.values())) if pushed else self.known

    async def ended(self, store: Store, deadline: float) -> Ended:
        """Take the input through the layers, and say how the round ended.

        Raises:
            EaiError: The model, a tool's middleware or the store failed, or it was refused.
        """
        claim, chosen = self.known.claim, self.known.chosen
        given = TurnInput(
            session=claim.name,
            turn_id=claim.turn_id,
            request_id=self.request_id,
            model=chosen.model.name,
            message=self.said,
            metadata=self.known.metadata,
            emit=self.heard,
            is_resumed=self.question is not None,
        )
        asked = questions.asker(self.question, self.said)
        inside = partial(self._inside, store, deadline)
        outcome = await self.layers.turn(given, inside, asker=self._asker, asked=asked)
        match outcome:
            case ModelResponse():
                return self._completed(outcome)
            case Ask():
                return self._awaiting(outcome)
            case Refuse(reason=reason):
                raise Refused(reason)

    def _completed(self, response: ModelResponse) -> Ended:
        self.is_withheld = False
        warnings = dict.fromkeys((*self.known.warnings, *response.warnings))
        spent = self.known.spent if self._went_on else response.usage
        self.known = replace(self.known, warnings=tuple(warnings), spent=spent)
        return ending.completed(self.frame, response)

    def _awaiting(self, ask: Ask) -> Ended:
        claim, asking = self.known.claim, self._asking
        if self._asker.name or asking is None:
            question = questions.of_middleware(claim.turn_id, ask, self._asker.name, self.samplers)
            asking = _Asking(question, (assistant(ask.question),))
        question = questions.expiring(asking.question, (ask.expires_s, self.question_limit_s))
        return ending.awaiting(self.frame, asking.said, question, stop=asking.stop, replaces=asking.replaces)

    async def _inside(self, store: Store, deadline: float, given: TurnInput) -> TurnOutcome:
        """What a turn comes to inside all layers, whose mistakes are none of theirs."""
        if self._went_on:
            raise RuntimeError("it went on twice")
        if self.heard.is_closed:
            raise TurnOver("the turn has ended, and the model cannot be asked in it any more")
        if given.message.role != "user" or not all(
            isinstance(block, SAID) for block in given.message.content
        ):
            raise TypeError("what is said must be a user's message of text, images and documents")
        if not given.message.content:
            raise ValueError("what is said must not be empty")
        self._went_on = True
        try:
            outcome = await self._answered(store, deadline, given)
        except EaiError:
            raise
        except Exception as error:
            raise internal(error) from error
        self._asker.note(outcome, "")
        self.is_withheld = isinstance(outcome, ModelResponse)
        return outcome

    async def _answered(self, store: Store, deadline: float, given: TurnInput) -> TurnOutcome:
        claim, message = self.known.claim, given.message
        if self.question is not None:
            message = questions.answer(self.question, message)
        if given.message != self.said:
            await store.amend(claim, message)
        history = [entry.message for entry in await store.load(claim.space, claim.name)]
        if self.question is not None:
            *before, _ = await store.said(claim)
            history += before
            if questions.kind(self.question) == "tools":
                step = await self._finished(store, uses_in(before[-1]), self.question, given.message)
                if isinstance(step, Ask):
                    return step
                message = step
        return await self._steps(self._request(history, message, deadline), store)

    async def _finished(
        self, store: Store, uses: Sequence[ToolUseBlock], question: Question, answer: Message
    ) -> Message | Ask:
        """The results of a step whose tools had to wait for an answer, or what has to be asked once more."""
        done: list[Done] = []
        try:
            await self.tools.again(uses, question, answer, done)
        except BaseException:
            await self._keep_what_ran(store, uses, questions.results(question), done)
            raise
        if another := self.tools.question(done, self.samplers):
            return self._asks(_Asking(another, replaces=True), done)
        message = results_of(done)
        await store.amend(self.known.claim, message, is_step=True)
        self.known = replace(self.known, has_steps=True)
        return message

    async def _keep_what_ran(
        self,
        store: Store,
        uses: Sequence[ToolUseBlock],
        before: Sequence[ToolResultBlock | None],
        done: Sequence[Done],
    ) -> None:
        """Keep a step that broke off, if some tool has run with the answer: else it would run again."""
        has_run = any(
            isinstance(one, ToolResultBlock) and not known for one, known in zip(done, before, strict=False)
        )
        results = broken_off(uses, done)
        if results is None or not has_run:
            return
        with anyio.CancelScope(shield=True), suppress(EaiError):  # the error that it broke off with is told
            await store.amend(self.known.claim, results, is_step=True)
            self.known = replace(self.known, has_steps=True)

    def _request(self, history: Sequence[Message], message: Message, deadline: float) -> ModelRequest:
        return ModelRequest(
            messages=window.shown(history, message),
            system=window.system_text(self.known.chosen),
            tools=questions.offered(self.known.chosen.card),
            samplers=self.samplers,
            deadline=deadline,
            session=self.known.claim.name,
            turn_id=self.known.claim.turn_id,
            request_id=self.request_id,
        )

    async def _steps(self, request: ModelRequest, store: Store) -> TurnOutcome:
        """Ask until the model has answered, or something has to be asked first."""
        for _ in range(MOST_STEPS):
            await anyio.lowlevel.checkpoint_if_cancelled()  # a call may come to its end without one
            response = await self.call(request, self.heard)
            self.known = replace(
                self.known,
                spent=(self.known.spent or Usage()) + response.usage,
                warnings=tuple(dict.fromkeys((*self.known.warnings, *response.warnings))),
            )
            uses = uses_in(response.message)
            if not uses:
                return response
            done: list[Done] = []
            try:
                await self.tools.step(uses, self.known.chosen.card, done)
            except BaseException:
                results = broken_off(uses, done)
                self.known = replace(self.known, broken_off=(response.message, results) if results else ())
                raise
            if question := self.tools.question(done, self.samplers):
                return self._asks(_Asking(question, (response.message,), response.stop), done)
            results = results_of(done)
            with self.heard.saving_step():
                await store.append(self.known.claim, (response.message, results))
            self.known = replace(self.known, has_steps=True)
            request = replace(request, messages=(*request.messages, response.message, results))
        raise LimitExceeded(
            f"the model asked for tools {MOST_STEPS} times without an answer", limit=MOST_STEPS
        )

    def _asks(self, asking: _Asking, done: Sequence[Done]) -> Ask:
        self._asking = asking
        limits_s = [one.ask.expires_s for one in done if isinstance(one, Wanted)]
        known = [limit_s for limit_s in limits_s if limit_s is not None]
        return Ask(asking.question.text, expires_s=min(known, default=None))
