"""Our request as the JSON of an Anthropic Messages request, and its headers."""

from dataclasses import replace

from eai_mcp.calls import Effort, ModelRequest, ToolSpec
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError, InvalidArgument
from eai_mcp.messages import JsonObject
from eai_mcp.providers.anthropic_messages import lacks_thought, wire_messages, wire_system
from eai_mcp.providers.anthropic_quirks import Quirks
from eai_mcp.providers.anthropic_thinking import Thinking, ruled_out, thinking
from eai_mcp.providers.asking import Asked, sampled

VERSION = "2023-06-01"


def asked(request: ModelRequest, model: Model, quirks: Quirks, *, refused: frozenset[str]) -> Asked:
    """The request as the endpoint takes it; `refused` names samplers that it is known not to take.

    Raises:
        InvalidArgument: The caller names a beta that cannot be one.
        ConfigError: The model's file does.
    """
    messages = wire_messages(request, model, marked=quirks.cache)
    # Within a budget a model goes on with thoughts of its own only.
    begun = quirks.thinking == "budget" and lacks_thought(messages)
    out = ruled_out(request.samplers, model.samplers, quirks, refused, begun_without=begun)
    fields = {name: path for name, path in quirks.sampler_fields.items() if name not in out}
    elsewhere = {"anthropic_beta", *out, *_needless(request, model, quirks)}
    samplers = sampled(request, model, fields, refused=refused, elsewhere=elsewhere)
    thought = _thought(request, model, quirks, is_said="reasoning_effort" in samplers.sent)
    body: JsonObject = {"model": model.model}
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
    if system := wire_system(request.system, marked=quirks.cache):
        body["system"] = system
    body["messages"] = messages
    body["max_tokens"] = quirks.max_tokens_default + thought.room
    plain = {name: path for name, path in samplers.sent.items() if name != "reasoning_effort"}
    replace(samplers, sent=plain).put_into(body)
    body |= thought.body
    body["stream"] = True
    headers, unsent = _headers(request, model)
    warnings = (*samplers.warnings, *out.values(), *thought.warnings, *unsent)
    return Asked(body, samplers.sent, warnings, headers)


def _needless(request: ModelRequest, model: Model, quirks: Quirks) -> tuple[str, ...]:
    effort = request.samplers.over(model.samplers).reasoning_effort
    return ("reasoning_effort",) if quirks.thinking == "none" and effort == "none" else ()


def _thought(request: ModelRequest, model: Model, quirks: Quirks, *, is_said: bool) -> Thinking:
    merged = request.samplers.over(model.samplers)
    effort: Effort | None = merged.reasoning_effort if is_said else None
    return Thinking({}) if effort is None else thinking(effort, quirks, max_tokens=merged.max_tokens)


def _headers(request: ModelRequest, model: Model) -> tuple[dict[str, str], tuple[str, ...]]:
    """The headers of the request, and a warning if the model's file stands in the way of one."""
    headers = {"anthropic-version": VERSION}
    betas = request.samplers.over(model.samplers).anthropic_beta or ()
    for beta in betas:
        if not beta or "," in beta or not beta.isascii() or not beta.isprintable() or beta != beta.strip():
            raise _no_beta(request, model, beta)
    if not betas:
        return headers, ()
    if "anthropic-beta" in map(str.lower, model.headers):
        return headers, ("anthropic_beta was not sent: the headers of the model's file set it",)
    return {**headers, "anthropic-beta": ", ".join(dict.fromkeys(betas))}, ()


def _no_beta(request: ModelRequest, model: Model, beta: str) -> InvalidArgument | ConfigError:
    sentence = f"{beta[:80]!r} cannot be the name of a beta; give each one alone, in printable ASCII"
    if request.samplers.anthropic_beta is None:
        return ConfigError(f"model {model.name!r}: samplers.anthropic_beta: {sentence}")
    return InvalidArgument(f"anthropic_beta: {sentence}", field="anthropic_beta")


def _tool(spec: ToolSpec) -> JsonObject:
    described: JsonObject = {"description": spec.description} if spec.description else {}
    # The endpoint wants the type of the root to be said.
    schema: JsonObject = {"type": "object", **spec.parameters}
    return {"name": spec.name, **described, "input_schema": schema}
