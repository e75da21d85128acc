"""What OpenTelemetry calls the things that facts tell of.

Names that begin with `gen_ai.` are those of its GenAI conventions. Where those have none, ours begin with
`eai.`.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from eai_mcp.observe import Fact, Value

Attributes: TypeAlias = dict[str, str | int | float | bool | Sequence[str]]

PROVIDERS: Mapping[str, str] = {
    "openai_chat": "openai",
    "openai_responses": "openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
}
FINISH_REASONS: Mapping[str, str] = {"end": "stop", "tools": "tool_call", "refusal": "content_filter"}
NAMES: Mapping[str, str] = {
    "model": "eai.model",
    "metadata": "eai.metadata",
    "messages": "eai.messages",
    "tools": "eai.tools",
    "attempt": "eai.attempt",
    "attempts": "eai.attempts",
    "served_by": "eai.served_by",
    "cost_usd": "eai.cost_usd",
    "from": "eai.fallback.from",
    "to": "eai.fallback.to",
    "name": "gen_ai.tool.name",
    "wire_model": "gen_ai.request.model",
    "first_chunk_s": "gen_ai.response.time_to_first_chunk",
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
    "status": "http.response.status_code",
    "code": "error.type",
}


def attributes(fact: Fact, *names: str) -> Attributes:
    """The fact's fields of those names as attributes; what is not known is left out."""
    found: Attributes = {}
    for name in names:
        value = fact.fields.get(name)
        if value is None:
            continue
        if name == "provider":
            found["gen_ai.provider.name"] = PROVIDERS.get(str(value), value)
        elif name == "stop":
            found["gen_ai.response.finish_reasons"] = (FINISH_REASONS.get(str(value), str(value)),)
        else:
            found[NAMES[name]] = value
    return found


def ids(fact: Fact) -> Attributes:
    """Which session, turn and request a fact is of."""
    known = {
        "gen_ai.conversation.id": fact.session,
        "eai.turn_id": fact.turn_id,
        "eai.request_id": fact.request_id,
    }
    return {name: text for name, text in known.items() if text}


def number(value: Value) -> float:
    """What can be measured or added up; 0 for what cannot."""
    return value if isinstance(value, int | float) else 0
