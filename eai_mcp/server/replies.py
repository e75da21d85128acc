"""A response on its way, which can be finished wherever it stands."""

import anyio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

PARTING_S = 0.2


class Reply:
    """Passes a response on."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    async def __call__(self, message: Message) -> None:
        """Pass a piece of it on."""
        self._begun = True
        await self._send(message)

    async def part(self, scope: Scope, receive: Receive, otherwise: Response) -> None:
        """End it as HTTP clients expect: by what closes it, or with `otherwise` if it was not begun."""
        with anyio.move_on_after(PARTING_S):  # a client that reads nothing would hold us
            if self._begun:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await otherwise(scope, receive, self._send)
