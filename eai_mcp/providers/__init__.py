"""Adapters: one module a wire format, each a `Call` that speaks it.

`adapter` finds the one that a model names. A provider's name is tested for nowhere else.
"""

import importlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eai_mcp.calls import Call
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError
from eai_mcp.providers import foreign

if TYPE_CHECKING:
    import httpx2

BUILT_IN = ("anthropic", "bedrock", "gemini", "local", "openai_chat", "openai_responses", "scripted")
# What else has to be there before a provider's models can answer, apart from a key.
NEEDS = {"bedrock": "eai_mcp.providers.bedrock_auth", "local": "eai_mcp.providers.local_status"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What adapters share.

    `client` gives the one HTTP connection pool, made at its first use. `closing` holds what must be ended
    with the server. `cache` is where downloads are kept; `offline` forbids them. `gguf` is a weights file to
    use in place of the shipped default.
    """

    environ: Mapping[str, str] = field(repr=False)
    client: "Callable[[], httpx2.AsyncClient]"
    closing: AsyncExitStack
    cache: Path
    offline: bool = False
    gguf: Path | None = None


class Build(Protocol):
    """What an adapter's module offers under the name `build`."""

    def __call__(self, model: Model, parts: Parts) -> Call: ...


def adapter(model: Model, parts: Parts) -> Call:
    """The call that reaches `model`.

    Raises:
        ConfigError: There is no such provider, or it cannot be used.
    """
    if model.provider in BUILT_IN:
        build: Build = importlib.import_module(f"eai_mcp.providers.{model.provider}").build
        return build(model, parts)
    if ":" in model.provider:
        return foreign.call(model, parts)
    raise ConfigError(
        f"model {model.name!r}: no provider {model.provider!r}; known: {', '.join(BUILT_IN)}, "
        "or module:attribute"
    )


def missing(model: Model, parts: Parts) -> str | None:
    """What has to be done before `model` can answer, None when nothing has to. Asks no one."""
    if model.api_key_env and not parts.environ.get(model.api_key_env):
        return f"{model.api_key_env} is not set"
    if model.provider not in BUILT_IN:
        return foreign.missing(model)
    if model.provider not in NEEDS:
        return None
    found: str | None = importlib.import_module(NEEDS[model.provider]).missing(model, parts)
    return found
