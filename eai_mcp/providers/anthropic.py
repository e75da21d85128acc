"""Anthropic Messages: Claude, and the other servers that speak it.

anthropic_request   what is sent: anthropic_messages, the history in it; anthropic_thinking, the samplers
anthropic_stream    what comes back; anthropic_content, the blocks in it
anthropic_quirks    how models and servers differ
"""

from collections.abc import Callable

import httpx2

from eai_mcp.calls import Call, ModelRequest
from eai_mcp.catalog.entries import Model
from eai_mcp.providers import Parts, http
from eai_mcp.providers.anthropic_quirks import quirks_of
from eai_mcp.providers.anthropic_request import asked
from eai_mcp.providers.anthropic_stream import Reply
from eai_mcp.providers.asking import Asked
from eai_mcp.providers.failures import Endpoint
from eai_mcp.providers.http_call import HttpCall
from eai_mcp.providers.sse import Decoder

BASE_URL = "https://api.anthropic.com"


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
    return HttpCall(model=model, client=client, key=key, form=Messages(model, base_url))


class Messages:
    """The wire format, as the server behind `base_url` speaks it."""

    def __init__(self, model: Model, base_url: str) -> None:
        self._model = model
        # Anthropic's own base ends before the version, the bases of most other APIs behind it: both will do.
        is_versioned = base_url.partition("?")[0].rstrip("/").endswith("/v1")
        self.url = http.address(model, base_url, "messages" if is_versioned else "v1/messages")
        self._quirks = quirks_of(model)
        self.key_header = self._quirks.key_header

    def asked(self, request: ModelRequest, *, refused: frozenset[str]) -> Asked:
        """The request's JSON, and its headers."""
        return asked(request, self._model, self._quirks, refused=refused)

    def reply(self, endpoint: Endpoint) -> Reply:
        """An answer without anything in it yet."""
        return Reply(endpoint)

    def decoder(self) -> Decoder:
        """Server-sent events."""
        return Decoder()
