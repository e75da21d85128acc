"""JSON Schemas as a model should see them: small, and without what only a validator needs."""

import functools
from typing import Any, TypeAlias

import pydantic

Schema: TypeAlias = dict[str, Any]


def of_arguments(arguments: type[pydantic.BaseModel]) -> Schema:
    """The input schema of a tool."""
    return _compact(arguments.model_json_schema())


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
    return lenient


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
