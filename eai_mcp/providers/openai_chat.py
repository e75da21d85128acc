"""OpenAI's Chat Completions, and every server that speaks it: local ones, gateways, most other providers.

    openai_chat            the call: its key, its address, what to do when a sampler is refused
    openai_chat_request    what is sent;     openai_chat_messages, the history in it
    openai_chat_stream     what comes back;  openai_chat_tools, the tool calls in it
    openai_chat_quirks     how servers differ

The reply always streams, also for a caller who wants it whole: middle boxes cut long silent requests.
"""

from collections.abc import Callable

import httpx2

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import Rejected
from eai_mcp.providers import Parts, http, wire
from eai_mcp.providers.exchange import Exchange, Refusal
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.openai_chat_quirks import quirks_of
from eai_mcp.providers.openai_chat_request import Asked, asked, blamed
from eai_mcp.providers.openai_chat_stream import Reply

BASE_URL = "https://api.openai.com/v1"


def build(model: Model, parts: Parts) -> Call:
    """The call for a model of the catalog.

    Raises:
        ConfigError: The base URL or a quirk of the model cannot work.
    """
    return OpenAIChat(
        model=model,
        client=parts.client,
        base_url=model.base_url or BASE_URL,
        key=http.key_from(parts.environ, model),
    )


class OpenAIChat:
    """A model behind a `/chat/completions` endpoint; it is a `Call`.

    `client` gives the HTTP client and `key` the API key, None for none; both are asked at each call. A
    sampler that the endpoint refuses is left out from then on where only the model's file wants it.
    """

    def __init__(
        self,
        *,
        model: Model,
        client: Callable[[], httpx2.AsyncClient],
        base_url: str,
        key: Callable[[], str | None],
    ) -> None:
        self._model = model
        self._client = client
        self._key = key
        self._url = http.address(model, base_url, "chat/completions")
        self._quirks = quirks_of(model, self._url.host)
        self._refused: frozenset[str] = frozenset()

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        key = self._key()
        endpoint = self._endpoint(key)
        reply = Reply(endpoint, self._quirks)
        exchange = Exchange(
            client=self._client(),
            url=self._url,
            headers=http.headers(self._model, key, key_header=self._quirks.key_header),
            endpoint=endpoint,
            reply=reply,
            emit=emit,
            deadline=request.deadline,
        )
        sent = self._asked(request)
        with exchange.scope:
            while refusal := await exchange.attempt(wire.written(sent.body).encode()):
                self._refused |= {_to_leave_out(refusal, sent, request)}
                sent = self._asked(request)
        exchange.check()
        return reply.response(served_by=self._model.name, model=self._model.model, warnings=sent.warnings)

    def _asked(self, request: ModelRequest) -> Asked:
        return asked(request, self._model, self._quirks, refused=self._refused)

    def _endpoint(self, key: str | None) -> Endpoint:
        return Endpoint(
            model=self._model.name,
            host=http.place(self._url),
            key_env=self._model.api_key_env,
            secrets=(*([key] if key else []), *self._model.headers.values()),
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
