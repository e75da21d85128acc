"""Models that use tools, each session by a script of its own, on a real registry."""

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from eai_mcp.chat.registry import Registry
from eai_mcp.chat.toolbox.box import Toolbox
from eai_mcp.chat.toolbox.tool import Tool
from eai_mcp.chat.values import Talk, TurnResult
from eai_mcp.formats.files import Folder
from eai_mcp.messages import ToolResultBlock, ToolUseBlock
from tests.chat.taking import opened, uses
from tests.fakes import Scripted, said

NAMES = (
    "call_subagent",
    "get_subagent_result",
    "export_chat_session_context",
    "replace_chat_session_context",
    "list_sessions",
    "list_cards",
    "get_local_time",
    "push_resource",
    "read_media_file",
    "ask_user",
)
_numbers = itertools.count(1)


@dataclass
class Talking:
    """A registry, and what the model of each session says; "*" speaks in the sessions that have no script."""

    registry: Registry
    voices: dict[str, Any]

    async def begin(self, content: str = "go", session: str = "boss", *, space: str = "", **fields) -> Any:
        """A turn that has begun."""
        return await self.registry.begin(space, Talk(content=content, session=session, **fields))

    async def ask(
        self, content: str = "go", session: str = "boss", *, space: str = "", **fields
    ) -> TurnResult:
        """A whole turn."""
        return await self.registry.reply(await self.begin(content, session, space=space, **fields), 5)

    def heard(self, session: str = "boss", request: int = -1) -> list[tuple[Any, bool]]:
        """The results at the end of a request: what tools said, read if it is JSON, and if they failed."""
        last = self.voices[session].requests[request].messages[-1]
        blocks: list[Any] = [one for one in last.content if isinstance(one, ToolResultBlock)]
        return [(_read(one.content[0].text), one.failed) for one in blocks]

    def said(self, session: str = "boss", request: int = -1) -> Any:
        """What the one tool said that did not fail."""
        ((told, failed),) = self.heard(session, request)
        assert not failed, told
        return told

    def refused(self, session: str = "boss", request: int = -1) -> str:
        """What the one tool said that failed."""
        ((told, failed),) = self.heard(session, request)
        assert failed, told
        return str(told)


@asynccontextmanager
async def using(
    catalog,
    make: Callable[[Registry], Iterable[Tool[Any]]],
    scripts: Mapping[str, Any],
    *,
    usual=NAMES,
    approvals=None,
    **fields,
) -> AsyncIterator[Talking]:
    """A registry with the tools that `make` makes of it."""
    voices: dict[str, Any] = {name: Scripted([*steps]) for name, steps in scripts.items()}

    async def speak(request, emit):
        return await voices[request.session if request.session in voices else "*"](request, emit)

    box = Toolbox(usual=usual, approvals=approvals)
    async with opened(catalog, *[speak] * 200, toolbox=box, **fields) as (registry, _):
        box.add(*make(registry))
        yield Talking(registry, voices)


def folders(tmp_path) -> Callable[[str], Folder]:
    """The folder for exports of each space."""
    return lambda space: Folder(tmp_path / "exports" / (space or "own"))


def use(name: str, **given) -> ToolUseBlock:
    """A use of a tool."""
    return ToolUseBlock(f"u{next(_numbers)}", name, given)


def step(name: str, **given):
    """An answer that asks for one tool."""
    return uses(use(name, **given))


def tried(name: str, **given) -> list[Any]:
    """A script: one tool is used, and the turn is done."""
    return [step(name, **given), said("done")]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
