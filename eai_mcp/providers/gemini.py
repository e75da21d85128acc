"""Gemini's own API, at Google's generative language endpoint and wherever else it is spoken.

gemini_request   what is sent; gemini_messages, the history in it
gemini_stream    what comes back; gemini_content, the parts in it
gemini_quirks    how models and endpoints differ
"""

from collections.abc import Callable
from urllib.parse import quote

import httpx2

from eai_mcp.calls import Call, ModelRequest
from eai_mcp.catalog.entries import Model
from eai_mcp.providers import Parts, http
from eai_mcp.providers.asking import Asked
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.gemini_quirks import quirks_of
from eai_mcp.providers.gemini_request import asked
from eai_mcp.providers.gemini_stream import Reply
from eai_mcp.providers.http_call import HttpCall
from eai_mcp.providers.sse import Decoder

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"


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
    return HttpCall(model=model, client=client, key=key, form=Gemini(model, base_url))


class Gemini:
    """The wire format, as the server behind `base_url` speaks it."""

    def __init__(self, model: Model, base_url: str) -> None:
        self._model = model
        url = http.address(model, base_url, f"{_resource(model.model)}:streamGenerateContent")
        # Without it the stream is one JSON list, and nothing can be heard before its end.
        self.url = url.copy_merge_params({"alt": "sse"})
        self._quirks = quirks_of(model)
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


def _resource(wire_model: str) -> str:
    """The model's place in the path: tuned ones and deployed ones name their own."""
    is_placed = wire_model.startswith(("models/", "tunedModels/", "endpoints/"))
    return quote(wire_model if is_placed else f"models/{wire_model}", safe="/:@")
