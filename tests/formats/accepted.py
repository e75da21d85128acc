"""What the vendors' own request types say about an export."""

import base64
import functools
import re
from typing import Any

import botocore.session  # type: ignore[import-untyped]  # it has no types
import botocore.validate  # type: ignore[import-untyped]  # it has no types
import pydantic
from pydantic import JsonValue


def by_type(kind, elements: list[Any]) -> None:
    """The elements are of the SDK's type, down to the last field, and say nothing that it would drop.

    Pydantic looks at an `Iterable` only when somebody takes what is in it, and leaves out unknown fields.
    """
    for element in elements:
        assert _taken(_adapter(kind).validate_python(element)) == element


def by_service_model(messages: list[Any]) -> None:
    """The messages are of the shape that boto3's model of Converse asks for, its enums and patterns too."""
    shape = _converse().members["messages"]
    raw = [_with_bytes(message) for message in messages]
    assert botocore.validate.ParamValidator().validate(raw, shape).generate_report() == ""
    _strings(raw, shape)


def _taken(value):
    if isinstance(value, dict):
        return {key: _taken(inner) for key, inner in value.items()}
    if isinstance(value, str | int | float | None):
        return value
    return [_taken(inner) for inner in value]


@functools.cache
def _adapter(kind) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


@functools.cache
def _converse():
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    return model.operation_model("Converse").input_shape


def _with_bytes(value: JsonValue, name: str = ""):
    """As boto3 takes it: data is bytes, not base64."""
    if isinstance(value, dict):
        return {key: _with_bytes(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_bytes(inner) for inner in value]
    return base64.b64decode(value, validate=True) if name == "bytes" and isinstance(value, str) else value


def _strings(value, shape) -> None:
    """What boto3 leaves to the service: which texts are allowed."""
    match shape.type_name:
        case "structure" if not shape.metadata.get("document"):
            for key, inner in value.items():
                _strings(inner, shape.members[key])
        case "list":
            for inner in value:
                _strings(inner, shape.member)
        case "string":
            assert not shape.enum or value in shape.enum
            assert re.fullmatch(shape.metadata.get("pattern", "(?s).*"), value)
            assert shape.metadata.get("min", 0) <= len(value) <= shape.metadata.get("max", len(value))
        case _:
            pass  # boto3 has looked at it
