"""How the models behind Bedrock differ, which one request format does not hide: what a model's file says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pydantic

from eai_mcp.catalog.entries import Model
from eai_mcp.providers import quirks

CachePlace: TypeAlias = Literal["system", "tools", "messages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Facts about a model.

    region: the AWS region that serves it, where base_url does not name one.
    top_k_field: what it calls top_k; dots lead into objects, and an empty name means that it has none.
    reasoning: how it is told to think: "adaptive" (thinking of its own measure, with an effort), "budget"
        (thinking of so many tokens) or "effort" (a field by the name in effort_field).
    reasoning_back: it takes its own reasoning back, as most do and some refuse.
    anthropic: it is one of Anthropic's, and so knows anthropic_beta.
    cache: mark what is worth caching: everywhere, or in the places of a list.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    region: str = ""
    top_k_field: str = "top_k"
    reasoning: Literal["adaptive", "budget", "effort"] | None = None
    effort_field: str = "reasoning_effort"
    reasoning_back: bool = True
    anthropic: bool = False
    cache: bool | tuple[CachePlace, ...] = False

    @property
    def sampler_fields(self) -> Mapping[str, str]:
        """The field of the request for each sampler that the model takes, by our name; not for its effort."""
        fields = {
            "max_tokens": "inferenceConfig.maxTokens",
            "temperature": "inferenceConfig.temperature",
            "top_p": "inferenceConfig.topP",
            "stop_sequences": "inferenceConfig.stopSequences",
        }
        if self.top_k_field:
            fields["top_k"] = f"additionalModelRequestFields.{self.top_k_field}"
        if self.anthropic:
            fields["anthropic_beta"] = "additionalModelRequestFields.anthropic_beta"
        return fields

    def caches(self, place: CachePlace) -> bool:
        """Whether the end of this part of the request is marked."""
        return self.cache if isinstance(self.cache, bool) else place in self.cache


def quirks_of(model: Model) -> Quirks:
    """The quirks in the model's file.

    Raises:
        ConfigError: One is unknown, or has a wrong value.
    """
    return quirks.checked(model, Quirks)
