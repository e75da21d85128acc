"""OpenAI's Responses, and the other servers that speak it; nothing of a reply is kept at theirs.

openai_responses_request   what is sent;     openai_responses_messages, the history in it
openai_responses_stream    what comes back;  openai_responses_items, how it grows;
                                             openai_responses_output, what it is in the end
openai_responses_quirks    how models and servers differ
"""

from collections.abc import Callable

import httpx2

from eai_mcp.calls import Call, ModelRequest
from eai_mcp.catalog.entries import Model
from eai_mcp.providers import Parts, http
from eai_mcp.providers.asking import Asked
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.http_call import HttpCall
from eai_mcp.providers.openai_responses_quirks import quirks_of
from eai_mcp.providers.openai_responses_request import asked
from eai_mcp.providers.openai_responses_stream import Reply
from eai_mcp.providers.sse import Decoder

BASE_URL = "https://api.openai.com/v1"


def build(model: Model, parts: Parts) -> Call:
    """The call for a model of the catalog.

    Raises:
        ConfigError: The base URL or a quirk of the model cannot work.
    """
    return call(model, parts.client, model.base_url or BASE_URL, http.key_from(parts.environ, model))


def call(
    model: Model,
    client: Callable[[], httpx2.AsyncClient],
    base_url: str,
    key: Callable[[], str | None],
) -> HttpCall:
    """The call for a model behind `base_url`; raises as `build` does."""
    return HttpCall(model=model, client=client, key=key, form=OpenAIResponses(model, base_url))


class OpenAIResponses:
    """The wire format, as the server behind `base_url` speaks it."""

    def __init__(self, model: Model, base_url: str) -> None:
        self._model = model
        self.url = http.address(model, base_url, "responses")
        self._quirks = quirks_of(model, self.url.host)
        self.key_header = self._quirks.key_header

    def asked(self, request: ModelRequest, *, refused: frozenset[str]) -> Asked:
        """The request's JSON."""
        return asked(request, self._model, self._quirks, refused=refused)

    def reply(self, endpoint: Endpoint) -> Reply:
        """An answer without anything in it yet."""
        return Reply(endpoint)

    def decoder(self) -> Decoder:
        """Server-sent events."""
        return Decoder()
