"""How models and endpoints of Gemini differ: what a model's file says about its own.

2.5             thinking = "budget"; Pro also can_disable_thinking = false
3 and later     the defaults
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pydantic

from eai_mcp.catalog.entries import Model
from eai_mcp.providers import quirks

Choice: TypeAlias = Literal["temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty"]

_FIELDS: Mapping[Choice, str] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_EFFORTS = {"level": "thinkingLevel", "budget": "thinkingBudget"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Facts about a model and its endpoint.

    thinking: how the model is told to think: in steps ("level"), within so many tokens ("budget"), or not at
        all ("none").
    can_disable_thinking: within a budget, it can be told not to think.
    samplers: those of temperature, top_p, top_k, seed and the two penalties that the model takes.
    media_in_results: a tool's result may hold pictures and files; else they follow it.
    key_header: the header for the key, which stands there bare unless it is Authorization.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    thinking: Literal["level", "budget", "none"] = "level"
    can_disable_thinking: bool = True
    samplers: tuple[Choice, ...] = tuple(_FIELDS)
    media_in_results: bool = False
    key_header: str = "x-goog-api-key"

    @property
    def sampler_fields(self) -> Mapping[str, str]:
        """The endpoint's field for each sampler that it takes, by our name."""
        taken: dict[str, str] = {name: _FIELDS[name] for name in self.samplers}
        taken |= {"max_tokens": "maxOutputTokens", "stop_sequences": "stopSequences"}
        if self.thinking in _EFFORTS:
            taken["reasoning_effort"] = f"thinkingConfig.{_EFFORTS[self.thinking]}"
        return {name: f"generationConfig.{field}" for name, field in taken.items()}


def quirks_of(model: Model) -> Quirks:
    """What the model's file says, checked.

    Raises:
        ConfigError: A quirk is unknown, or has a wrong value.
    """
    return quirks.checked(model, Quirks)
