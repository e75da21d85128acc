"""A store that forgets when the process ends."""

import bisect
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from eai_mcp.errors import Conflict, NotFound, SessionBusy
from eai_mcp.messages import Message, Usage
from eai_mcp.store import Choices, Claim, Entry, Outcome, Running, SessionRow, Settlement

OUTCOMES_KEPT = 64


@dataclass(slots=True)
class _Session:
    name: str
    updated_at: float
    entries: list[Entry] = field(default_factory=list)
    choices: Choices = Choices()
    usage: Usage = Usage()
    running: Running | None = None
    input: Message | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def row(self) -> SessionRow:
        return SessionRow(
            name=self.name,
            message_count=len(self.entries),
            updated_at=self.updated_at,
            choices=self.choices,
            usage=self.usage,
            running=self.running,
        )


class MemoryStore:
    """Sessions in dictionaries; `now` gives seconds since 1970.

    No method awaits anything, so each is atomic.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._spaces: dict[str, dict[str, _Session]] = {}
        self._names: dict[str, list[str]] = {}  # sorted, so that a page costs what it shows

    async def ensure(self, space: str, name: str) -> bool:
        """See `Store`."""
        before = self._find(space, name)
        self._open(space, name)
        return before is None

    async def row(self, space: str, name: str) -> SessionRow | None:
        """See `Store`."""
        session = self._find(space, name)
        return session.row if session else None

    async def load(self, space: str, name: str, *, after: int = 0, limit: int | None = None) -> list[Entry]:
        """See `Store`."""
        entries = self._known(space, name).entries
        first = bisect.bisect_right(entries, after, key=lambda entry: entry.seq)
        return entries[first:] if limit is None else entries[first : first + limit]

    async def list(
        self, space: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[SessionRow]:
        """See `Store`."""
        names, sessions = self._names.get(space, []), self._spaces.get(space, {})
        first = max(bisect.bisect_right(names, after), bisect.bisect_left(names, prefix))
        page = names[first : first + limit]
        return [sessions[name].row for name in page if name.startswith(prefix)]

    async def claim(self, space: str, name: str, turn_id: str, message: Message) -> Claim:
        """See `Store`."""
        session = self._open(space, name)
        if session.running:
            raise busy(name, session.running, self._now())
        session.running, session.input = Running(turn_id, self._now()), message
        return Claim(space, name, turn_id)

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See `Store`."""
        session = self._known(claim.space, claim.name)
        if session.running is None or session.running.turn_id != claim.turn_id or session.input is None:
            raise Conflict(f"turn {claim.turn_id} of session {claim.name!r} has already ended")
        if settlement.kept:
            self._keep(session, session.running, (session.input, *settlement.messages))
        session.choices = settlement.choices or session.choices
        session.usage += settlement.usage
        session.outcomes[claim.turn_id] = settlement.outcome
        if len(session.outcomes) > OUTCOMES_KEPT:
            del session.outcomes[next(iter(session.outcomes))]
        session.running, session.input, session.updated_at = None, None, self._now()

    async def outcome(self, space: str, name: str, turn_id: str | None = None) -> tuple[Outcome, str]:
        """See `Store`. Only the last 64 outcomes of a session are kept."""
        session = self._known(space, name)
        wanted = turn_id or next(reversed(session.outcomes), None)
        if wanted is None or wanted not in session.outcomes:
            known = any(entry.turn_id == turn_id for entry in session.entries)
            why = (
                f"the outcome of turn {turn_id} is no longer kept; get_history has what was said"
                if known
                else (f"session {name!r} has no finished turn {turn_id or ''}".rstrip())
            )
            raise NotFound(why, turn_id=turn_id)
        said = (e.message for e in reversed(session.entries) if e.turn_id == wanted)
        reply = next((message.text for message in said if message.role == "assistant"), "")
        return session.outcomes[wanted], reply

    async def aclose(self) -> None:
        """See `Store`."""

    def _find(self, space: str, name: str) -> _Session | None:
        return self._spaces.get(space, {}).get(name)

    def _known(self, space: str, name: str) -> _Session:
        session = self._find(space, name)
        if session is None:
            raise NotFound(
                f"no session named {name!r}; talk to it to make it, or see list_sessions", name=name
            )
        return session

    def _open(self, space: str, name: str) -> _Session:
        sessions = self._spaces.setdefault(space, {})
        if name not in sessions:
            sessions[name] = _Session(name, self._now())
            bisect.insort(self._names.setdefault(space, []), name)
        return sessions[name]

    def _keep(self, session: _Session, turn: Running, messages: tuple[Message, ...]) -> None:
        last = session.entries[-1].seq if session.entries else 0
        times = (turn.since, *[self._now()] * (len(messages) - 1))
        for seq, (at, message) in enumerate(zip(times, messages, strict=True), last + 1):
            session.entries.append(Entry(seq, turn.turn_id, at, message))


def busy(name: str, running: Running, now: float) -> SessionBusy:
    """The error for a session in which a turn is running."""
    seconds = max(0.0, round(now - running.since, 1))
    return SessionBusy(
        f"session {name!r} is busy: turn {running.turn_id} has been running for {seconds} s. "
        "Call wait_for_reply to get its reply, or interrupt to stop it.",
        chat_session=name,
        turn_id=running.turn_id,
        running_s=seconds,
    )
