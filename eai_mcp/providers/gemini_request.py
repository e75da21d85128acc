"""Our request as the JSON of a Gemini request."""

from collections.abc import Mapping
from dataclasses import replace

from eai_mcp.calls import Effort, ModelRequest, Samplers, ToolSpec
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import JsonObject
from eai_mcp.providers.asking import Asked, Sampled, sampled
from eai_mcp.providers.gemini_messages import wire_contents
from eai_mcp.providers.gemini_quirks import Quirks

LEVELS: Mapping[Effort, str] = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
BUDGETS: Mapping[Effort, int] = {
    "none": 0,
    "minimal": 512,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Tokens of thinking by effort, within what every model that is told so takes."""


def asked(request: ModelRequest, model: Model, quirks: Quirks, *, refused: frozenset[str]) -> Asked:
    """The request as the endpoint takes it; `refused` names samplers that it is known not to take."""
    merged = request.samplers.over(model.samplers)
    is_needless = quirks.thinking == "none" and merged.reasoning_effort == "none"
    elsewhere = ("reasoning_effort",) if is_needless else ()
    samplers = sampled(request, model, quirks.sampler_fields, refused=refused, elsewhere=elsewhere)
    body: JsonObject = {}
    if request.system:
        body["systemInstruction"] = {"parts": [{"text": request.system}]}
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_tool(spec) for spec in request.tools]}]
    body["contents"] = wire_contents(request, model, quirks)
    effort = merged.reasoning_effort if "reasoning_effort" in samplers.sent else None
    if effort is None:
        samplers.put_into(body)
        return Asked(body, samplers.sent, samplers.warnings)
    _with_thinking(samplers, _thinking(effort, quirks, merged)).put_into(body)
    return Asked(body, samplers.sent, (*samplers.warnings, *_weakened(effort, quirks)))


def _tool(spec: ToolSpec) -> JsonObject:
    described: JsonObject = {"description": spec.description} if spec.description else {}
    # The older field `parameters` knows a part of JSON Schema only, and refuses the rest.
    schema: JsonObject = {"type": "object", **spec.parameters}
    return {"name": spec.name, **described, "parametersJsonSchema": schema}


def _with_thinking(samplers: Sampled, config: JsonObject) -> Sampled:
    return replace(
        samplers,
        values={**samplers.values, "reasoning_effort": config},
        sent={**samplers.sent, "reasoning_effort": "generationConfig.thinkingConfig"},
    )


def _thinking(effort: Effort, quirks: Quirks, merged: Samplers) -> JsonObject:
    heard: JsonObject = {} if effort == "none" else {"includeThoughts": True}
    if quirks.thinking == "level":
        return {"thinkingLevel": LEVELS[effort], **heard}
    if effort == "none" and not quirks.can_disable_thinking:
        effort = "minimal"
    budget = BUDGETS[effort]
    if merged.max_tokens is not None:
        # The limit of a reply includes its thoughts, and the words need some of it.
        budget = min(budget, max(BUDGETS["minimal"], merged.max_tokens * 3 // 4))
    return {"thinkingBudget": budget, **heard}


def _weakened(effort: Effort, quirks: Quirks) -> tuple[str, ...]:
    if effort != "none" or (quirks.thinking == "budget" and quirks.can_disable_thinking):
        return ()
    return ("reasoning_effort none was sent as minimal: this model cannot be told not to think",)
