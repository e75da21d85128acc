"""How servers of Chat Completions differ: what we know of some hosts, and what a model's file adds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import pydantic
from pydantic import JsonValue

from eai_mcp.catalog.entries import Model
from eai_mcp.providers import quirks

Extra: TypeAlias = Literal["top_k", "min_p", "repetition_penalty"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Facts about an endpoint.

    max_tokens_field: what it calls the limit of a reply.
    seed_field: what it calls the seed.
    samplers: those it takes beyond OpenAI's own: a list of our names, or a table from our names to its, as in
        {repetition_penalty = "repeat_penalty"}.
    reasoning_back: the field in which it wants to have its own reasoning back.
    think_tags: reasoning comes as <think>…</think> in front of the text.
    usage_option: it can be asked for usage; some refuse the question, and answer it all the same.
    finish_optional: [DONE] is the end, also without a finish_reason.
    mistral_tools: tool ids are nine letters and digits, and a tool's result names the tool.
    key_header: the header for the key, which stands there bare unless it is Authorization.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed_field: str = "seed"
    samplers: tuple[Extra, ...] | dict[Extra, str] = field(default=())
    reasoning_back: Literal["reasoning_content", "reasoning_details"] | None = None
    think_tags: bool = False
    usage_option: bool = True
    finish_optional: bool = False
    mistral_tools: bool = False
    key_header: str = "Authorization"

    @property
    def sampler_fields(self) -> Mapping[str, str]:
        """The endpoint's field for each sampler that it takes, by our name."""
        table = self.samplers if isinstance(self.samplers, dict) else {}
        extra: dict[str, str] = {name: table.get(name, name) for name in self.samplers}
        return {
            "temperature": "temperature",
            "top_p": "top_p",
            "max_tokens": self.max_tokens_field,
            "frequency_penalty": "frequency_penalty",
            "presence_penalty": "presence_penalty",
            "stop_sequences": "stop",
            "seed": self.seed_field,
            "reasoning_effort": "reasoning_effort",
            **extra,
        }


# By domain, subdomains included.
_HOSTS: Mapping[str, dict[str, JsonValue]] = {
    "api.openai.com": {"max_tokens_field": "max_completion_tokens"},
    "openai.azure.com": {"max_tokens_field": "max_completion_tokens", "key_header": "api-key"},
    "api.mistral.ai": {"seed_field": "random_seed", "usage_option": False, "mistral_tools": True},
    "openrouter.ai": {
        "samplers": ["top_k", "min_p", "repetition_penalty"],
        "reasoning_back": "reasoning_details",
    },
    "api.deepseek.com": {"reasoning_back": "reasoning_content"},
    "api.z.ai": {"reasoning_back": "reasoning_content"},
    "api.moonshot.ai": {"reasoning_back": "reasoning_content"},
    "api.moonshot.cn": {"reasoning_back": "reasoning_content"},
    "snowflakecomputing.com": {"finish_optional": True},
}


def quirks_of(model: Model, host: str) -> Quirks:
    """What is known of the host, with the model's own quirks on top.

    Raises:
        ConfigError: A quirk of the model is unknown, or has a wrong value.
    """
    return quirks.checked(model, Quirks, quirks.of_host(_HOSTS, host))
