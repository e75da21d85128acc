"""Whatever is done to a store, and whoever dies meanwhile: what was acknowledged is there, in order, once.

Issue 4: Hypothesis state machine over every store (talk, fail, interrupt, replace, fork, close, crash,
restart): invariants of store.md hold.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from eai_mcp.store import LEASE_S
from tests.store.machine import Sessions, any_owner


class SharedSessions(Sessions):
    """The same of a file with two owners, who may die or be held up for too long."""

    owners = 2

    @rule(owner=any_owner)
    def crash(self, owner: int) -> None:
        """The owner dies, which lets go of its lock, and is started again."""
        self.do(self.stores[owner].aclose)
        self.stores[owner] = self.opened()
        self.cut_off(owner)

    @rule()
    def restart(self) -> None:
        for owner in range(self.owners):
            self.crash(owner)

    @rule(owner=any_owner)
    def hold_up(self, owner: int) -> None:
        """The owner does nothing until the other one has seen its claims run out for long enough."""
        other = 1 - owner
        for _ in range(4):
            kept = [turn.claim for turn in self.turns().values() if turn.owner == other]
            self.do(self.stores[other].renew, dict.fromkeys(kept, ""))
            self.clock.now += LEASE_S * 0.6
            self.do(self.stores[other].list, "")
        self.cut_off(owner)

    def cut_off(self, owner: int) -> None:
        for session in self.sessions.values():
            if session.running and session.running.owner == owner:
                self.spent.append(session.running.claim)
                session.cut_off()
                self.changed(session)


# A failing run needs time to be made small.
TestInMemory = pytest.mark.timeout(90)(Sessions.TestCase)
TestInMemory.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestInAFile = pytest.mark.timeout(90)(SharedSessions.TestCase)
TestInAFile.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
