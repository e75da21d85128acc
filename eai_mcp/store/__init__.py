"""Durable truth behind the sessions: what every store promises.

`space` is whose sessions they are ('' for the one user of a stdio server); it is part of every name, and no
method works without it. A turn is taken with `claim`, which keeps the user's message, and given back with
`settle`, which keeps everything else in one step: messages, choices, usage, a question that waits, and the
outcome. Until then the turn's messages are not part of what a model is shown; those of a turn that came to
nothing never are, but they stay in the journal.

A claim is held by one process, its owner. When somebody looks at the session, the store notices that the
owner died, or did not `renew` for too long, and settles the turn as cut off: with what was saved of it, under
the report that it began with. A claim that was lost so can write nothing any more.

The turn of an owner that is dead for certain is cut off at once. One that may be alive keeps its turn until
its lease, over by the time of day, has been seen so for another whole lease on a clock that nobody sets: for
it may only be the time of day that jumped. So those who look take an owner that stands still over after two
leases.

Where a cut-off turn cannot be settled, because the disk is full or the file cannot be written, `row`, `list`,
`load` and `find` tell what is there, the turn as running; whatever changes a session raises. What cannot be
read of a cut-off turn is dropped, with all behind it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, TypeVar

from eai_mcp.messages import JsonObject, Line, Message, Usage

T = TypeVar("T")
Status: TypeAlias = Literal["completed", "awaiting_input", "interrupted", "failed"]
Writing: TypeAlias = Literal["new", "replace", "either"]

LEASE_S = 15.0
"""How long a claim holds without being renewed; see above for what happens then."""

REVISIONS_KEPT = 10
"""Former histories of a session that can be had back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a session remembers from the last turn that set it. `system` is raw text in a prompt's place."""

    model: str | None = None
    prompt: str | None = None
    system: str | None = None
    card: str | None = None
    pty_session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in its place: `seq` counts from 1 within the session, `at` is in seconds since 1970."""

    seq: int
    turn_id: str
    at: float
    message: Message


@dataclass(frozen=True, slots=True)
class Running:
    """The turn that runs in a session, since when (seconds since 1970), and the text saved of it so far.

    `report`, where `find` or `interrupt` told of it, is what its outcome will say if it is cut off.
    """

    turn_id: str
    since: float
    said: str = ""
    report: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """What a turn waits to be told. `data` is JSON that only the layer above reads."""

    turn_id: str
    text: str
    data: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session without its messages. `updated_at` is in seconds since 1970.

    `version` grows with every change, `revision` with every replaced history; `turns` were begun so far.
    A `question` stays while the turn that was given an answer is running, for that may come to nothing.
    """

    name: str
    message_count: int
    updated_at: float
    choices: Choices = Choices()
    usage: Usage = Usage()
    running: Running | None = None
    question: Question | None = None
    turns: int = 0
    version: int = 1
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a turn begins with.

    To answer a question, `turn_id` is the question's own and `message` the answer. `report` is what the
    outcome will say if the turn is cut off. `expect` is the version of the session that all this was
    decided on, 0 for no session; None takes any.
    """

    turn_id: str
    message: Message
    report: JsonObject = field(default_factory=dict)
    request_id: str | None = None
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write the outcome of one turn. `round` counts the answers that it was given."""

    space: str
    name: str
    turn_id: str
    round: int = 0
    fence: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """The turn that a request id already stands for."""

    turn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a turn ended. `report` is JSON that only the layer above reads; the reply stands in the journal."""

    turn_id: str
    status: Status
    report: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a turn leaves behind.

    `messages` follow the user's own and those appended; with `kept` False none of them becomes part of the
    history, and a question that the turn had been given an answer to is open again. `choices` None leaves
    what the session remembers as it was. With a `question` the outcome's status is `awaiting_input`: the
    messages wait with it, and with `kept` False it takes the place of the one that was answered.

    A `history` takes the place of the session's, as another revision, and what was said in the turn follows
    it; unless the turn is not `kept`.
    """

    outcome: Outcome
    messages: tuple[Message, ...] = ()
    kept: bool = True
    choices: Choices | None = None
    usage: Usage = Usage()
    question: Question | None = None
    history: Sequence[Line] | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """Of some claims: those that were lost, those to be interrupted, when each was last waited for."""

    lost: frozenset[Claim]
    interrupted: frozenset[Claim]
    attended: Mapping[Claim, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A whole history to be written at once.

    `lines` may be read more than once, in another thread, while the store writes; what is raised then undoes
    it all. `writing` says whether the session must be new, must be there, or may be either. None leaves
    choices and usage as they are, and means now for `updated_at`.
    """

    name: str
    lines: Iterable[Line]
    writing: Writing = "either"
    choices: Choices | None = None
    usage: Usage | None = None
    updated_at: float | None = None


class Bus(Protocol):
    """A wake-up between processes that share a store. It may lose or invent a call: nothing rests on it."""

    async def publish(self) -> None:
        """Tell the others that something changed."""
        ...

    async def changed(self) -> None:
        """Wait until another process may have changed something."""
        ...


class Store(Protocol):
    """Keeps sessions. Each method is one atomic step, and returns once its effect lasts (but see `claim`).

    Any of them may raise StorageFull or StorageUnavailable; nothing was changed then.
    """

    @property
    def bus(self) -> Bus:
        """How to hear of the other processes' changes."""
        ...

    async def ensure(self, space: str, name: str) -> bool:
        """Make an empty session; False if there is one of that name."""
        ...

    async def row(self, space: str, name: str) -> SessionRow | None:
        """The session without its messages, None if there is none."""
        ...

    async def rows(self, space: str, names: Sequence[str]) -> list[SessionRow]:
        """Those of the sessions that are there, as `row` gives each."""
        ...

    async def load(
        self,
        space: str,
        name: str,
        *,
        after: int = 0,
        limit: int | None = None,
        most_bytes: int | None = None,
        revision: int | None = None,
    ) -> list[Entry]:
        """The history behind position `after`, oldest first; a former one if `revision` names it.

        It ends with the entry that reaches `limit` in number or passes `most_bytes` in size.

        Raises:
            NotFound: No such session or revision.
        """
        ...

    async def list(
        self, space: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[SessionRow]:
        """Sessions in the order of their names' bytes, from the first name behind `after`."""
        ...

    async def count(self, space: str, *, apart_from: str) -> int:
        """How many sessions there are, without the one of that name."""
        ...

    async def scan(
        self,
        space: str,
        take: Callable[[Iterator[tuple[SessionRow, Iterator[Line]]]], T],
        *,
        name: str | None = None,
        revision: int | None = None,
    ) -> T:
        """Call `take`, in a thread, with all sessions as they are at one moment, and return what it returns.

        They come in the order of their names, or only the one of that `name`, if need be with a former
        history; each beside its messages, which are read while they are iterated, before the next session.

        Raises:
            NotFound: No such session or revision.
        """
        ...

    async def claim(self, space: str, name: str, start: Start) -> Claim | Known:
        """Begin a turn, in a session that is made if there is none; or name the turn of a repeated request.

        The loss of power, though not the death of the process, may undo it until anything is written
        later, unless there is a `start.request_id`: for nobody has heard of it yet.

        Raises:
            SessionBusy: Another turn is running.
            Conflict: The session is not at `start.expect`, or a question waits that this does not answer.
        """
        ...

    async def append(self, claim: Claim, messages: Sequence[Message]) -> None:
        """Keep a finished step of a running turn.

        Raises:
            Conflict: The turn is no longer this claim's.
        """
        ...

    async def amend(self, claim: Claim, message: Message, *, is_step: bool = False) -> None:
        """Keep another message in the place of the input, or answer, of a running turn.

        With `is_step` it is a finished step: it stays if the turn is cut off.

        Raises:
            Conflict: The turn is no longer this claim's.
        """
        ...

    async def said(self, claim: Claim) -> Sequence[Message]:
        """What was said in a running turn so far, the questions and answers of former rounds included.

        Raises:
            Conflict: The turn is no longer this claim's.
        """
        ...

    async def renew(self, said: Mapping[Claim, str]) -> None:
        """Hold some claims for longer, and save what was said in each so far ('' saves nothing new)."""
        ...

    async def look(self, claims: Sequence[Claim]) -> Look:
        """How some claims stand, without writing anything."""
        ...

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """End the turn.

        Raises:
            Conflict: The turn is no longer this claim's.
        """
        ...

    async def withdraw(self, space: str, name: str, start: Start, settlement: Settlement) -> None:
        """Claim and settle at once, to close the question that waits.

        Raises:
            SessionBusy, Conflict: See `claim`.
        """
        ...

    async def find(self, space: str, name: str, turn_id: str | None = None) -> tuple[Outcome, str] | Running:
        """How a turn ended and the reply that it left, or that it is running; the latest if none is named.

        Raises:
            NotFound: No such session, or no such turn in it; or its text is no longer kept, for the history
                was replaced more than `REVISIONS_KEPT` times since.
        """
        ...

    async def repeated(self, space: str, name: str, request_id: str) -> Known | None:
        """The turn that a request id already stands for."""
        ...

    async def interrupt(self, space: str, name: str, turn_id: str | None = None) -> Running:
        """Ask the owner of the running turn, whichever process that is, to stop it. No other turn is hit.

        Raises:
            NotFound: No such session.
            NoTask: Nothing is running in it, or another turn than the one named.
        """
        ...

    async def attend(self, space: str, name: str, turn_id: str) -> None:
        """Let the owner of a running turn know that somebody waits for it."""
        ...

    async def put(self, space: str, puts: Sequence[Put], *, only: bool = False) -> tuple[int, ...]:
        """Write whole histories, all or none, and return their revisions.

        Every session is made before the first is filled. With `only`, every other session is removed.

        A question that waited is dropped. The round that asked it has then been interrupted, and what it
        reports is the question's `data["report"]`, if that is an object, with that status.

        Raises:
            AlreadyExists, NotFound: A session is, or is not, there.
            SessionBusy: A turn is running in one of them, or in one to be removed.
            Conflict: Another history is being put in place of one of them; or, which takes a moment where
                they are large, one was made, closed and made again, or replaced meanwhile.
        """
        ...

    async def fork(self, space: str, name: str, new: str, *, upto: int | None = None) -> SessionRow:
        """Copy a session with its choices under another name, up to position `upto`.

        Raises:
            NotFound: No such session.
            InvalidArgument: Nothing stands at `upto`, or a tool use whose result comes next.
            AlreadyExists: There is one of the new name.
        """
        ...

    async def delete(self, space: str, name: str) -> bool:
        """Remove a session with all that belongs to it; False if there is none.

        Raises:
            SessionBusy: A turn is running in it.
        """
        ...

    async def aclose(self) -> None:
        """Let go of files and connections."""
        ...
