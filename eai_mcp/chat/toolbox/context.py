"""A session's own history as a file: exported with what its turn said so far, or replaced as that ends."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import anyio.to_thread
from anyio.from_thread import check_cancelled
from pydantic import Field

from eai_mcp import formats, messages
from eai_mcp.chat import headed
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Told, Use
from eai_mcp.errors import LimitExceeded
from eai_mcp.formats import Tally
from eai_mcp.messages import JsonObject, Line, Message
from eai_mcp.store import SessionRow, Store

if TYPE_CHECKING:
    from eai_mcp.formats.files import Folder

MOST_MESSAGES = 5000
MOST_BYTES = 16 * formats.MIB
"""Of a history that is held until the turn ends, as our JSON."""
MOST_REPAIRS = 10
NOT_YET = "not known when this history was exported"

FilePath = Annotated[str, Field(max_length=4096, description="in the export folder")]
_Found: TypeAlias = Iterator[tuple[SessionRow, Iterator[Line]]]


class ExportArguments(Arguments):
    """For `export_chat_session_context`."""

    file_path: FilePath
    format: formats.Written | None = None


class ReplaceArguments(Arguments):
    """For `replace_chat_session_context`."""

    file_path: FilePath
    format: formats.Read = "auto"


def tools(
    store: Store, exports: "Callable[[str], Folder]", *, folder: Path | None = None
) -> tuple[Tool[Any], ...]:
    """Both. What is read is kept in `folder` until it is checked (None: where the system has such files)."""
    context = _Context(store, exports, folder)
    return (
        Tool(
            name="export_chat_session_context",
            description="Write this session's whole history, with this turn so far, to a file.",
            arguments=ExportArguments,
            run=context.export,
        ),
        Tool(
            name="replace_chat_session_context",
            description=(
                "Replace this session's history by a file's: a shorter one makes later turns cheaper. It"
                " takes effect as this turn ends, with the turn's own words behind it."
            ),
            arguments=ReplaceArguments,
            run=context.replace,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Read:
    lines: tuple[Line, ...]
    repairs: tuple[str, ...]


class _Context:
    def __init__(self, store: Store, exports: "Callable[[str], Folder]", folder: Path | None) -> None:
        self._store = store
        self._exports = exports
        self._folder = folder

    async def export(self, given: ExportArguments, use: Use) -> Told:
        from eai_mcp.formats import outlets, writing

        claim, before, tally = use.claim, use.kit.begun.history, Tally(check_cancelled)
        form = given.format or writing.form_of(given.file_path)
        said = await self._store.said(claim)
        said = (*said, *messages.closing(said, NOT_YET))
        now = time.time()
        own = [messages.line(message, turn_id=claim.turn_id, at=now) for message in said]
        take = outlets.saving(self._exports(claim.space), given.file_path)

        def taken(found: _Found) -> outlets.Saved:
            row, lines = next(found)
            whole = itertools.chain(lines if before is None else before, own)
            pieces = writing.session(form, headed.head(row), whole, tally)
            if form != "markdown":  # which is not read again
                pieces = writing.limited(pieces, formats.LIMITS, tally)
            return take(writing.gzipped(pieces) if writing.is_packed(form, given.file_path) else pieces)

        saved = await self._store.scan(claim.space, taken, name=claim.name)
        return {
            "file_path": str(saved.path),
            "size_bytes": saved.size_bytes,
            "message_count": tally.messages,
            "sha256": saved.sha256,
        }

    async def replace(self, given: ReplaceArguments, use: Use) -> Told:
        folder, begun = self._exports(use.claim.space), use.kit.begun
        read = await anyio.to_thread.run_sync(self._read, folder, given)
        begun.history = _without_turn(read.lines, await self._store.said(use.claim))
        told: JsonObject = {"message_count": len(begun.history), "applied": "as this turn ends"}
        return {**told, "repairs": list(read.repairs[:MOST_REPAIRS])} if read.repairs else told

    def _read(self, folder: "Folder", given: ReplaceArguments) -> "_Read":
        from eai_mcp.formats import reading
        from eai_mcp.formats.intake import Means
        from eai_mcp.formats.spool import Spool

        limits = replace(formats.LIMITS, messages=MOST_MESSAGES)
        try:
            with Spool(self._folder) as spool, folder.reading(given.file_path) as pieces:
                means = Means(spool=spool, limits=limits, tally=Tally(check_cancelled), now=time.time())
                read = reading.session(pieces, given.format, means)
                if spool.end > MOST_BYTES:
                    raise LimitExceeded(
                        f"the history has more than {MOST_BYTES:,} bytes", limit=MOST_BYTES, actual=spool.end
                    )
                return _Read(tuple(read.lines), read.repairs)
        except LimitExceeded as error:
            raise LimitExceeded(
                f"{error.message}; the server's own tool replace_history takes more, between two turns",
                limit=error.details.get("limit"),
                actual=error.details.get("actual"),
            ) from error


def _without_turn(lines: Sequence[Line], said: Sequence[Message]) -> Sequence[Line]:
    """The history without what was exported of the running turn, whose own words will stand behind it.

    An export ends with results for the tools that ran just then; the turn has others in their place.
    """
    for at in range(max(0, len(lines) - len(said) - 1), len(lines)):
        tail = [line.message for line in lines[at:]]
        is_closed = len(tail) <= len(said) and bool(messages.closing(tail[-2:-1]))
        same = len(tail) - is_closed
        if 0 < same <= len(said) and tail[:same] == [*said[:same]]:
            return lines[:at]
    return lines
