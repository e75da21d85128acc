"""A tool of the chat model, and how its arguments are told and checked.

Loaded with the first tool that a turn may use: pydantic's models cost time.
"""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import pydantic
from pydantic import JsonValue

from eai_mcp.calls import ToolSpec
from eai_mcp.chat.toolbox.use import Told, Use
from eai_mcp.errors import InvalidArgument
from eai_mcp.messages import JsonObject
from eai_mcp.wire import INVALID_JSON


class Arguments(pydantic.BaseModel):
    """The arguments of a tool; one that it does not know is a mistake, for models make names up."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, kw_only=True)
class Tool(Generic[A]):
    """A tool by the name that the model says. `shown` is what a person has to allow, None for all arguments.

    `parameters` is a JSON Schema to tell the model, None for that of the `arguments`.
    """

    name: str
    description: str
    arguments: type[A]
    run: Callable[[A, Use], Awaitable[Told]]
    shown: Callable[[A, Use], str] | None = None
    parameters: JsonObject | None = None

    @functools.cached_property
    def spec(self) -> ToolSpec:
        """The tool as a model is told of it."""
        schema = _schema(self.arguments) if self.parameters is None else self.parameters
        return ToolSpec(self.name, self.description, schema)

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
