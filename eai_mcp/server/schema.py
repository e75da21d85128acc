"""JSON Schemas as a model should see them: small, and without what only a validator needs.

A limit that nobody meets is checked all the same, but not shown; what a caller sends too much of is told in
the error.
"""

import functools
from typing import Any, TypeAlias

import pydantic

Schema: TypeAlias = dict[str, Any]
LARGE = 1_000_000
"""A limit above this is there to keep us from harm, not to guide a caller."""


def of_arguments(arguments: type[pydantic.BaseModel]) -> Schema:
    """The input schema of a tool."""
    shown: Schema = _shown(_compact(arguments.model_json_schema()))
    return shown


@functools.cache
def adapter(result: type) -> pydantic.TypeAdapter[Any]:
    """The adapter of a result's type; building one is dear, so each is built once."""
    return pydantic.TypeAdapter(result)


def of_result(result: type) -> Schema:
    """The output schema of a tool.

    It demands nothing and forbids nothing, since an error takes the result's place: clients on version 1 of
    the TypeScript SDK refuse a result that does not meet the schema, errors too.
    """
    schema = _compact(adapter(result).json_schema())
    lenient: Schema = _without(schema, "required", "additionalProperties")
    for told in lenient["properties"].values():
        _close(told)
    return lenient


def _shown(node: Any) -> Any:
    """The node without limits that nobody meets, and without what another of its words says already."""
    if isinstance(node, list):
        return [_shown(item) for item in node]
    if not isinstance(node, dict):
        return node
    shown: Schema = {}
    for key, value in node.items():
        if key == "properties":
            shown[key] = {name: _shown(field) for name, field in value.items()}
        elif not _says_nothing(key, value):
            shown[key] = _shown(value)
    return shown


def _says_nothing(key: str, value: object) -> bool:
    match key:
        case "maxLength" | "minLength" | "maxItems" | "exclusiveMaximum":
            return True
        case "maximum":
            return isinstance(value, int) and value > LARGE
        case "minimum":
            return value in (0, 1)  # nobody would ask for less
        case "exclusiveMinimum":
            return value == 0
        case "default":
            return value in ("", 0)
        case "additionalProperties":
            return not value  # all our objects are closed: an unknown name is told in the error
        case _:
            return value == {}


def _close(told: Schema) -> None:
    """Say of an object within the result only that it is one, and of a list if it is one of objects."""
    told.pop("properties", None)
    if told.get("items", {}).get("type") == "object":
        told["items"] = {"type": "object"}
    else:
        told.pop("items", None)


def _compact(schema: Schema) -> Schema:
    definitions = schema.pop("$defs", {})
    compact: Schema = _walk(schema, definitions)
    compact.pop("description", None)  # the docstring of our class; the tool has its own description
    return compact


def _walk(node: Any, definitions: Schema) -> Any:
    """The node with `$ref`s put in place, and without what says nothing: titles, nulls, "anything more"."""
    if isinstance(node, list):
        return [_walk(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _walk({key: value for key, value in target.items() if key != "description"}, definitions)
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return _walk({**choices[0], **rest}, definitions)
    nothing: Schema = {"default": None, "additionalProperties": {}}
    kept = {key: value for key, value in node.items() if not (key in nothing and nothing[key] == value)}
    return {
        key: {name: _walk(field, definitions) for name, field in value.items()}
        if key == "properties"
        else _walk(choices if key == "anyOf" else value, definitions)
        for key, value in kept.items()
        if not (key == "title" and isinstance(value, str))
    }


def _without(node: Any, *keys: str) -> Any:
    if isinstance(node, list):
        return [_without(item, *keys) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {name: _without(field, *keys) for name, field in value.items()}
        if key == "properties"
        else _without(value, *keys)
        for key, value in node.items()
        if key not in keys
    }
