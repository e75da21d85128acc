"""The blocks of a Converse reply, as they grow: in the provider's own form to go back, in ours to be read."""

import base64
import secrets
from typing import TypeAlias

from eai_mcp import wire
from eai_mcp.messages import Block, JsonObject, TextBlock, ThinkingBlock, ToolUseBlock
from eai_mcp.wire import INVALID_JSON


class Said:
    """Words."""

    def __init__(self) -> None:
        self.text = wire.Text()

    def own(self) -> JsonObject | None:
        """The block as it is sent back; None for nothing."""
        text = str(self.text)
        return {"text": text} if text else None

    def neutral(self) -> Block | None:
        """The block as anyone reads it; None for nothing."""
        text = str(self.text)
        return TextBlock(text) if text else None


class Thought:
    """Reasoning with its signature, which may seal an empty text too."""

    def __init__(self) -> None:
        self.text = wire.Text()
        self.signature = ""

    def own(self) -> JsonObject | None:
        text: JsonObject = {"text": str(self.text)}
        if self.signature:
            text["signature"] = self.signature
        return {"reasoningContent": {"reasoningText": text}} if text != {"text": ""} else None

    def neutral(self) -> Block | None:
        text = str(self.text)
        return ThinkingBlock(text, self.signature or None) if text else None


class Sealed:
    """Reasoning that only the provider can read, base64."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def own(self) -> JsonObject | None:
        return {"reasoningContent": {"redactedContent": _joined(self.pieces)}} if any(self.pieces) else None

    def neutral(self) -> Block | None:
        return None


class Called:
    """A call of a tool, with an id of its own where the model gave it none."""

    def __init__(self, own_id: str, name: str) -> None:
        self.id = own_id or f"tooluse_{secrets.token_hex(8)}"
        self.name = name
        self.pieces: list[str] = []

    def own(self) -> JsonObject | None:
        return {"toolUse": {"toolUseId": self.id, "name": self.name, "input": self._input()}}

    def neutral(self) -> ToolUseBlock:
        return ToolUseBlock(self.id, self.name, self._input())

    def _input(self) -> JsonObject:
        text = "".join(self.pieces)
        if not text.strip():
            return {}
        try:
            value = wire.strictly_parsed(text)
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {INVALID_JSON: wire.mended(text)}


Grown: TypeAlias = Said | Thought | Sealed | Called


def _joined(pieces: list[str]) -> str:
    """One base64 text, unchanged where it came in one piece."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except ValueError:
        return "".join(pieces)
