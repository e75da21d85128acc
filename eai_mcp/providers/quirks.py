"""What a model's file says of its endpoint, checked: each adapter has a class of the facts it knows."""

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic
from pydantic import JsonValue

from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError

Q = TypeVar("Q")


def checked(model: Model, kind: type[Q], known: Mapping[str, JsonValue] | None = None) -> Q:
    """The facts in the model's file as a `kind`, a dataclass; over those `known` without it.

    Raises:
        ConfigError: A quirk is unknown, or has a wrong value.
    """
    adapter: pydantic.TypeAdapter[Q] = _adapter(kind)  # type: ignore[arg-type]  # classes can be hashed
    try:
        return adapter.validate_python({**(known or {}), **model.quirks})
    except pydantic.ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(step) for step in mistake["loc"][:1])
        fields: Mapping[str, object] = getattr(kind, "__dataclass_fields__", {})
        raise ConfigError(
            f"model {model.name!r}: quirks.{name}: {mistake['msg']}; known quirks: {', '.join(fields)}"
        ) from error


def of_host(hosts: Mapping[str, Mapping[str, JsonValue]], host: str) -> Mapping[str, JsonValue]:
    """What is known of a host: `hosts` has facts by domain, subdomains included."""
    return next((facts for domain, facts in hosts.items() if f".{host}".endswith(f".{domain}")), {})


@functools.cache
def _adapter(kind: type[object]) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)
