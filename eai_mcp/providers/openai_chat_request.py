"""Our request as the JSON of a Chat Completions request."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from eai_mcp.calls import ModelRequest, Samplers, ToolSpec
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import JsonObject
from eai_mcp.providers.complaints import Complaint
from eai_mcp.providers.openai_chat_messages import wire_messages
from eai_mcp.providers.openai_chat_quirks import Quirks


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on the wire, and what the caller should know about it.

    `sent` has the endpoint's field for each sampler that is in `body`, by our name.
    """

    body: JsonObject
    sent: Mapping[str, str]
    warnings: tuple[str, ...]


def asked(request: ModelRequest, model: Model, quirks: Quirks, *, refused: frozenset[str]) -> Asked:
    """The request as the endpoint takes it; `refused` names samplers that it is known not to take.

    Of those only what the model's file says is left out: the caller's choice is for the endpoint to judge.
    """
    values = _values(request.samplers.over(model.samplers))
    left_out = refused.difference(request.samplers.given())
    sent = {n: field for n, field in quirks.sampler_fields.items() if n in values and n not in left_out}
    body: JsonObject = {"model": model.model, "messages": wire_messages(request, model, quirks)}
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
    body |= {field: values[name] for name, field in sent.items()}
    body["stream"] = True
    if quirks.usage_option:
        body["stream_options"] = {"include_usage": True}
    unsent = [name for name in values if name not in sent]
    return Asked(body, sent, tuple(_warning(name, refused=name in left_out) for name in unsent))


def blamed(said: Complaint, sent: Mapping[str, str]) -> str | None:
    """Our name of the sampler that a rejection is about, None when it is about something else."""
    named = [name for name, field in sent.items() if field == said.param]
    named += [name for name, field in sent.items() if _mentions(said.words, field)]
    return named[0] if named else None


def _mentions(words: str, field: str) -> bool:
    # "stop" and "seed" stand in any sentence, so they count in quotes only.
    ordinary = "_" not in field and field != "temperature"
    return re.search(rf"['\"`]{field}['\"`]" if ordinary else rf"\b{field}\b", words) is not None


def _values(samplers: Samplers) -> JsonObject:
    """Those that are given. To stop at no sequence is to say nothing, and an empty list is refused."""
    values: JsonObject = {}
    for name in samplers.given():
        value = getattr(samplers, name)
        if value != ():
            values[name] = list(value) if isinstance(value, tuple) else value
    return values


def _warning(name: str, *, refused: bool) -> str:
    if refused:
        return f"{name} was not sent: this endpoint refuses the {name} of the model's file"
    return f"{name} was not sent: this endpoint does not take it"


def _tool(spec: ToolSpec) -> JsonObject:
    function: JsonObject = {
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
    }
    return {"type": "function", "function": function}
