"""How models and servers of Anthropic Messages differ: what a model's file says about its own.

The models of one key differ by generation, so a host's name says nothing about them. In short, for Claude:

    up to 4.5, Haiku 4.5   thinking = "budget"
    4.6                    the defaults
    4.7 to 5, Haiku 5.5    samplers = []
    5.5 and later          samplers = [], can_disable_thinking = false; Sonnet also between_tools = true
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import pydantic

from eai_mcp.catalog.entries import Model
from eai_mcp.providers import quirks

Choice: TypeAlias = Literal["temperature", "top_p", "top_k"]

MAX_TOKENS = 8192
"""Tokens of a reply for which nobody chose a limit: more than most need, and what every model allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Facts about a model and its endpoint.

    max_tokens_default: the limit of a reply where none is chosen, since the endpoint insists on one; with
        reasoning_effort room for the reasoning is added.
    samplers: those of temperature, top_p and top_k that the model takes.
    exclusive_samplers: temperature goes neither with top_p nor, unless it is 1, with thinking; nor do top_k
        and a top_p below 0.95 go with thinking.
    thinking: how the model is told to think: as much as it sees fit ("adaptive"), within so many tokens
        ("budget"), or not at all ("none").
    can_disable_thinking: it can be told not to think.
    between_tools: where it cannot, it can be told to think between tools only.
    cache: the prompt is marked for the endpoint's cache.
    key_header: the header for the key, which stands there bare unless it is Authorization.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    max_tokens_default: Annotated[int, pydantic.Field(gt=0)] = MAX_TOKENS
    samplers: tuple[Choice, ...] = ("temperature", "top_p", "top_k")
    exclusive_samplers: bool = True
    thinking: Literal["adaptive", "budget", "none"] = "adaptive"
    can_disable_thinking: bool = True
    between_tools: bool = False
    cache: bool = True
    key_header: str = "x-api-key"

    @property
    def sampler_fields(self) -> Mapping[str, str]:
        """The endpoint's field for each sampler that it takes, by our name."""
        efforts = {"adaptive": "output_config.effort", "budget": "thinking.budget_tokens"}
        effort = {"reasoning_effort": efforts[self.thinking]} if self.thinking in efforts else {}
        taken = {name: name for name in self.samplers}
        return {**taken, "max_tokens": "max_tokens", "stop_sequences": "stop_sequences", **effort}


def quirks_of(model: Model) -> Quirks:
    """What the model's file says, checked.

    Raises:
        ConfigError: A quirk is unknown, or has a wrong value.
    """
    return quirks.checked(model, Quirks)
