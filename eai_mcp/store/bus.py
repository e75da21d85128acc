"""How a process notices what others commit to a shared SQLite file."""

import anyio

from eai_mcp.store.writer import Writer

POLL_S = 0.02


class FileBus:
    """Reads a counter in the file's shared memory, which takes microseconds, while somebody wants to know."""

    def __init__(self, writer: Writer | None) -> None:
        self._writer = writer
        self._seen: int | None = None

    async def publish(self) -> None:
        """See `Bus`: the commit itself is the call."""

    async def changed(self) -> None:
        """See `Bus`. What was committed between two calls is noticed by the second."""
        if self._writer is None:
            await anyio.sleep_forever()
            return
        if self._writer.version() is None:
            await self._writer.run(lambda connection: None)  # this process has only read so far
        # SQLite tells other processes nothing; looking costs less than a watcher of files would.
        while (now := self._writer.version()) == self._seen:  # noqa: ASYNC110
            await anyio.sleep(POLL_S)
        self._seen = now
