"""A provider that a model's file names as `module:attribute`: code of the operator's own.

It may fail in any way, and even ask to leave the process. That is an error of its model, and nobody else's.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from eai_mcp.calls import Call, Emit, ModelRequest, ModelResponse
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError, EaiError


def call(model: Model, parts: object) -> Call:
    """The call that the attribute, called with the model and `parts`, makes.

    Raises:
        ConfigError: It cannot be loaded, failed, or made something else.
    """
    module, _, attribute = model.provider.partition(":")
    try:
        made: Any = getattr(importlib.import_module(module), attribute)(model, parts)
    except EaiError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"model {model.name!r}: provider {model.provider!r} cannot be used ({reason})"
        ) from error
    if not callable(made):
        raise ConfigError(
            f"model {model.name!r}: provider {model.provider!r} made {type(made).__name__}, which is no Call"
        )
    return _Contained(made)


def missing(model: Model) -> str | None:
    """Why the module cannot be found, None if it can; nothing of it is run, save the packages above it."""
    module, colon, attribute = model.provider.partition(":")
    if not colon or not module or not attribute:
        return f"there is no provider {model.provider!r}"
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    return None if found else f"there is no module {module!r} for its provider"


@dataclass(frozen=True, slots=True)
class _Contained:
    call: Call

    async def __call__(self, request: ModelRequest, emit: Emit) -> ModelResponse:
        try:
            return await self.call(request, emit)
        except SystemExit as error:
            raise RuntimeError("a provider tried to end the process") from error
