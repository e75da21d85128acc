"""The turn that runs in a session, found and stopped whichever process runs it."""

import time
from contextlib import suppress

from eai_mcp.chat.heard import Followed
from eai_mcp.chat.keeper import Keeper
from eai_mcp.chat.turn import Turn
from eai_mcp.errors import NoTask, NotFound, SessionBusy
from eai_mcp.store import Running, Store


class Following:
    """Turns to follow: those of this process from the keeper, those of others from the store."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper

    def followed(self, space: str, name: str, running: Running) -> Followed:
        """A turn that the store says is running: another process's, or one of ours that is being saved."""
        turn = self._keeper.turn((space, name))
        if turn is not None and turn.claim.turn_id == running.turn_id:
            return turn
        return self._keeper.follow(space, name, running)

    async def what_runs(self, space: str, name: str) -> Followed | None:
        """The turn that runs in a session."""
        turn = self._keeper.running((space, name))
        row = None if turn else await self._store.row(space, name)
        if row is None or row.running is None:
            return turn
        found = await self._store.find(space, name, row.running.turn_id)
        return self.followed(space, name, found) if isinstance(found, Running) else None

    async def ask_to_stop(self, space: str, turn: Followed, reason: str | None) -> None:
        """Interrupt a turn, and do not wait for its end."""
        if isinstance(turn, Turn):
            turn.interrupt(reason)
        elif not turn.done.is_set():
            with suppress(NoTask, NotFound):  # it has just ended
                await self._store.interrupt(space, turn.session, turn.turn_id)

    async def busy(self, space: str, name: str, why: str) -> SessionBusy:
        """The error for a session in which a turn is running, or about to."""
        row = await self._store.row(space, name)
        return busy(name, row.running if row else None, why)


def busy(name: str, running: Running | None, why: str) -> SessionBusy:
    """The error for a session, with the turn that runs in it as far as it is known."""
    if running is None:
        return SessionBusy(why, chat_session=name)
    seconds = max(0.0, round(time.time() - running.since, 1))
    return SessionBusy(why, chat_session=name, turn_id=running.turn_id, running_s=seconds)
