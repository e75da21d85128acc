"""How models and servers of Responses differ: what a model's file says, and the one host that we know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pydantic
from pydantic import JsonValue

from eai_mcp.catalog.entries import Model
from eai_mcp.providers import quirks


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Facts about a model and its endpoint.

    reasoning_summary: how much of its reasoning the model should tell. OpenAI's tell nothing unless asked,
        and then only to organisations that OpenAI has verified.
    key_header: the header for the key, which stands there bare unless it is Authorization.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    reasoning_summary: Literal["auto", "concise", "detailed"] | None = None
    key_header: str = "Authorization"


# By domain, subdomains included.
_HOSTS: Mapping[str, dict[str, JsonValue]] = {"openai.azure.com": {"key_header": "api-key"}}


def quirks_of(model: Model, host: str) -> Quirks:
    """What is known of the host, with the model's own quirks on top.

    Raises:
        ConfigError: A quirk of the model is unknown, or has a wrong value.
    """
    return quirks.checked(model, Quirks, quirks.of_host(_HOSTS, host))
