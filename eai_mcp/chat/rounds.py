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
from eai_mcp.chat.toolbox import polls
from eai_mcp.chat.toolbox.steps import Budget
from eai_mcp.chat.tools import Slots, Tools, broken_off, has_run, results_of, slots, uses_in
from eai_mcp.errors import EaiError, Refused, TurnOver
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
    budget: Budget
    is_withheld: bool = False
    _asker: Asker = field(default_factory=Asker)
    _asking: _Asking | None = None
    _went_on: bool = False

    @property
    def frame(self) -> Frame:
        """What is known so far, with what was pushed, and what tools spent."""
        pushed, spent = self.heard.resources, self.tools.kit.begun.spent
        known = replace(self.known, resources=tuple(pushed.values())) if pushed else self.known
        return replace(known, spent=(known.spent or Usage()) + spent) if spent else known

    async def ended(self, store: Store) -> Ended:
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
        inside = partial(self._inside, store)
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
        if not self._went_on or response.warnings:
            warnings = dict.fromkeys((*self.known.warnings, *response.warnings))
            spent = self.known.spent if self._went_on else response.usage
            self.known = replace(self.known, warnings=tuple(warnings), spent=spent)
        return ending.completed(self.frame, response)

    def _awaiting(self, ask: Ask) -> Ended:
        claim, asking = self.known.claim, self._asking
        if self._asker.name or asking is None:
            question = questions.of_middleware(claim.turn_id, ask, self._asker.name, self.samplers)
            asking = _Asking(question, (assistant(ask.question),))
        kit = self.tools.kit
        question = questions.bounded(asking.question, kit.bound, kit.chain)
        question = questions.expiring(question, (ask.expires_s, self.question_limit_s))
        return ending.awaiting(self.frame, asking.said, question, stop=asking.stop, replaces=asking.replaces)

    async def _inside(self, store: Store, given: TurnInput) -> TurnOutcome:
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
            outcome = await self._answered(store, given)
        except EaiError:
            raise
        except Exception as error:
            raise internal(error) from error
        self._asker.note(outcome, "")
        self.is_withheld = isinstance(outcome, ModelResponse)
        return outcome

    async def _answered(self, store: Store, given: TurnInput) -> TurnOutcome:
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
        return await self._steps(self._request(history, message), store)

    async def _finished(
        self, store: Store, uses: Sequence[ToolUseBlock], question: Question, answer: Message
    ) -> Message | Ask:
        """The results of a step whose tools had to wait for an answer, or what has to be asked once more."""
        done, before = slots(uses), questions.results(question)
        if self.tools.do_something([use for use, known in zip(uses, before, strict=True) if not known]):
            # Closed as interrupted until they have run, so that a dead process never runs them twice.
            with anyio.CancelScope(shield=True):
                closed = questions.answer(question, answer)
                await store.amend(self.known.claim, closed, is_step=True)
            self.known = replace(self.known, has_steps=True)
        try:
            await self.tools.again(uses, question, answer, done, self.budget)
        except BaseException:
            await self._keep_what_ran(store, uses, before, done)
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
        done: Slots,
    ) -> None:
        """Keep a step that broke off, if some tool has run with the answer: else it would run again."""
        if not has_run([None if known else one for one, known in zip(done, before, strict=True)]):
            return
        with anyio.CancelScope(shield=True), suppress(EaiError):  # the error that it broke off with is told
            await store.amend(self.known.claim, broken_off(uses, done), is_step=True)
            self.known = replace(self.known, has_steps=True)

    def _request(self, history: Sequence[Message], message: Message) -> ModelRequest:
        claim = self.known.claim
        system, messages = window.prepared(
            self.known.chosen, history, message, session=claim.name, turn_id=claim.turn_id
        )
        return ModelRequest(
            messages=polls.collapsed(messages),
            system=system,
            tools=self.tools.specs,
            samplers=self.samplers,
            deadline=self.budget.deadline,
            session=claim.name,
            turn_id=claim.turn_id,
            request_id=self.request_id,
            space=claim.space,
        )

    async def _steps(self, request: ModelRequest, store: Store) -> TurnOutcome:
        """Ask until the model has answered, or something has to be asked first."""
        while True:
            self.budget.step()
            await anyio.lowlevel.checkpoint_if_cancelled()  # a call may come to its end without one
            response = await self.call(request, self.heard)
            self.known = replace(
                self.known,
                spent=(self.known.spent or Usage()) + response.usage,
                warnings=tuple(dict.fromkeys((*self.known.warnings, *response.warnings))),
            )
            if not uses_in(response.message):
                return response
            step = await self._step(response, store)
            if isinstance(step, Ask):
                return step
            shown = (*request.messages, response.message, self.budget.urging(step))
            request = replace(request, messages=polls.collapsed(shown))

    async def _step(self, response: ModelResponse, store: Store) -> Message | Ask:
        """The results of the tools that a response asks for, kept with it; or what has to be asked first.

        A response whose tools do something is kept before they do it: so a process that dies meanwhile
        leaves a trace of what it was about to do.
        """
        uses, claim = uses_in(response.message), self.known.claim
        said: tuple[Message, ...] = (response.message,)
        done = slots(uses)
        if self.tools.do_something(uses):
            with anyio.CancelScope(shield=True):  # or nobody would know whether it was kept
                await store.append(claim, said)
            said = ()
            self.known = replace(self.known, has_steps=True, broken_off=(broken_off(uses, done),))
        try:
            await self.tools.step(uses, done, self.budget)
        except BaseException:
            if not said or has_run(done):
                self.known = replace(self.known, broken_off=(*said, broken_off(uses, done)))
            raise
        if not said:  # until all of it is kept
            self.known = replace(self.known, broken_off=(broken_off(uses, done),))
        if question := self.tools.question(done, self.samplers):
            return self._asks(_Asking(question, said, response.stop), done)
        results = results_of(done)
        with self.heard.saving_step():
            await store.append(claim, (*said, results))
        self.known = replace(self.known, has_steps=True, broken_off=())
        return results

    def _asks(self, asking: _Asking, done: Slots) -> Ask:
        self._asking = asking
        limits_s = [one.ask.expires_s for one in done if isinstance(one, Wanted)]
        known = [limit_s for limit_s in limits_s if limit_s is not None]
        return Ask(asking.question.text, expires_s=min(known, default=None))
