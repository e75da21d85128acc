"""How the process is asked to end, and the limit on how long it then takes.

It is asked by the end of its input, by SIGINT, SIGTERM or SIGHUP, or by the death of the process that started
it, for a host that crashed may leave its ends of the pipes open in other children. Whoever serves then stops,
what is wrapped round it saves and cleans up, and the process ends by itself. Asked a second time it ends at
once; and a thread ends it after the limit, for an event loop that is stuck cannot keep its own.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import anyio
from anyio.abc import TaskStatus

LIMIT_S = 2.0
PARENT_S = 1.0
AT_ONCE, TOO_LATE = 130, 1

log = logging.getLogger("eai_mcp")


class Ending:
    """The end of serving, once it is asked for, and of the process at the latest `limit_s` later.

    Without a limit (None) the process may live on. `quit_now` ends it without any cleaning up.
    """

    def __init__(
        self, *, limit_s: float | None = LIMIT_S, quit_now: Callable[[int], object] = os._exit
    ) -> None:
        self.asked = anyio.Event()
        self._limit_s = limit_s
        self._quit_now = quit_now

    def begin(self, why: str) -> None:
        """Ask for the end; from now on the limit runs. Asking again changes nothing."""
        if self.asked.is_set():
            return
        self.asked.set()
        if self._limit_s is not None:
            limit = threading.Timer(self._limit_s, self._give_up)
            limit.daemon = True
            limit.start()
        log.info("ending: %s", why)  # last, for it may take its time

    async def watch_signals(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Begin at the first signal and quit at the second; only in the main thread."""
        heeded = _heeded()
        if not heeded:
            task_status.started()
            return
        with anyio.open_signal_receiver(*heeded) as signals:
            task_status.started()
            async for number in signals:
                if self.asked.is_set():
                    self._quit_now(AT_ONCE)
                self.begin(signal.Signals(number).name)

    async def watch_parent(
        self, *, parent: Callable[[], int] = os.getppid, every_s: float = PARENT_S
    ) -> None:
        """Begin when the process that started this one is gone."""
        first = parent()
        while parent() == first:  # noqa: ASYNC110 - nothing tells a process that it was orphaned
            await anyio.sleep(every_s)
        self.begin("the parent process is gone")

    def leave(self) -> None:
        """Guard what is still to be done when nobody watches any more: the limit runs, a signal quits."""
        self.begin("nothing more to serve")
        for number in _heeded():
            signal.signal(number, self._quit_on_signal)

    def _quit_on_signal(self, number: int, frame: FrameType | None) -> None:
        self._quit_now(AT_ONCE)

    def _give_up(self) -> None:
        text = f"eai-mcp: cleaning up took longer than {self._limit_s} s; ended without it\n"
        threading.Thread(target=os.write, args=(2, text.encode()), daemon=True).start()
        time.sleep(0.05)  # enough, if anybody reads it
        self._quit_now(TOO_LATE)


def _heeded() -> list[signal.Signals]:
    """The signals that ask for the end, without those that our starter told us to ignore (as nohup does)."""
    if sys.platform == "win32":
        # No receiver of signals there: Ctrl-C cancels the main task, and the end of input is the usual end.
        return []
    asking = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    return [number for number in asking if signal.getsignal(number) != signal.SIG_IGN]
