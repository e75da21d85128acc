"""A transcript for people, as Markdown. What was said stands in it as it is; it cannot be read back."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import assert_never

from eai_mcp import wire
from eai_mcp.formats import Head, Tally
from eai_mcp.messages import (
    Block,
    DocumentBlock,
    ImageBlock,
    Line,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

_TICKS = re.compile(r"`+")
_NAMES = {"user": "User", "assistant": "Assistant"}


def transcript(head: Head, lines: Iterable[tuple[Line, Message]], tally: Tally) -> Iterator[bytes]:
    """A heading, what the session remembers, and a section for each message."""
    yield f"# {head.session}\n".encode()
    for name, choice in head.choices.items():
        shown = choice if "\n" not in choice else f"\n\n{_fenced(choice)}"
        yield wire.mended(f"\n- {name}: {shown}").encode()
    for line, message in lines:
        tally.add()
        yield f"\n\n{section(line.at, message)}".encode()
    yield b"\n"


def section(at: float, message: Message) -> str:
    """A message, which was said `at` seconds since 1970 (0: nobody knows when)."""
    blocks = "\n\n".join(filter(None, map(_shown, message.content)))
    cut = "\n\n*(cut off here)*" if message.partial else ""
    return wire.mended(f"## {_NAMES[message.role]}{_when(at)}\n\n{blocks}{cut}")


def _when(at: float) -> str:
    return f", {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""


def _shown(block: Block) -> str:
    match block:
        case TextBlock(text=text):
            return text
        case ThinkingBlock(text=text):
            return _quoted(f"*thinking*\n\n{text}")
        case ImageBlock() | DocumentBlock():
            name = f" {block.name}" if isinstance(block, DocumentBlock) else ""
            return f"*[{block.type}{name}: {block.media_type}, {len(block.data) * 3 // 4:,} bytes]*"
        case ToolUseBlock():
            asked = _fenced(json.dumps(block.input, ensure_ascii=False, indent=2), "json")
            return f"**asks for the tool {block.name}** ({block.id})\n\n{asked}"
        case ToolResultBlock():
            what = "the tool failed" if block.failed else "the tool says"
            said = "\n\n".join(
                _fenced(piece.text) if isinstance(piece, TextBlock) else _shown(piece)
                for piece in block.content
            )
            return f"**{what}** ({block.tool_use_id})\n\n{said}"
        case _:
            assert_never(block)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def _fenced(text: str, language: str = "") -> str:
    """Text in a fence that is longer than any within it."""
    ticks = "`" * max(3, 1 + max((len(found) for found in _TICKS.findall(text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"
