"""A model behind an HTTP endpoint: the `Call` that every wire format over HTTP shares.

The reply always streams, also for a caller who wants it whole: middle boxes cut long silent requests.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import httpx2

from eai_mcp import wire
from eai_mcp.calls import Emit, ModelRequest, ModelResponse
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import Rejected
from eai_mcp.providers import http, prices
from eai_mcp.providers.asking import Asked, blamed
from eai_mcp.providers.exchange import Decoder, Exchange, Refusal, Reply
from eai_mcp.providers.failures import Endpoint

Sign: TypeAlias = Callable[[httpx2.URL, httpx2.Headers, bytes], Awaitable[httpx2.Headers]]
"""The headers that prove who asks, made from the very bytes that are sent."""


class Whole(Reply, Protocol):
    """A reply that becomes a response."""

    def response(self, *, served_by: str, model: str, warnings: tuple[str, ...]) -> ModelResponse:
        """The whole answer of the wire model `model`; asked for once `is_finished`.

        Raises:
            CallError: What came is no answer after all.
        """
        ...


class WireFormat(Protocol):
    """One wire format as one model of the catalog speaks it, without any I/O.

    `key_header` is where the key stands, bare unless it is Authorization.
    """

    @property
    def url(self) -> httpx2.URL: ...

    @property
    def key_header(self) -> str: ...

    def asked(self, request: ModelRequest, *, refused: frozenset[str]) -> Asked:
        """What is sent; `refused` names samplers of the model's file that the endpoint did not take."""
        ...

    def reply(self, endpoint: Endpoint) -> Whole:
        """What will put the answer together."""
        ...

    def decoder(self) -> Decoder:
        """What splits the answer's bytes into events."""
        ...


class HttpCall:
    """Asks one model; it is a `Call`.

    `client` gives the HTTP client and `key` the API key, None for none; both are asked at each call. A
    sampler that the endpoint refuses is left out from then on where only the model's file wants it.
    """

    def __init__(
        self,
        *,
        model: Model,
        client: Callable[[], httpx2.AsyncClient],
        key: Callable[[], str | None],
        form: WireFormat,
        sign: Sign | None = None,
    ) -> None:
        self._model = model
        self._client = client
        self._key = key
        self._form = form
        self._sign = sign
        self._refused: frozenset[str] = frozenset()

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        key = self._key()
        endpoint = self._endpoint(key)
        reply = self._form.reply(endpoint)
        exchange = Exchange(
            client=self._client(),
            url=self._form.url,
            endpoint=endpoint,
            reply=reply,
            decoder=self._form.decoder(),
            emit=emit,
            deadline=request.deadline,
        )
        sent = self._form.asked(request, refused=self._refused)
        with exchange.scope:
            while refusal := await exchange.attempt(*await self._signed(sent, key)):
                self._refused |= {_to_leave_out(refusal, sent, request)}
                sent = self._form.asked(request, refused=self._refused)
        exchange.check()
        wire_model = self._model.model
        response = reply.response(served_by=self._model.name, model=wire_model, warnings=sent.warnings)
        return await prices.with_cost(response, model=wire_model, url=self._form.url)

    async def _signed(self, sent: Asked, key: str | None) -> tuple[bytes, httpx2.Headers]:
        body = wire.written(sent.body).encode()
        headers = http.headers(self._model, key, key_header=self._form.key_header, more=sent.headers)
        if self._sign is not None:
            headers = await self._sign(self._form.url, headers, body)
        return body, headers

    def _endpoint(self, key: str | None) -> Endpoint:
        return Endpoint(
            model=self._model.name,
            host=http.place(self._form.url),
            key_env=self._model.api_key_env,
            secrets=(*([key] if key else []), *http.secrets_in(self._model.headers)),
        )


def _to_leave_out(refusal: Refusal, sent: Asked, request: ModelRequest) -> str:
    """The sampler that was refused, if it is one that the caller did not ask for.

    Raises:
        CallError: The refusal is about something else.
    """
    name = blamed(refusal.said, sent.sent) if isinstance(refusal.error, Rejected) else None
    if name is None or name in request.samplers.given():
        raise refusal.error
    return name
