"""What is done again and again while turns run: their claims are held, and other processes are listened to.

It sleeps until the bus says that another process changed something, or a claim is due to be renewed. When it
wakes and there is nothing to keep it ends; not with each turn, for the next one may come at once.
"""

import logging
import time
from contextlib import suppress

import anyio
from anyio.abc import TaskGroup

from eai_mcp.chat.distant import DistantTurn
from eai_mcp.chat.lines import Key
from eai_mcp.chat.turn import Turn
from eai_mcp.errors import Conflict, EaiError, NotFound, StoreError
from eai_mcp.observe import internal
from eai_mcp.store import LEASE_S, Claim, Running, Store

RENEW_S = LEASE_S / 3
ATTEND_S = 4.0
TAKEN_OVER = "the turn was taken over, since its claim was not renewed in time"

log = logging.getLogger("eai_mcp")


class Keeper:
    """The turns of this process, those of others that are waited for here, and ends that are not saved."""

    def __init__(self, store: Store, tasks: TaskGroup, *, orphan_s: float, renew_s: float = RENEW_S) -> None:
        self._store = store
        self._tasks = tasks
        self._orphan_s = orphan_s
        self._attend_s = min(ATTEND_S, orphan_s / 4)
        self._renew_s = renew_s
        self._turns: dict[Claim, Turn] = {}
        self._current: dict[Key, Turn] = {}
        self._unsaved: dict[Key, Turn] = {}
        self._distant: list[DistantTurn] = []
        self._is_keeping = False
        self._is_nudged = False
        self._nap = anyio.CancelScope()

    def turns(self) -> tuple[Turn, ...]:
        """Those that run in this process."""
        return tuple(self._turns.values())

    def count(self, space: str, is_subagent: bool) -> int:
        """How many of a space run in this process, those of sub-agents or the others."""
        return sum(
            turn.claim.space == space and (len(turn.kit.chain) > 1) == is_subagent
            for turn in self._turns.values()
        )

    def turn(self, key: Key) -> Turn | None:
        """The one that runs in a session, or whose end could not be saved yet."""
        return self._current.get(key) or self._unsaved.get(key)

    def running(self, key: Key) -> Turn | None:
        """The one that runs in a session."""
        return self._current.get(key)

    def add(self, turn: Turn) -> None:
        """Keep a turn that begins. If another still runs there, its claim was lost."""
        key = (turn.claim.space, turn.claim.name)
        if before := self._current.get(key):
            before.interrupt(TAKEN_OVER)
        self._turns[turn.claim] = self._current[key] = turn
        self._start()

    async def acknowledge(self, turn: Turn) -> None:
        """See that a turn outlasts the loss of power too: somebody is about to hear that it is running."""
        if not turn.is_lasting:
            with suppress(StoreError):
                await self._store.renew({turn.claim: ""})
                turn.is_lasting = True

    def remove(self, turn: Turn) -> None:
        """A turn has ended; what could not be saved of it is tried again later."""
        key = (turn.claim.space, turn.claim.name)
        del self._turns[turn.claim]
        if self._current.get(key) is turn:
            del self._current[key]
        if turn.unsaved is not None:
            self._unsaved[key] = turn

    def follow(self, space: str, name: str, running: Running) -> DistantTurn:
        """A turn that runs in another process, for all here who wait for it."""
        key = (space, name, running.turn_id)
        for turn in self._distant:
            if (turn.space, turn.session, turn.turn_id) == key:
                return turn
        turn = DistantTurn(space=space, session=name, running=running, attend_s=self._attend_s)
        self.watch(turn)
        return turn

    def watch(self, turn: DistantTurn) -> None:
        """Look at a turn of another process, which was let go when nobody waited for it."""
        if turn not in self._distant and not turn.done.is_set():
            self._distant.append(turn)
            # At once: what we commit ourselves, the bus does not tell.
            self._is_nudged = True
            self._nap.cancel()
            self._start()

    async def save(self, key: Key) -> None:
        """Save the end of a turn that could not be saved, if there is one.

        Raises:
            StorageFull, StorageUnavailable: It still cannot be.
        """
        turn = self._unsaved.get(key)
        if turn is None or turn.unsaved is None:
            return
        with suppress(Conflict, NotFound):  # somebody else ended it, or the session is gone
            await self._store.settle(turn.claim, turn.unsaved)
        if self._unsaved.get(key) is turn:
            del self._unsaved[key]

    async def save_all(self) -> None:
        """Try to save each end that could not be saved."""
        for key in tuple(self._unsaved):
            with suppress(StoreError):
                await self.save(key)

    def _start(self) -> None:
        if not self._is_keeping:
            self._is_keeping = True
            self._tasks.start_soon(self._keep, name="keeper")

    def _is_needed(self) -> bool:
        return bool(self._turns or self._unsaved or self._distant)

    async def _keep(self) -> None:
        renew_at = anyio.current_time() + self._renew_s
        try:
            while True:
                if not self._is_nudged:
                    with anyio.CancelScope(deadline=self._until(renew_at)) as self._nap:
                        await self._changed()
                self._is_nudged = False
                if not self._is_needed():
                    return
                try:
                    if anyio.current_time() >= renew_at:
                        renew_at = anyio.current_time() + self._renew_s
                        await self._renew()
                    await self._look()
                except EaiError as error:
                    log.warning("the sessions cannot be kept: %s", error)
                except Exception as error:  # noqa: BLE001  # nobody waits for this task to hear of a bug
                    internal(error)
        finally:
            self._is_keeping = False

    def _until(self, renew_at: float) -> float:
        """When to look again, whatever the bus says."""
        attend_at = anyio.current_time() + self._attend_s
        return min(renew_at, attend_at) if self._distant else renew_at

    async def _changed(self) -> None:
        try:
            await self._store.bus.changed()
        except EaiError:
            await anyio.sleep(self._renew_s)

    async def _renew(self) -> None:
        held = {turn.claim: turn.heard.partial for turn in self.turns()}
        held |= dict.fromkeys((turn.claim for turn in self._unsaved.values()), "")
        if held:
            await self._store.renew(held)
        if self._turns:
            attended = (await self._store.look([turn.claim for turn in self.turns()])).attended
            for turn in self.turns():
                left_s = min(time.monotonic() - turn.left_at, time.time() - attended.get(turn.claim, 0))
                if not turn.waiters and left_s > self._orphan_s:
                    turn.interrupt(f"stopped: nobody waited for it for {self._orphan_s:g} s")
        # Last, for what cannot be saved yet must not cost the others their claims.
        await self.save_all()

    async def _look(self) -> None:
        turns = {turn.claim: turn for turn in self.turns()}
        if turns:
            look = await self._store.look(tuple(turns))
            for claim in look.interrupted:
                turns[claim].interrupt()
            for claim in look.lost:
                turns[claim].interrupt(TAKEN_OVER)
        for turn in tuple(self._distant):
            await turn.look(self._store)
            if turn.done.is_set() or not turn.waiters:
                self._distant.remove(turn)
