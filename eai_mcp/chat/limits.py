"""How much a turn and a session may take. Looked at before a turn begins, so that nothing is paid for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eai_mcp.errors import LimitExceeded

if TYPE_CHECKING:
    from eai_mcp.store import SessionRow

SUBAGENTS = 4
"""Turns of sub-agents for each of the `principal_turns`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`turn_s` seconds and `turn_steps` rounds of tools for a turn; `message_bytes` of UTF-8 for one input.

    A model's file, or a card, may say other seconds.

    `orphan_s` is how long a turn runs that nobody waits for, and `question_s` how long a question can be
    answered (None: at any time). A session may take so many `session_turns`,
    `session_tokens` (read and written) and `session_usd`; None is no limit.

    Each space has a share: `principal_rate` talks a second, `principal_burst` at once (None: those of a
    second), `principal_turns` that run at a time, and `SUBAGENTS` times as many of sub-agents,
    `principal_sessions` beside the default one.
    """

    turn_s: float = 1800.0
    turn_steps: int = 50
    message_bytes: int = 8 * 1024 * 1024
    orphan_s: float = 600.0
    question_s: float | None = None
    session_turns: int | None = None
    session_tokens: int | None = None
    session_usd: float | None = None
    principal_rate: float | None = None
    principal_burst: int | None = None
    principal_turns: int | None = None
    principal_sessions: int | None = None

    def check(self, row: "SessionRow | None") -> None:
        """See whether a session may take another turn.

        Raises:
            LimitExceeded: It may not.
        """
        if row is None:
            return
        tokens, cost = row.usage.input + row.usage.output, row.usage.cost_usd or 0.0
        turns = row.turns - (row.question is not None)  # whose turn goes on with the answer
        self._hold(row.name, "turns", turns, self.session_turns)
        self._hold(row.name, "tokens", tokens, self.session_tokens)
        self._hold(row.name, "US dollars", cost, self.session_usd)

    def _hold(self, name: str, what: str, actual: float, limit: float | None) -> None:
        if limit is not None and actual >= limit:
            raise LimitExceeded(
                f"session {name!r} has used {actual:g} {what} of the {limit:g} that a session may; "
                "go on in a new session, or in a fork of this one",
                chat_session=name,
                limit=limit,
                actual=actual,
            )
