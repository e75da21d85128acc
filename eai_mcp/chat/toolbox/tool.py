"""A tool of the chat model, and what it is told of the turn that uses it."""

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import pydantic
from pydantic import JsonValue

from eai_mcp.calls import ToolSpec
from eai_mcp.chat.toolbox.kit import Kit
from eai_mcp.errors import InvalidArgument
from eai_mcp.messages import JsonObject, TextBlock
from eai_mcp.middleware import ToolOutcome, ToolRun
from eai_mcp.wire import INVALID_JSON

if TYPE_CHECKING:
    from eai_mcp.store import Claim

Told: TypeAlias = ToolOutcome | JsonObject
"""What a tool says: blocks, or an object that the model reads as JSON."""


class Arguments(pydantic.BaseModel):
    """The arguments of a tool; one that it does not know is a mistake, for models make names up."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of a tool: the turn that it is in, and what the turn's tools share."""

    claim: "Claim"
    run: ToolRun
    kit: Kit


@dataclass(frozen=True, kw_only=True)
class Tool(Generic[A]):
    """A tool by the name that the model says. `shown` is the exact thing that a person has to allow."""

    name: str
    description: str
    arguments: type[A]
    run: Callable[[A, Use], Awaitable[Told]]
    shown: Callable[[A], str] | None = None

    @functools.cached_property
    def spec(self) -> ToolSpec:
        """The tool as a model is told of it."""
        return ToolSpec(self.name, self.description, _schema(self.arguments))

    def given(self, said: JsonObject) -> A:
        """The arguments that the model sent, checked.

        Raises:
            InvalidArgument: They are no JSON, or wrong; the message says which and how.
        """
        if said.keys() == {INVALID_JSON}:
            raise InvalidArgument("the arguments are not a JSON object; send them again", field="arguments")
        try:
            return self.arguments.model_validate(said)
        except pydantic.ValidationError as error:
            wrong = [_mistake(one["loc"], one["msg"]) for one in error.errors(include_url=False)[:5]]
            known = ", ".join(self.arguments.model_fields) or "none"
            raise InvalidArgument(f"{'; '.join(wrong)} (arguments: {known})", field="arguments") from error


def outcome(told: Told) -> ToolOutcome:
    """What a tool said, as the model reads it."""
    if isinstance(told, ToolOutcome):
        return told
    return ToolOutcome((TextBlock(json.dumps(told, ensure_ascii=False)),))


def failure(reason: str) -> ToolOutcome:
    """The outcome of a tool that came to nothing."""
    return ToolOutcome((TextBlock(reason),), failed=True)


def _mistake(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(map(str, place))
    return f"{where}: {message}" if where else message


def _schema(arguments: type[Arguments]) -> JsonObject:
    """The JSON Schema without what says nothing to a model and only costs tokens."""
    schema = _plain(arguments.model_json_schema())
    assert isinstance(schema, dict)
    schema.pop("description", None)
    return {"type": "object", "properties": {}, **schema}


def _plain(value: JsonValue, *, are_names: bool = False) -> JsonValue:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept: JsonObject = {name: _plain(one, are_names=name == "properties") for name, one in value.items()}
    if are_names:
        return kept
    for name in ("title", "additionalProperties"):
        kept.pop(name, None)
    if "default" in kept and kept["default"] is None:
        del kept["default"]
    choices = kept.get("anyOf")
    real = [one for one in choices if one != {"type": "null"}] if isinstance(choices, list) else []
    if len(real) == 1 and isinstance(real[0], dict):  # an argument may be left out anyway
        del kept["anyOf"]
        kept = {**real[0], **kept}
    return kept
