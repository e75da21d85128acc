"""Our request as the JSON of a Responses request."""

from collections.abc import Mapping

from eai_mcp import wire
from eai_mcp.calls import ModelRequest, ToolSpec
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import JsonObject
from eai_mcp.providers.asking import Asked, sampled
from eai_mcp.providers.openai_responses_messages import wire_input
from eai_mcp.providers.openai_responses_quirks import Quirks

_FIELDS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
}


def asked(request: ModelRequest, model: Model, quirks: Quirks, *, refused: frozenset[str]) -> Asked:
    """The request as the endpoint takes it; `refused` names samplers that it is known not to take."""
    samplers = sampled(request, model, _FIELDS, refused=refused)
    sent = dict(samplers.sent)
    body: JsonObject = {"model": model.model}
    if request.system:
        body["instructions"] = request.system
    body["input"] = wire_input(request, model)
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
    samplers.put_into(body)
    # These two are no samplers, but are as easily done without: models that do not reason refuse them.
    if quirks.reasoning_summary and "reasoning_summary" not in refused:
        body["reasoning"] = {**wire.fields(body.get("reasoning")), "summary": quirks.reasoning_summary}
        sent["reasoning_summary"] = "reasoning.summary"
    if "include" not in refused:
        body["include"] = ["reasoning.encrypted_content"]
        sent["include"] = "include"
    body["store"] = False
    body["stream"] = True
    return Asked(body, sent, samplers.warnings)


def _tool(spec: ToolSpec) -> JsonObject:
    return {
        "type": "function",
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
        # Left out it means true here, and then a schema with an optional field is changed or refused.
        "strict": False,
    }
