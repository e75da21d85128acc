"""Our request as the JSON of a Chat Completions request."""

from eai_mcp.calls import ModelRequest, ToolSpec
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import JsonObject
from eai_mcp.providers.asking import Asked, sampled
from eai_mcp.providers.openai_chat_messages import wire_messages
from eai_mcp.providers.openai_chat_quirks import Quirks


def asked(request: ModelRequest, model: Model, quirks: Quirks, *, refused: frozenset[str]) -> Asked:
    """The request as the endpoint takes it; `refused` names samplers that it is known not to take."""
    samplers = sampled(request, model, quirks.sampler_fields, refused=refused)
    body: JsonObject = {"model": model.model, "messages": wire_messages(request, model, quirks)}
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
    samplers.put_into(body)
    body["stream"] = True
    if quirks.usage_option:
        body["stream_options"] = {"include_usage": True}
    return Asked(body, samplers.sent, samplers.warnings)


def _tool(spec: ToolSpec) -> JsonObject:
    function: JsonObject = {
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
    }
    return {"type": "function", "function": function}
