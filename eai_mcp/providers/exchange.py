"""One POST whose reply streams back as server-sent events, with its limits: what adapters over HTTP share.

A reply that is finished is whole, whatever becomes of the connection afterwards; one that is not is an error,
however the connection ended.
"""

import contextlib
import math
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import anyio
import httpx2
from anyio import lowlevel

from eai_mcp.calls import Emit, StreamEvent
from eai_mcp.errors import CallError, CallTimeout, LimitExceeded, Unavailable
from eai_mcp.providers import failures, http
from eai_mcp.providers.complaints import Complaint, complaint_in, hidden, media_type
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.sse import LONGEST_EVENT, Event

TAIL_S = 10.0
"""How long we wait for what may follow a finished reply, its usage above all."""

DRAIN_S = 0.2
"""How long a response may go on after its last event: it frees its connection when it has ended."""

LONGEST_STREAM = 128 * 1024 * 1024
"""Bytes. The longest replies of today's models, 128,000 tokens in a chunk each, are a quarter of it."""

ERROR_BODY_S = 10.0
LONGEST_ERROR_BODY = 65_536


class Decoder(Protocol):
    """Splits bytes, cut anywhere, into events.

    Raises:
        LimitExceeded: An event is too long.
        ValueError: The bytes are damaged.
    """

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        ...

    def close(self) -> list[Event]:
        """The events that the end of the bytes completes."""
        ...


class Reply(Protocol):
    """What puts the events of one wire format together.

    `is_begun` once there was a piece of a reply, `is_finished` once the reply is whole, `is_done` once
    nothing more can follow. `headers` are the response's.
    """

    headers: Mapping[str, str]
    is_begun: bool
    is_done: bool

    @property
    def is_finished(self) -> bool: ...

    @property
    def text(self) -> str: ...

    def take(self, event: Event) -> list[StreamEvent]:
        """Take an event, return what there is to hear in it."""
        ...

    def broken(self, sentence: str) -> Unavailable:
        """The error for a reply that cannot be used; `sentence` follows the endpoint's name."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than success: the error that it is, and what the provider said."""

    error: CallError
    said: Complaint


class Exchange:
    """Asks, listens, and keeps to the limits. Use `attempt` inside `scope`, and `check` after it.

    `deadline` is on anyio's clock. What follows a finished reply may take `tail_s` seconds.
    """

    def __init__(
        self,
        *,
        client: httpx2.AsyncClient,
        url: httpx2.URL,
        endpoint: Endpoint,
        reply: Reply,
        decoder: Decoder,
        emit: Emit,
        deadline: float | None,
        tail_s: float = TAIL_S,
    ) -> None:
        self._client = client
        self._url = url
        self._endpoint = endpoint
        self._reply = reply
        self._decoder = decoder
        self._emit = emit
        self._limit = math.inf if deadline is None else deadline
        self._tail_s = tail_s
        self._finished_at: float | None = None
        self.scope = anyio.CancelScope(deadline=self._limit)

    async def attempt(self, body: bytes, headers: httpx2.Headers) -> Refusal | None:
        """Post `body`, and feed the reply with what comes back; None once it has all come.

        Raises:
            CallError: The provider cannot be reached, or broke the reply off.
        """
        await lowlevel.checkpoint_if_cancelled()  # a deadline that has passed costs no request
        try:
            async with aclosing(await self._sent(body, headers)) as response:
                if not response.is_success:
                    return await self._refusal(response)
                self._reply.headers = self._shown(response.headers)
                await self._listen(response)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            if not self._reply.is_finished:
                raise failures.of_transport(self._endpoint, error, partial=self._reply.text) from error
        return None

    def check(self) -> None:
        """See that the reply is whole.

        Raises:
            CallTimeout: The deadline passed before it was.
            Unavailable: The stream ended before it was.
        """
        if self._reply.is_finished:
            return
        if self.scope.cancelled_caught:
            raise CallTimeout(
                f"{self._endpoint} did not finish its reply in the time it had",
                partial=self._reply.text,
                model=self._endpoint.model,
            )
        if not self._reply.is_begun:
            raise failures.of_body(self._endpoint, headers=self._reply.headers)
        raise self._reply.broken("ended the stream before the reply was finished")

    async def _sent(self, body: bytes, headers: httpx2.Headers) -> httpx2.Response:
        dialled = False

        async def watch(step: str, _: Mapping[str, object]) -> None:
            nonlocal dialled
            dialled = dialled or step.endswith(".connect_tcp.started")

        request = self._client.build_request(
            "POST",
            self._url,
            headers=headers,
            content=body,
            timeout=http.TIMEOUT,
            extensions={"trace": watch},
        )
        try:
            return await self._client.send(request, stream=True)
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            # A kept connection that the server closed meanwhile, as any may at any time; some never say so.
            if dialled:
                raise
        return await self._client.send(request, stream=True)

    async def _refusal(self, response: httpx2.Response) -> Refusal:
        body = bytearray()
        with anyio.move_on_after(ERROR_BODY_S), contextlib.suppress(httpx2.HTTPError):
            await _collect(response, body, longest=LONGEST_ERROR_BODY)
        headers = self._shown(response.headers)
        said = complaint_in(self._hidden(body), headers.get("content-type", ""))
        error = failures.of_status(self._endpoint, said, status=response.status_code, headers=headers)
        return Refusal(error, said)

    async def _listen(self, response: httpx2.Response) -> None:
        media = media_type(response.headers.get("content-type", ""))
        if media.endswith(("json", "html")):
            await self._take_whole(response, is_json=media.endswith("json"))
            return
        size = 0
        async with aclosing(response.aiter_bytes()) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size > LONGEST_STREAM:
                    raise self._reply.broken(f"sent more than {LONGEST_STREAM:,} bytes")
                await self._hear(self._split(piece))
                self._shorten()
        await self._hear(self._split(None))

    def _shown(self, headers: httpx2.Headers) -> Mapping[str, str]:
        """The headers, in lower case, without our own secrets: a server may send back what it was sent."""
        return {name.lower(): hidden(value, self._endpoint.secrets) for name, value in headers.items()}

    def _hidden(self, body: bytearray) -> bytes:
        return hidden(body.decode("utf-8", "replace"), self._endpoint.secrets).encode()

    def _split(self, piece: bytes | None) -> list[Event]:
        """The events that the piece completes; None is the end."""
        try:
            return self._decoder.close() if piece is None else self._decoder.feed(piece)
        except (LimitExceeded, ValueError) as error:
            raise self._reply.broken(f"cannot be followed: {error}") from error

    async def _take_whole(self, response: httpx2.Response, *, is_json: bool) -> None:
        """A reply that does not stream, from a server that cannot; or a page of some proxy."""
        body = bytearray()
        await _collect(response, body, longest=LONGEST_EVENT if is_json else LONGEST_ERROR_BODY)
        if is_json:
            await self._hear([Event("", body.decode("utf-8", "replace"))])
        if not self._reply.is_begun:
            raise failures.of_body(self._endpoint, headers=self._reply.headers, body=self._hidden(body))

    async def _hear(self, events: list[Event]) -> None:
        for event in events:
            for heard in self._reply.take(event):
                await self._emit(heard)

    def _shorten(self) -> None:
        """From the first piece on that finished the reply: some servers send comments for ever."""
        if not (self._reply.is_done or self._reply.is_finished):
            return
        now = anyio.current_time()
        if self._reply.is_done:
            self._limit = min(self._limit, now + DRAIN_S)
        else:
            self._finished_at = self._finished_at or now
            self._limit = min(self._limit, self._finished_at + self._tail_s)
        self.scope.deadline = self._limit


async def _collect(response: httpx2.Response, body: bytearray, *, longest: int) -> None:
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            body += piece[: longest - len(body)]
            if len(body) >= longest:
                return
