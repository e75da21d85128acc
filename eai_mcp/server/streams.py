"""The two halves of a connection in the shape that the SDK's `Server.run` takes.

They are classes, not memory streams: a memory stream costs a switch of tasks for each message.
"""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import anyio
from mcp.shared.message import SessionMessage

Heard = SessionMessage | Exception


class _Half:
    """What both halves share; closing does nothing, for whoever opened the descriptors closes them."""

    async def aclose(self) -> None:
        """Leave everything open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class Reader(_Half, ABC):
    """What the peer says."""

    @abstractmethod
    async def receive(self) -> Heard:
        """The next message.

        Raises:
            anyio.EndOfStream: There will be no more.
        """

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class Writer(_Half, ABC):
    """What the peer is told."""

    @abstractmethod
    async def send(self, item: SessionMessage, /) -> None:
        """Send one message.

        Raises:
            anyio.BrokenResourceError: Nobody reads any more.
        """
