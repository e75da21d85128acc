"""One use of a tool of the chat model, and what comes of it."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from eai_mcp.chat.toolbox.kit import Kit
from eai_mcp.messages import JsonObject, TextBlock
from eai_mcp.middleware import ToolOutcome, ToolRun

if TYPE_CHECKING:
    from eai_mcp.store import Claim

Told: TypeAlias = ToolOutcome | JsonObject
"""What a tool says: blocks, or an object that the model reads as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """The turn that a tool is used in, what the model sent, and what the turn's tools share."""

    claim: "Claim"
    run: ToolRun
    kit: Kit


def outcome(told: Told) -> ToolOutcome:
    """What a tool said, as the model reads it."""
    if isinstance(told, ToolOutcome):
        return told
    return ToolOutcome((TextBlock(json.dumps(told, ensure_ascii=False)),))


def failure(reason: str) -> ToolOutcome:
    """The outcome of a tool that came to nothing."""
    return ToolOutcome((TextBlock(reason),), failed=True)
