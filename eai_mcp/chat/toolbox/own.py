"""Tools of an operator's own, at `module:attribute`.

Such a tool is an object, or a class that needs no arguments, with a `name`, a `description`, `parameters`
as JSON Schema, and

    async def run(self, run: ToolRun) -> str | JsonObject | ToolOutcome

What `run.input` holds is what the model sent; nothing has checked it.
"""

import json
import re
from typing import Protocol, runtime_checkable

import pydantic

from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Told, Use
from eai_mcp.errors import ConfigError
from eai_mcp.messages import DocumentBlock, ImageBlock, JsonObject, TextBlock
from eai_mcp.middleware import ToolOutcome, ToolRun, loaded

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SHOWN = (TextBlock, ImageBlock, DocumentBlock)


@runtime_checkable
class Own(Protocol):
    """See the module."""

    name: str
    description: str
    parameters: JsonObject

    async def run(self, run: ToolRun) -> str | JsonObject | ToolOutcome:
        """Do it; an EaiError is told to the model as it is, anything else as a mistake of the tool."""
        ...


class AsSent(Arguments):
    """Any at all: the tool finds them in its run."""

    model_config = pydantic.ConfigDict(extra="ignore")


def load(name: str) -> Tool[AsSent]:
    """The tool at `module:attribute`.

    Raises:
        ConfigError: It cannot be loaded, or is no tool.
    """
    own = loaded("tool", name)
    if not isinstance(own, Own):
        raise ConfigError(f"tool {name!r} needs name, description, parameters, and a method run")
    if wrong := _mistake(own.name, own.description, own.parameters, own.run):
        raise ConfigError(f"tool {name!r}: {wrong}")
    tool = own

    async def run(given: AsSent, use: Use) -> Told:
        return _told(tool.name, await tool.run(use.run))

    return Tool(
        name=own.name, description=own.description, arguments=AsSent, run=run, parameters=own.parameters
    )


def _mistake(name: object, description: object, parameters: object, run: object) -> str | None:
    """What is wrong with a tool."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"its name must be 1 to 64 letters, digits, _ and -, not {name!r}"
    if not isinstance(description, str) or not description.strip():
        return "its description must be a text"
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        return 'its parameters must be a JSON Schema with "type": "object"'
    try:
        json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"its parameters cannot be written as JSON: {error}"
    return None if callable(run) else "its run must be a method"


def _told(name: str, said: object) -> Told:
    match said:
        case ToolOutcome(content=content) if all(isinstance(one, SHOWN) for one in content):
            return said
        case str():
            return ToolOutcome((TextBlock(said),))
        case dict():
            return said
        case _:
            kind = type(said).__name__
            raise TypeError(f"tool {name} returned {kind}, not text, a JSON object or an outcome of blocks")
