"""A request as an endpoint takes it: the JSON, and of the samplers those that can be said there."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from eai_mcp.calls import ModelRequest, Samplers
from eai_mcp.catalog.entries import Model
from eai_mcp.messages import JsonObject
from eai_mcp.providers.complaints import Complaint


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on the wire, and what the caller should know about it.

    `sent` has the endpoint's field for each sampler that is in `body`, by our name; dots lead into objects.
    `headers` belong to this request.
    """

    body: JsonObject
    sent: Mapping[str, str]
    warnings: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampled:
    """The samplers that can be said: their `values` and their fields (`sent`), both by our names."""

    values: JsonObject
    sent: Mapping[str, str]
    warnings: tuple[str, ...]

    def put_into(self, body: JsonObject) -> None:
        """Set each value at its field."""
        for name, path in self.sent.items():
            *way, last = path.split(".")
            place = body
            for step in way:
                inner = place.setdefault(step, {})
                place = inner if isinstance(inner, dict) else {}
            place[last] = self.values[name]


def sampled(
    request: ModelRequest,
    model: Model,
    fields: Mapping[str, str],
    *,
    refused: frozenset[str],
    elsewhere: Collection[str] = (),
) -> Sampled:
    """The request's samplers over those of the model's file, where `fields` has a place for them.

    `refused` names samplers that the endpoint is known not to take. Of those only what the model's file says
    is left out: the caller's choice is for the endpoint to judge. `elsewhere` names those that the adapter
    says in another way.
    """
    values = _values(request.samplers.over(model.samplers))
    left_out = refused.difference(request.samplers.given())
    sent = {name: path for name, path in fields.items() if name in values and name not in left_out}
    unsent = [name for name in values if name not in sent and name not in elsewhere]
    warnings = tuple(_warning(name, refused=name in left_out) for name in unsent)
    return Sampled({name: values[name] for name in sent}, sent, warnings)


def blamed(said: Complaint, sent: Mapping[str, str]) -> str | None:
    """Our name of the sampler that a rejection is about, None when it is about something else."""
    fields = {name: path.rpartition(".")[2] for name, path in sent.items()}
    named = [name for name, path in sent.items() if said.param in (path, fields[name])]
    named += [name for name, path in sent.items() if said.param.endswith(f".{path}")]
    named += [name for name, path in sent.items() if "." in path and path in said.words]
    named += [name for name, field in fields.items() if _mentions(said.words, field)]
    # A gateway's fields have names of their own, and the model behind it knows the usual ones.
    named += [name for name in sent if _mentions(said.words, name)]
    return named[0] if named else None


def _mentions(words: str, field: str) -> bool:
    # "stop" and "seed" stand in any sentence, so they count in quotes only.
    ordinary = field.islower() and "_" not in field and field != "temperature"
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
