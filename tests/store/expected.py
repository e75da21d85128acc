"""What must be in a store after a number of turns, reckoned without one: lists and dictionaries only."""

from dataclasses import dataclass, field, replace

from eai_mcp.errors import Conflict, EaiError, SessionBusy
from eai_mcp.messages import Message, ToolResultBlock, ToolUseBlock, Usage, assistant
from eai_mcp.store import REVISIONS_KEPT, Choices, Claim, Known, Outcome, Question, Settlement, Start
from tests.store.taking import unpaired


@dataclass
class Turn:
    """A turn that runs: `steps` begins with what the caller said in this round."""

    claim: Claim
    owner: int
    start: Start
    steps: list[Message]
    said: str = ""
    is_interrupted: bool = False

    @property
    def open_uses(self) -> tuple[str, ...]:
        """Ids of the tool uses that have no result yet."""
        return tuple(block.id for block in self.steps[-1].content if isinstance(block, ToolUseBlock))


@dataclass
class Session:
    """All that is known of one session; `version` is the last that was seen, to be outgrown by a change."""

    history: list[tuple[str, Message]] = field(default_factory=list)
    former: dict[int, list[tuple[str, Message]]] = field(default_factory=dict)
    waiting: list[Message] = field(default_factory=list)
    question: Question | None = None
    running: Turn | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    placed: dict[str, int] = field(default_factory=dict)
    latest: str | None = None
    requests: dict[str, str] = field(default_factory=dict)
    choices: Choices = Choices()
    usage: Usage = Usage()
    turns: int = 0
    revision: int = 1
    version: int = 0

    def refusal(self, start: Start) -> Known | type[EaiError] | None:
        """Why a turn may not begin; None if it may."""
        if start.request_id in self.requests:
            return Known(self.requests[start.request_id])
        if self.running:
            return SessionBusy
        if start.expect not in (None, self.version):
            return Conflict
        if self.question and self.question.turn_id != start.turn_id:
            return Conflict
        return None

    def begin(self, claim: Claim, owner: int, start: Start) -> None:
        self.turns += self.question is None
        self.running = Turn(claim, owner, start, [start.message])
        if start.request_id is not None:
            self.requests[start.request_id] = start.turn_id

    def settle(self, settlement: Settlement) -> None:
        assert self.running is not None
        turn, self.running = self.running, None
        turn_id = turn.claim.turn_id
        self.outcomes[turn_id], self.latest = settlement.outcome, turn_id
        self.usage += settlement.usage
        self.choices = settlement.choices or self.choices
        if not settlement.kept:
            return
        self.waiting += [*turn.steps, *settlement.messages]
        self.question = settlement.question
        if self.question is None:
            self.history += [(turn_id, message) for message in self.waiting]
            self.waiting = []
            self.placed[turn_id] = self.revision

    def may_end_at(self, upto: int) -> bool:
        """Whether a copy may end there: behind a message, whose tools have had their results."""
        return upto <= len(self.history) and not unpaired([message for _, message in self.history[:upto]])

    def cut_off(self) -> None:
        """The owner is gone: what was saved is kept and closed, or nothing was and there is no trace."""
        assert self.running is not None
        turn = self.running
        closing = closed(turn.open_uses)
        partial = [assistant(turn.said, partial=True)] if turn.said else []
        outcome = Outcome(turn_id=turn.claim.turn_id, status="interrupted", report=turn.start.report)
        kept = len(turn.steps) > 1 or bool(partial)
        self.settle(Settlement(outcome=outcome, messages=(*closing, *partial), kept=kept))

    def put(self, entries: list[tuple[str, Message]]) -> int:
        """Replace the history, keep the former one; returns the new revision."""
        if self.question:
            asked = self.outcomes[self.question.turn_id]
            if asked.status == "awaiting_input":
                self.outcomes[self.question.turn_id] = replace(asked, status="interrupted")
            self.question, self.waiting = None, []
        self.former[self.revision] = self.history
        self.revision += 1
        self.former.pop(self.revision - REVISIONS_KEPT - 1, None)
        self.history = entries
        for turn_id, revision in self.placed.items():
            if revision < self.revision - REVISIONS_KEPT:
                self.outcomes.pop(turn_id, None)
        return self.revision


def closed(uses: tuple[str, ...]) -> list[Message]:
    """The failed results of tools that were cut off, whatever they say."""
    return [Message("user", tuple(ToolResultBlock(use, (), failed=True) for use in uses))] if uses else []


def wordless(message: Message) -> Message:
    """The message without what failed tools said, which is the store's to choose."""
    blocks = (
        replace(block, content=()) if isinstance(block, ToolResultBlock) and block.failed else block
        for block in message.content
    )
    return replace(message, content=tuple(blocks))
