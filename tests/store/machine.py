"""Things done to a store at random, and to what is expected of it; the two are compared after each."""

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eai_mcp.errors import AlreadyExists, Conflict, EaiError, InvalidArgument, NoTask, NotFound, SessionBusy
from eai_mcp.messages import Message, Usage, assistant, line, user
from eai_mcp.store import Choices, Claim, Entry, Known, Outcome, Put, Question, Settlement, Start
from eai_mcp.store.sqlite import SqliteStore
from tests.store.expected import Session, Turn, wordless
from tests.store.taking import Clock, results, unpaired, uses

T = TypeVar("T")
NAMES = ["a", "b"]
COPY = "c"
some_name = st.sampled_from(NAMES)
any_name = st.sampled_from([*NAMES, COPY])
any_owner = st.integers(0, 1)
maybe_stale = st.sampled_from([None, None, None, 0, 1, -1])
maybe_request = st.sampled_from([None, None, "r1", "r2"])


class Sessions(RuleBasedStateMachine):
    """One process does everything, with sessions that are forgotten."""

    owners = 1
    """Stores that share the sessions, each as if in a process of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.clock = Clock()
        self.leaving = start_blocking_portal("asyncio")
        self.portal = self.leaving.__enter__()
        self.stores = [self.opened() for _ in range(self.owners)]
        self.sessions: dict[str, Session] = {}
        self.spent: list[Claim] = []
        self.numbers = itertools.count(1)
        self.looking = itertools.cycle(range(self.owners))

    def opened(self) -> SqliteStore:
        path = Path(self.folder.name, "sessions.db") if self.owners > 1 else None
        return SqliteStore(path, now=self.clock, monotonic=self.clock)

    def do(self, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return self.portal.call(method, *args)

    def refused(self, error: type[EaiError], method: Callable[..., Awaitable[Any]], *args: Any) -> None:
        with pytest.raises(error):
            self.do(method, *args)

    def teardown(self) -> None:
        for store in self.stores:
            self.do(store.aclose)
        self.leaving.__exit__(None, None, None)
        self.folder.cleanup()

    def by(self, number: int) -> SqliteStore:
        return self.stores[number % self.owners]

    def fresh(self, letter: str) -> str:
        return f"{letter}{next(self.numbers)}"

    def start(self, **fields: Any) -> Start:
        return Start(turn_id=self.fresh("t"), message=user(self.fresh("q")), report={"n": 1}, **fields)

    def changed(self, *sessions: Session) -> None:
        """Note that the version must have grown by the next look."""
        for session in sessions:
            session.version += 1

    def running(self, name: str) -> Turn | None:
        session = self.sessions.get(name)
        return session.running if session else None

    def turns(self) -> dict[str, Turn]:
        return {name: session.running for name, session in self.sessions.items() if session.running}

    def questions(self) -> dict[str, Question]:
        return {
            name: session.question
            for name, session in self.sessions.items()
            if session.question and not session.running
        }

    # What a caller does.

    @rule(
        name=some_name,
        owner=any_owner,
        request=maybe_request,
        stale=maybe_stale,
    )
    def talk(self, name: str, owner: int, request: str | None, stale: int | None) -> None:
        session = self.sessions.get(name, Session())
        expect = None if stale is None else max(0, session.version + stale)
        self.claim(name, owner, self.start(request_id=request, expect=expect))

    @precondition(lambda self: self.questions())
    @rule(name=some_name, owner=any_owner, request=st.sampled_from([None, None, None, "r3"]))
    def answer(self, name: str, owner: int, request: str | None) -> None:
        name, question = one_of(self.questions(), name)
        use = question.data.get("use")
        message = results(str(use)) if use else user(self.fresh("q"))
        self.claim(name, owner, Start(turn_id=question.turn_id, message=message, request_id=request))

    @precondition(lambda self: self.questions())
    @rule(name=some_name, owner=any_owner)
    def answer_badly(self, name: str, owner: int) -> None:
        """An answer that comes to nothing, as when the model cannot be reached."""
        name, _ = one_of(self.questions(), name)
        self.answer(name, owner, None)
        self.settle(name, "dropped", None)

    def claim(self, name: str, owner: int, start: Start) -> None:
        session = self.sessions.get(name, Session())
        claim = self.by(owner).claim
        match session.refusal(start):
            case None:
                claimed = self.do(claim, "", name, start)
                assert isinstance(claimed, Claim)
                session.begin(claimed, owner % self.owners, start)
                self.changed(self.sessions.setdefault(name, session))
            case Known() as known:
                assert self.do(claim, "", name, start) == known
            case error:
                self.refused(error, claim, "", name, start)

    @rule(name=some_name, owner=any_owner, request=maybe_request)
    def talk_at_once(self, name: str, owner: int, request: str | None) -> None:
        """Several callers want the session at one moment.

        All in one process: that chance should say whose turn it is would leave Hypothesis nothing to repeat.
        """
        session = self.sessions.get(name, Session())
        starts = [self.start(request_id=request) for _ in range(4)]
        told = self.do(self.all_at_once, self.by(owner), name, starts)
        if session.refusal(starts[0]) is not None:
            assert not any(isinstance(each, Claim) for each in told)
            return
        ((first, claimed),) = [(n, each) for n, each in enumerate(told) if isinstance(each, Claim)]
        others = [each for each in told if each is not claimed]
        assert others == [Known(claimed.turn_id) if request else SessionBusy] * 3
        session.begin(claimed, owner % self.owners, starts[first])
        self.changed(self.sessions.setdefault(name, session))

    async def all_at_once(self, store: SqliteStore, name: str, starts: list[Start]) -> list[object]:
        told: list[object] = [None] * len(starts)

        async def want(number: int) -> None:
            try:
                told[number] = await store.claim("", name, starts[number])
            except EaiError as error:
                told[number] = type(error)

        async with anyio.create_task_group() as tasks:
            for number in range(len(starts)):
                tasks.start_soon(want, number)
        return told

    # What a turn does.

    @precondition(lambda self: self.turns())
    @rule(name=some_name, kind=st.sampled_from(["text", "use"]))
    def step(self, name: str, kind: str) -> None:
        name, turn = one_of(self.turns(), name)
        if turn.open_uses:
            message = results(*turn.open_uses)
        else:
            message = uses(self.fresh("u"), self.fresh("u")) if kind == "use" else assistant(self.fresh("a"))
        self.do(self.by(turn.owner).append, turn.claim, [message])
        turn.steps.append(message)
        turn.said = ""
        self.changed(self.sessions[name])

    @precondition(lambda self: self.turns())
    @rule(name=some_name, words=st.sampled_from(["", "half a"]))
    def say(self, name: str, words: str) -> None:
        name, turn = one_of(self.turns(), name)
        self.do(self.by(turn.owner).renew, {turn.claim: words})
        turn.said = words or turn.said

    @precondition(lambda self: self.turns())
    @rule(
        name=some_name,
        how=st.sampled_from(["kept", "dropped", "ask", "ask by tool"]),
        choices=st.sampled_from([None, Choices(model="m"), Choices(card="c")]),
    )
    def settle(self, name: str, how: str, choices: Choices | None) -> None:
        name, turn = one_of(self.turns(), name)
        session = self.sessions[name]
        settlement = self.settlement(turn, how, choices)
        self.do(self.by(turn.owner).settle, turn.claim, settlement)
        session.settle(settlement)
        self.spent.append(turn.claim)
        self.changed(session)

    def settlement(self, turn: Turn, how: str, choices: Choices | None) -> Settlement:
        turn_id = turn.claim.turn_id
        closing = [results(*turn.open_uses)] if turn.open_uses else []
        use = self.fresh("u") if how == "ask by tool" else None
        last = uses(use) if use else assistant(self.fresh("a"))
        asked = how.startswith("ask")
        return Settlement(
            outcome=Outcome(
                turn_id=turn_id, status="awaiting_input" if asked else "completed", report={"how": how}
            ),
            messages=(*closing, last),
            kept=how != "dropped",
            choices=choices,
            usage=Usage(input=1, cost_usd=0.5),
            question=Question(turn_id, "which?", {"use": use}) if asked else None,
        )

    @rule(name=some_name, owner=any_owner, other=st.booleans())
    def interrupt(self, name: str, owner: int, other: bool) -> None:
        turn = self.running(name)
        interrupt = self.by(owner).interrupt
        if name not in self.sessions:
            self.refused(NotFound, interrupt, "", name)
        elif turn is None or other:
            self.refused(NoTask, interrupt, "", name, "other" if other else None)
        else:
            assert self.do(interrupt, "", name).turn_id == turn.claim.turn_id
            turn.is_interrupted = True

    @precondition(lambda self: self.spent)
    @rule(which=st.integers(0, 99), owner=any_owner)
    def write_too_late(self, which: int, owner: int) -> None:
        claim = self.spent[which % len(self.spent)]
        late = assistant("too late")
        outcome = Outcome(turn_id=claim.turn_id, status="completed", report={})
        self.refused(Conflict, self.by(owner).append, claim, [late])
        self.refused(Conflict, self.by(owner).settle, claim, Settlement(outcome=outcome, messages=(late,)))
        self.do(self.by(owner).renew, {claim: "too late"})

    # What is done to whole sessions.

    @rule(
        chosen=st.lists(some_name, unique=True, min_size=1),
        owner=any_owner,
        writing=st.sampled_from(["new", "replace", "either"]),
    )
    def put(self, chosen: list[str], owner: int, writing: Any) -> None:
        history = [(self.fresh("t"), user(self.fresh("q"))), (self.fresh("t"), assistant(self.fresh("a")))]
        lines = [line(message, turn_id=turn_id, at=1.0) for turn_id, message in history]
        puts = [Put(name=name, lines=lines, writing=writing) for name in chosen]
        errors = {error for name in chosen if (error := self.put_refusal(name, writing))}
        if errors:
            self.refused(EaiError, self.by(owner).put, "", puts)
            return
        expected = []
        for name in chosen:
            session = self.sessions.get(name)
            if session is None:
                session = self.sessions[name] = Session(history=list(history))
                expected.append(1)
            else:
                expected.append(session.put(list(history)))
            self.changed(session)
        assert self.do(self.by(owner).put, "", puts) == tuple(expected)

    def put_refusal(self, name: str, writing: str) -> type[EaiError] | None:
        if name not in self.sessions:
            return NotFound if writing == "replace" else None
        if writing == "new":
            return AlreadyExists
        return SessionBusy if self.running(name) else None

    @rule(name=some_name, new=any_name, owner=any_owner, upto=st.one_of(st.none(), st.integers(0, 4)))
    def fork(self, name: str, new: str, owner: int, upto: int | None) -> None:
        store = self.by(owner)

        async def fork() -> object:
            return await store.fork("", name, new, upto=upto)

        if name not in self.sessions:
            self.refused(NotFound, fork)
            return
        source = self.sessions[name]
        if upto is not None and not source.may_end_at(upto):
            self.refused(InvalidArgument, fork)
        elif new in self.sessions:
            self.refused(AlreadyExists, fork)
        else:
            self.do(fork)
            self.sessions[new] = Session(history=source.history[:upto], choices=source.choices)
            self.changed(self.sessions[new])

    @rule(name=any_name, owner=any_owner)
    def delete(self, name: str, owner: int) -> None:
        if self.running(name):
            self.refused(SessionBusy, self.by(owner).delete, "", name)
        else:
            assert self.do(self.by(owner).delete, "", name) == (name in self.sessions)
            self.sessions.pop(name, None)

    # What must hold after each of them.

    @invariant()
    def the_sessions_are_as_expected(self) -> None:
        store = self.by(next(self.looking))
        assert [row.name for row in self.do(store.list, "")] == sorted(self.sessions)
        for name, session in self.sessions.items():
            self.compare(store, name, session)

    def compare(self, store: SqliteStore, name: str, session: Session) -> None:
        row, turn = self.do(store.row, "", name), session.running
        assert row.version >= session.version
        session.version = row.version
        assert (row.turns, row.revision, row.usage) == (session.turns, session.revision, session.usage)
        assert (row.choices, row.question) == (session.choices, session.question)
        assert row.message_count == len(session.history)
        shown = (row.running.turn_id, row.running.said) if row.running else None
        assert shown == ((turn.claim.turn_id, turn.said) if turn else None)
        self.compare_history(self.do(store.load, "", name), session.history)
        for number, former in session.former.items():
            self.compare_history(self.do(self.former, store, name, number), former)
        self.compare_outcomes(store, name, session)
        if turn:
            self.compare_claim(turn, [*session.waiting, *turn.steps])

    async def former(self, store: SqliteStore, name: str, revision: int) -> list[Entry]:
        return await store.load("", name, revision=revision)

    def compare_history(self, entries: list[Entry], expected: list[tuple[str, Message]]) -> None:
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert [(entry.turn_id, wordless(entry.message)) for entry in entries] == expected
        assert unpaired([entry.message for entry in entries]) == []

    def compare_outcomes(self, store: SqliteStore, name: str, session: Session) -> None:
        for request, turn_id in session.requests.items():
            assert self.do(store.repeated, "", name, request) == Known(turn_id)
        if session.running or session.latest not in session.outcomes:
            return
        outcome, _ = self.do(store.find, "", name)
        assert outcome == session.outcomes[session.latest]

    def compare_claim(self, turn: Turn, said: list[Message]) -> None:
        look = self.do(self.by(turn.owner).look, [turn.claim, *self.spent])
        assert turn.claim not in look.lost
        assert look.interrupted == ({turn.claim} if turn.is_interrupted else set())
        assert list(self.do(self.by(turn.owner).said, turn.claim)) == said


def one_of(these: dict[str, T], name: str) -> tuple[str, T]:
    """The one of that name if there is one, else the first."""
    chosen = name if name in these else min(these)
    return chosen, these[chosen]
