"""How turns begin: what is asked for is settled, the session claimed or waited for, and the turn started."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from eai_mcp.calls import Call
from eai_mcp.catalog.entries import Model
from eai_mcp.chat import addressed, content, ending, names, opening, questions
from eai_mcp.chat.choose import Chosen
from eai_mcp.chat.distant import past
from eai_mcp.chat.ending import Frame
from eai_mcp.chat.following import Following
from eai_mcp.chat.heard import Followed, waited_for
from eai_mcp.chat.keeper import Keeper
from eai_mcp.chat.layers import Layers
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.lines import Lines
from eai_mcp.chat.shares import Shares
from eai_mcp.chat.toolbox.box import Toolbox
from eai_mcp.chat.toolbox.kit import Begun, Kit
from eai_mcp.chat.turn import Turn
from eai_mcp.chat.values import Talk, TurnResult
from eai_mcp.errors import Conflict, SessionBusy
from eai_mcp.messages import Message
from eai_mcp.observe import Observer, tell
from eai_mcp.store import Choices, Claim, Known, Question, Running, SessionRow, Start, Store

MOST_TRIES = 100
STOPPED_BY_TALK = "stopped: another talk came with if_busy=interrupt"
REPEATED = "request_id was used before: this is the turn that it began then"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Begins turns, each in a task of `tasks`, until it is `closing`.

    `choosing` settles model, prompt and card of a talk in a session that remembers some. `waiting` is what
    turns began that ended with a question, by space, session and turn.
    """

    store: Store
    choosing: Callable[[Talk, Choices], Chosen]
    call_for: Callable[[Model], Call]
    tasks: TaskGroup
    limits: Limits
    observe: Observer
    layers: Layers
    toolbox: Toolbox
    keeper: Keeper
    shares: Shares
    following: Following
    lines: Lines = field(default_factory=Lines)
    closing: anyio.Event = field(default_factory=anyio.Event)
    waiting: dict[tuple[str, str, str], Begun] = field(default_factory=dict)

    async def begin(self, space: str, talk: Talk, *, wait_s: float | None) -> Followed:
        """See `Registry.begin`."""
        name = names.checked(talk.session)
        names.check_text("request_id", talk.request_id)
        content.check_metadata(talk.metadata)
        message = content.message(talk, longest=self.limits.message_bytes)
        if talk.request_id is not None:
            known = await self.store.repeated(space, name, talk.request_id)
            if known is not None:
                return await self._again(space, name, known)
        is_counted = self.limits.principal_rate is not None and _is_for_the_rate(talk)
        with self.shares.admitted(space) if is_counted else nullcontext():
            return await self._at_turn(space, name, talk, message, wait_s)

    async def _at_turn(
        self, space: str, name: str, talk: Talk, message: Message, wait_s: float | None
    ) -> Followed:
        """Begin the turn at once or, where the talk may wait, once it is its turn."""
        if talk.if_busy == "error":
            if self.lines.is_taken((space, name)):
                raise await self.following.busy(
                    space, name, f"others wait for session {name!r} already; if_busy=wait joins them"
                )
            return await self._claimed(space, name, talk, message)
        has_waited = self.lines.is_taken((space, name))
        if talk.if_busy == "interrupt":
            has_waited |= await self._stop_what_runs(space, name)
        with anyio.move_on_after(wait_s):
            return await self._in_line(space, name, talk, message, has_waited=has_waited)
        why = f"session {name!r} was still busy after {wait_s:g} s of waiting; nothing was sent"
        raise await self.following.busy(space, name, why)

    async def _in_line(
        self, space: str, name: str, talk: Talk, message: Message, *, has_waited: bool
    ) -> Followed:
        async with self.lines.head((space, name)):
            while True:
                try:
                    with anyio.CancelScope(shield=True):  # the limit is one on waiting, not on beginning
                        return await self._claimed(space, name, talk, message, may_answer=not has_waited)
                except SessionBusy:
                    await self._until_idle(space, name)
                    has_waited = True

    async def _until_idle(self, space: str, name: str) -> None:
        turn = await self.following.what_runs(space, name)
        if turn is not None:
            with waited_for(turn):
                await turn.done.wait()

    async def _stop_what_runs(self, space: str, name: str) -> bool:
        """Whether something ran."""
        turn = await self.following.what_runs(space, name)
        if turn is not None:
            await self.following.ask_to_stop(space, turn, STOPPED_BY_TALK)
        return turn is not None

    async def _again(self, space: str, name: str, known: Known) -> Followed:
        turn = self.keeper.turn((space, name))
        if turn and turn.claim.turn_id == known.turn_id:
            return turn
        found = await self.store.find(space, name, known.turn_id)
        if isinstance(found, Running):
            return self.following.followed(space, name, found)
        return past(name, *found, REPEATED)

    async def _claimed(
        self, space: str, name: str, talk: Talk, message: Message, *, may_answer: bool = True
    ) -> Followed:
        """Begin the turn on the session as it is; if it changes meanwhile, decide again."""
        await self.keeper.save((space, name))
        # What began before has started: small steps of a store need not wait for anything.
        await anyio.lowlevel.checkpoint()
        for _ in range(MOST_TRIES):
            row = await self.store.row(space, name)
            if row and row.question and not row.running and not may_answer:
                raise questions.unforeseen(row.name, row.question)
            addressed.check(name, row.question if row else None, talk.answers)
            if row and row.question and talk.chain and not questions.bounds(row.question)[0]:
                raise questions.not_of_subagents(row.name, row.question)
            if row and row.question and not row.running and questions.is_expired(row.question):
                with suppress(Conflict):  # others who came too late were faster
                    await questions.withdraw(self.store, space, row, row.question)
                raise questions.too_late(row.name, row.question)
            try:
                return await self._begun(space, name, talk, message, row)
            except Conflict as error:
                conflict = error
        raise conflict

    async def _begun(
        self, space: str, name: str, talk: Talk, message: Message, row: SessionRow | None
    ) -> Followed:
        if self.closing.is_set():  # a turn that begins now would be interrupted at once
            raise Conflict("the server is ending, and nothing was sent", retryable=True, chat_session=name)
        self.limits.check(row)
        before = row.choices if row else Choices()
        chosen = self.choosing(talk, before)
        if talk.chain and row and row.turns:
            chosen = replace(chosen, remembered=before)
        if chosen.card is not None:
            opening.messages(chosen.card)  # what cannot be read is told before anything is kept
        call = self.call_for(chosen.model)
        question = questions.readable(name, row.question) if row and row.question else None
        turn_id = question.turn_id if question else f"t_{secrets.token_hex(6)}"
        samplers = questions.samplers(question, talk.samplers) if question else talk.samplers
        metadata = questions.metadata(question, talk.metadata) if question else talk.metadata
        frame = Frame(
            claim=Claim(space, name, turn_id),
            chosen=chosen,
            metadata=metadata,
            is_resumed=question is not None,
        )
        start = Start(
            turn_id=turn_id,
            message=questions.answer(question, message) if question else message,
            report=ending.report_if_cut_off(frame),
            request_id=talk.request_id,
            expect=row.version if row else 0,
        )
        with anyio.CancelScope(shield=True):  # a claim without a turn would keep the session busy
            async with self._room(space, name, talk, row):
                claim = await self.store.claim(space, name, start)
                if isinstance(claim, Known):
                    return await self._again(space, name, claim)
                if row is None:
                    tell(self.observe, "session.opened", session=name, space=space)
                turn = Turn(
                    claim=claim,
                    said=message,
                    chosen=chosen,
                    call=call,
                    limit_s=chosen.limit_s or self.limits.turn_s,
                    samplers=samplers,
                    metadata=metadata,
                    request_id=talk.request_id or "",
                    question=question,
                    question_limit_s=self.limits.question_s,
                    layers=self.layers,
                    toolbox=self.toolbox,
                    kit=self._kit(claim, talk, chosen, question),
                    most_steps=self.limits.turn_steps,
                    observe=self.observe,
                )
                self.keeper.add(turn)
                self.tasks.start_soon(self._run, turn, name=f"turn {claim.turn_id}")
        return turn

    def _room(
        self, space: str, name: str, talk: Talk, row: SessionRow | None
    ) -> AbstractAsyncContextManager[None]:
        """Begin a turn in the block, if the space's share has room for it."""
        if self.limits.principal_turns is None and self.limits.principal_sessions is None:
            return nullcontext()
        return self._share(space, name, talk, row)

    @asynccontextmanager
    async def _share(self, space: str, name: str, talk: Talk, row: SessionRow | None) -> AsyncIterator[None]:
        # One that comes in between will be told of that.
        will_be_busy = row is not None and row.running is not None
        starting = self.shares.starting(space, self.keeper.count, is_subagent=bool(talk.chain))
        with nullcontext() if will_be_busy else starting:
            async with self.shares.making(space, *([] if row else [name])):
                yield

    def _kit(self, claim: Claim, talk: Talk, chosen: Chosen, question: Question | None) -> Kit:
        asked_by, bound = questions.bounds(question)
        if talk.tools is not None:
            bound = talk.tools if bound is None else bound & talk.tools
        return Kit(
            names=self.toolbox.names(chosen.card, bound),
            bound=bound,
            may_ask=self.toolbox.may_ask(chosen.card),
            chain=(*(asked_by or talk.chain), claim.name),
            by_person=talk.by_person,
            pty_session_id=chosen.pty_session_id or claim.name,
            model=chosen.model,
            begun=self.waiting.pop((claim.space, claim.name, claim.turn_id), Begun()),
        )

    async def _run(self, turn: Turn) -> None:
        try:
            await turn.run(self.store)
        finally:
            self.keeper.remove(turn)
        ending, ends = turn.ending, turn.kit.begun.ends
        if ends and isinstance(ending, TurnResult) and ending.status == "awaiting_input":
            # The rest of what it began is settled with this round.
            self.waiting[turn.claim.space, turn.claim.name, turn.claim.turn_id] = Begun(ends=ends)
        await turn.tell_failure()


def _is_for_the_rate(talk: Talk) -> bool:
    """Whether a talk counts: a sub-agent's does not, nor does a person's answer to a form.

    Those are part of a turn that was counted, and a person would have to say it all again.
    """
    is_from_form = talk.answers is not None and talk.answers.asked_in is not None
    return not talk.chain and not is_from_form
