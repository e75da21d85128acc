"""How far a call of mode human has come, as this process and the client's state have it."""

import json
from dataclasses import dataclass, replace
from typing import Any

from eai_mcp import messages
from eai_mcp.chat.values import Answers, TurnResult
from eai_mcp.errors import EaiError, SessionBusy, TurnFailed
from eai_mcp.messages import Usage
from eai_mcp.server import asking

CLOSED = "the session was closed meanwhile, so this was not sent; what is sent now begins it anew"
BUSY = "somebody else is talking here just now; send it again"
_PLAIN = ("call", "forms", "turns", "counted", "failures", "is_there", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """How far a call has come: `forms` were answered, and `turns` taken, of which `last` ended last.

    It is the turn of an open question, too; `counted` is the one that was counted last, since a question and
    its answer are one turn. `error` is why the last message failed, as did `failures` in a row. `spent` is
    what the turns before `last` have used. `is_there` says that the session was there, and `note` what is
    told beside the reply.
    """

    call: str
    forms: int = 0
    turns: int = 0
    counted: str = ""
    failures: int = 0
    is_there: bool = False
    note: str = ""
    last: TurnResult | None = None
    asked: Answers | None = None
    error: EaiError | None = None
    spent: Usage | None = None

    def with_turn(self, result: TurnResult, note: str = "") -> "Dialogue":
        """The dialogue once a turn of it has ended."""
        told = asking.behind(self.spent, result)
        return replace(
            self,
            turns=self.turns + (result.turn_id != self.counted),
            counted=result.turn_id,
            failures=0,
            is_there=True,
            note=note,
            error=None,
            last=told,
            spent=told.usage,
        )

    def with_error(self, error: EaiError) -> "Dialogue":
        """The dialogue once a message has failed; that others were faster is no failure of anything."""
        if isinstance(error, SessionBusy):
            return replace(self, note="", error=SessionBusy(BUSY))
        is_there = self.is_there and error.message != CLOSED
        return replace(self, failures=self.failures + 1, is_there=is_there, note="", error=error)

    @property
    def state(self) -> str:
        """What `opened` reads; of the last turn it has the id alone."""
        told = {
            **{name: getattr(self, name) for name in _PLAIN},
            "last": self.last and self.last.turn_id,
            "asked": self.asked and [self.asked.turn_id, self.asked.asked_in],
            "error": self.error and [self.error.code, self.error.message, self.error.retryable],
            "spent": self.spent and messages.told(self.spent),
        }
        return json.dumps(told)


def opened(state: dict[str, Any]) -> Dialogue:
    """The dialogue of a state, without its last turn."""
    asked, error, spent = state["asked"], state["error"], state["spent"]
    return Dialogue(
        **{name: state[name] for name in _PLAIN},
        asked=asked and Answers(turn_id=asked[0], asked_in=asked[1]),
        error=error and TurnFailed(error[0], error[1], retryable=error[2]),
        spent=Usage(**spent) if spent else None,
    )
