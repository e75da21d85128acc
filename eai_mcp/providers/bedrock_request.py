"""Our request as the JSON of a ConverseStream request."""

from collections.abc import Mapping

from pydantic import JsonValue

from eai_mcp.calls import Effort, ModelRequest, Samplers, ToolSpec
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import JsonObject
from eai_mcp.providers.asking import Asked, Sampled, sampled
from eai_mcp.providers.bedrock_messages import CACHE_POINT, Transcript
from eai_mcp.providers.bedrock_quirks import Quirks

ACCEPT = "application/vnd.amazon.eventstream"

LEAST_BUDGET = 1024
"""Tokens of thinking, fewer of which are refused."""

_BUDGETS: Mapping[Effort, int] = {
    "minimal": LEAST_BUDGET,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 24_576,
    "max": 32_768,
}
_THINKING = "additionalModelRequestFields.thinking"


def asked(request: ModelRequest, model: Model, quirks: Quirks, *, refused: frozenset[str]) -> Asked:
    """The request as the endpoint takes it; `refused` names samplers that it is known not to take."""
    chosen = request.samplers.over(model.samplers)
    thinking = _thinking(chosen, quirks)
    effort = {"reasoning_effort": next(iter(thinking))} if thinking else {}
    no_room = quirks.reasoning == "budget" and chosen.reasoning_effort is not None and not thinking
    samplers = sampled(
        request,
        model,
        {**quirks.sampler_fields, **effort},
        refused=refused,
        elsewhere=("reasoning_effort",) if no_room else (),
    )
    body = _conversation(request, model, quirks)
    samplers.put_into(body)
    if "reasoning_effort" in samplers.sent:
        Sampled(thinking, {path: path for path in thinking}, ()).put_into(body)
    warnings = samplers.warnings + ((_NO_ROOM,) if no_room else ())
    return Asked(body, samplers.sent, warnings, {"Accept": ACCEPT})


_NO_ROOM = (
    f"reasoning_effort was not sent: max_tokens leaves no room for {LEAST_BUDGET} tokens of thinking, the "
    "least that can be asked for"
)


def _conversation(request: ModelRequest, model: Model, quirks: Quirks) -> JsonObject:
    transcript = Transcript(request, model=model.model, reasoning_back=quirks.reasoning_back)
    body: JsonObject = {"messages": transcript.messages(marked=quirks.caches("messages"))}
    if request.system and request.system.strip():
        mark = [CACHE_POINT] if quirks.caches("system") else []
        body["system"] = [{"text": request.system}, *mark]
    tools = [_tool(spec) for spec in request.tools]
    if not tools and transcript.has_tool_blocks:
        # A history with tools in it is refused unless the request has some too.
        tools = [_tool(_stand_in(name)) for name in transcript.tools or ("_",)]
    if tools:
        mark = [CACHE_POINT] if quirks.caches("tools") else []
        body["toolConfig"] = {"tools": [*tools, *mark]}
    return body


def _tool(spec: ToolSpec) -> JsonObject:
    tool: JsonObject = {"name": spec.name}
    if spec.description:
        tool["description"] = spec.description
    tool["inputSchema"] = {"json": spec.parameters}
    return {"toolSpec": tool}


def _stand_in(name: str) -> ToolSpec:
    return ToolSpec(name, "Was used earlier, and is not there any more.", {"type": "object"})


def _thinking(chosen: Samplers, quirks: Quirks) -> JsonObject:
    """What says how hard to think, by its path in the request; empty if it cannot be said."""
    effort = chosen.reasoning_effort
    if effort is None or quirks.reasoning is None:
        return {}
    if quirks.reasoning == "effort":
        return {f"additionalModelRequestFields.{quirks.effort_field}": effort}
    if effort == "none":
        return {_THINKING: {"type": "disabled"}}
    if quirks.reasoning == "adaptive":
        return {
            "outputConfig.effort": "low" if effort == "minimal" else effort,
            _THINKING: {"type": "adaptive"},
        }
    return _budgeted(effort, chosen.max_tokens)


def _budgeted(effort: Effort, max_tokens: int | None) -> JsonObject:
    """A part of the whole reply, which has to be longer than its thinking."""
    budget: JsonValue = _BUDGETS[effort]
    if max_tokens is not None:
        if max_tokens <= LEAST_BUDGET:
            return {}
        budget = min(_BUDGETS[effort], max(LEAST_BUDGET, max_tokens // 2))
    return {_THINKING: {"type": "enabled", "budget_tokens": budget}}
