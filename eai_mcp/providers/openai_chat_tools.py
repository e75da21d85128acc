"""Tool calls of a Chat Completions stream, gathered from pieces that servers number in different ways."""

import secrets
from dataclasses import dataclass, field

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.messages import JsonObject, ToolUseBlock
from eai_mcp.wire import INVALID_JSON


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ToolCalls:
    """The calls of one reply.

    A piece belongs to the call of its `index`; without one, to the call of its id, or else to the latest.
    The first id and name that are not empty count, since some servers repeat them as "".
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return any(call.name for call in self._calls)

    def add(self, piece: JsonObject) -> str | None:
        """Take a piece. The tool's name, where the piece is the first to say it."""
        function = wire.fields(piece.get("function"))
        own, name = wire.string(piece.get("id")), wire.string(function.get("name"))
        call = self._belongs(piece.get("index"), own, name)
        call.id = call.id or own
        call.arguments.append(_as_text(function.get("arguments")))
        if call.name or not name:
            return None
        call.name = wire.mended(name)
        return call.name

    def blocks(self) -> tuple[ToolUseBlock, ...]:
        """The calls in their order, each with an id of its own."""
        taken: set[str] = set()
        blocks = []
        for call in self._calls:
            if call.name:
                own = wire.mended(call.id)
                unique = own if own and own not in taken else f"call_{secrets.token_hex(8)}"
                taken.add(unique)
                blocks.append(ToolUseBlock(unique, call.name, _input("".join(call.arguments))))
        return tuple(blocks)

    def _belongs(self, index: JsonValue, own: str, name: str) -> _Call:
        if isinstance(index, int):
            call = self._by_index.get(index)
            # Gemini and Ollama number parallel calls all alike. An id alone proves nothing: vLLM changed it
            # from piece to piece.
            is_another = call is not None and own and name and call.id and call.id != own
            if call is None or is_another:
                call = self._by_index[index] = self._begun()
            return call
        same = [call for call in self._calls if own and call.id == own]
        if same:
            return same[0]
        return self._begun() if own or name or not self._calls else self._calls[-1]

    def _begun(self) -> _Call:
        self._calls.append(_Call())
        return self._calls[-1]


def _as_text(arguments: JsonValue) -> str:
    return wire.written(arguments) if isinstance(arguments, dict) else wire.string(arguments)


def _input(arguments: str) -> JsonObject:
    if not arguments.strip():
        return {}
    try:
        value = wire.strictly_parsed(arguments)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {INVALID_JSON: wire.mended(arguments)}
