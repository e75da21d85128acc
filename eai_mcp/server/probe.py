"""`server/discover` as a question that decides nothing, on connections that last.

The SDK fixes the protocol's era by the first request it sees, so a client that asks `server/discover` and
then shakes hands the old way is refused. Such clients exist. So the question is kept from the connection
until the first other request, and answered beside it.

The answer comes from the server itself: each question gets a connection of its own, `Server.run` over a pair
of streams that carry just this request. Calling the registered handler would be shorter and answer less: the
check of the versions, the middleware, the stamps on the result and the errors all live in `run`.
"""

from typing import TYPE_CHECKING, Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse

from eai_mcp.server.streams import Heard, Reader, Writer

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.shared._stream_protocols import ReadStream, WriteStream


class Probing(Reader):
    """A connection's incoming half that answers the questions before the first request."""

    def __init__(
        self,
        incoming: "ReadStream[Heard]",
        outgoing: "WriteStream[SessionMessage]",
        server: "Server[Any]",
    ) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._server = server
        self._decided = False

    async def receive(self) -> Heard:
        """The next message that is for the connection."""
        while True:
            item = await self._incoming.receive()
            if self._decided or not isinstance(item, SessionMessage) or not _is_request(item):
                return item
            if not _is_question(item):
                self._decided = True
                return item
            await self._answer(item)

    async def aclose(self) -> None:
        """Close the stream that is wrapped."""
        await self._incoming.aclose()

    async def _answer(self, question: SessionMessage) -> None:
        answered = anyio.Event()
        reading = _OneQuestion(question, answered)
        writing = _Answers(self._outgoing, answered)
        await self._server.run(reading, writing, self._server.create_initialization_options())


class _OneQuestion(Reader):
    """One message, and the end once it is answered: an earlier end would cancel its handler."""

    def __init__(self, question: SessionMessage, answered: anyio.Event) -> None:
        self._question: SessionMessage | None = question
        self._answered = answered

    async def receive(self) -> Heard:
        question, self._question = self._question, None
        if question is not None:
            return question
        await self._answered.wait()
        raise anyio.EndOfStream


class _Answers(Writer):
    """Passes all on to the connection, and tells when the answer was among it."""

    def __init__(self, outgoing: "WriteStream[SessionMessage]", answered: anyio.Event) -> None:
        self._outgoing = outgoing
        self._answered = answered

    async def send(self, item: SessionMessage, /) -> None:
        try:
            await self._outgoing.send(item)
        finally:
            if isinstance(item.message, JSONRPCResponse | JSONRPCError):
                self._answered.set()


def _is_request(item: SessionMessage) -> bool:
    return isinstance(item.message, JSONRPCRequest)


def _is_question(item: SessionMessage) -> bool:
    return isinstance(item.message, JSONRPCRequest) and item.message.method == "server/discover"
