"""The tools that move histories: into files and answers, and back."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import mcp_types as types

from eai_mcp.app import App
from eai_mcp.errors import InvalidArgument
from eai_mcp.formats import Tally, Written, outlets
from eai_mcp.server import answers, arguments, progress, results, sessions
from eai_mcp.server.registry import Answer, Request, ToolSpec

if TYPE_CHECKING:
    from eai_mcp.chat.archive import Archive, Exported

LONGEST_EXCERPT = 64 * 1024
"""Characters of an export in one answer: more of it, some clients would not show to their model."""
MOST_TOLD = 100
"""Sentences about a file in one answer: a snapshot may have something to tell of each session."""

# Both may take the place of something: a file, or histories, of which a repeated call drops another one.
WRITING = types.ToolAnnotations(idempotent_hint=True, open_world_hint=False)
REPLACING = types.ToolAnnotations(open_world_hint=False)


def tools(app: App) -> list[ToolSpec[Any]]:
    """Every one of them, bound to the open parts."""
    face = _Moving(app)
    return [
        ToolSpec(
            name="export_chat_session_context",
            description="Write a session's history to a file, or return it (in parts: next_offset).",
            arguments=arguments.ExportArguments,
            result=results.ExportAnswer,
            run=face.export,
            annotations=WRITING,
        ),
        ToolSpec(
            name="replace_history",
            description="Replace a session's history by a file, content or a former revision.",
            arguments=arguments.ReplaceArguments,
            result=results.ReplacedAnswer,
            run=face.replace,
            annotations=REPLACING,
        ),
        ToolSpec(
            name="snapshot",
            description="Write all sessions to one file.",
            arguments=arguments.SnapshotArguments,
            result=results.SnapshotAnswer,
            run=face.snapshot,
            annotations=WRITING,
        ),
        ToolSpec(
            name="restore",
            description="Bring back all sessions of a snapshot.",
            arguments=arguments.RestoreArguments,
            result=results.RestoredAnswer,
            run=face.restore,
            annotations=REPLACING,
        ),
    ]


class _Moving:
    """The tools' handlers."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._sessions = sessions.Sessions(app)
        self._link: tuple[tuple[str, str, str, str], types.ResourceLink | None] | None = None
        """Of what was last exported in parts, so that not each part looks at the whole again."""

    @property
    def _archive(self) -> "Archive":
        return self._app.registry.archive

    async def export(self, given: arguments.ExportArguments, request: Request) -> Answer:
        if given.file_path is None:
            return await self._excerpt(given, given.format or "eai-mcp", request)
        if given.offset:
            raise InvalidArgument("offset is for an export without file_path", field="offset")
        from eai_mcp.formats import writing

        form = given.format or writing.form_of(given.file_path)
        async with _counted(request) as tally:
            exported, saved = await self._archive.export(
                request.space,
                given.chat_session,
                form,
                outlets.saving(self._app.exports(request.space), given.file_path),
                tally=tally,
                packed=writing.is_packed(form, given.file_path),
            )
        told = _told(given.chat_session, form, exported, saved)
        told["file_path"] = str(saved.path)
        return answers.whole(told)

    async def _excerpt(self, given: arguments.ExportArguments, form: Written, request: Request) -> Answer:
        async with _counted(request) as tally:
            exported, found = await self._archive.export(
                request.space,
                given.chat_session,
                form,
                outlets.excerpt(given.offset, LONGEST_EXCERPT),
                tally=tally,
            )
        handle = _told(given.chat_session, form, exported, found)
        if found.next_offset is not None:
            handle["next_offset"] = found.next_offset
        told: results.ExportAnswer = {**handle, "content": found.text}
        whole = (request.space, given.chat_session, form, found.sha256)
        if self._link is None or self._link[0] != whole:  # else another part of it was asked for just now
            self._link = (whole, await self._sessions.link(request.space, given.chat_session))
        links = [] if self._link[1] is None else [self._link[1]]
        return Answer(told, [found.text, answers.compact(handle), *links])

    async def replace(self, given: arguments.ReplaceArguments, request: Request) -> Answer:
        named = [name for name in ("file_path", "content", "revision") if getattr(given, name) is not None]
        if len(named) != 1:
            raise InvalidArgument(
                f"name one of file_path, content and revision, not {' and '.join(named) or 'none'}",
                field=named[1] if named else "content",
            )
        async with _counted(request) as tally:
            if given.revision is not None:
                done = await self._archive.revert(
                    request.space, given.chat_session, given.revision, tally=tally
                )
            else:
                done = await self._archive.replace(
                    request.space,
                    given.chat_session,
                    lambda: self._source(given, request.space),
                    given.format,
                    tally=tally,
                )
        told: results.ReplacedAnswer = {
            "chat_session": done.session,
            "message_count": done.message_count,
            "revision": done.revision,
        }
        if done.format:
            told["format"] = done.format
            told["repairs"] = _first(done.repairs)
        return answers.whole(told)

    async def snapshot(self, given: arguments.SnapshotArguments, request: Request) -> Answer:
        async with _counted(request) as tally:
            copied, saved = await self._archive.snapshot(
                request.space,
                outlets.saving(self._app.exports(request.space), given.file_path),
                tally=tally,
                wait_s=given.timeout_ms / 1000,
            )
        told: results.SnapshotAnswer = {
            "file_path": str(saved.path),
            "size_bytes": saved.size_bytes,
            "session_count": copied.session_count,
            "message_count": copied.message_count,
            "sha256": saved.sha256,
            "left_out": _first(copied.left_out),
        }
        return answers.whole(told)

    async def restore(self, given: arguments.RestoreArguments, request: Request) -> Answer:
        folder = self._app.exports(request.space)
        async with _counted(request) as tally:
            done = await self._archive.restore(
                request.space, lambda: folder.reading(given.file_path), given.mode, tally=tally
            )
        told: results.RestoredAnswer = {
            "session_count": done.session_count,
            "message_count": done.message_count,
            "repairs": _first(done.repairs),
        }
        return answers.whole(told)

    def _source(
        self, given: arguments.ReplaceArguments, space: str
    ) -> AbstractContextManager[Iterator[bytes]]:
        if given.file_path is not None:
            return self._app.exports(space).reading(given.file_path)
        return nullcontext(iter([_bytes(given.content)]))


def _counted(request: Request) -> AbstractAsyncContextManager[Tally]:
    """What counts the messages, of which whoever asked is told."""

    async def report(seconds: float, messages: int) -> None:
        await request.report(seconds, f"{messages:,} messages so far ({seconds:.0f} s)")

    return progress.counted(report)


def _told(
    session: str,
    form: Written,
    exported: "Exported",
    whole: outlets.Saved | outlets.Excerpt,
) -> results.ExportAnswer:
    """What is told of an export, wherever it went."""
    told: results.ExportAnswer = {
        "chat_session": session,
        "format": form,
        "size_bytes": whole.size_bytes,
        "message_count": exported.message_count,
        "sha256": whole.sha256,
    }
    if exported.left_out:
        told["left_out"] = list(exported.left_out)
    return told


def _first(sentences: Sequence[str]) -> list[str]:
    """As many as one answer tells, and how many more there are."""
    more = len(sentences) - MOST_TOLD
    return [*sentences[:MOST_TOLD], *([f"and {more:,} more"] if more > 0 else [])]


def _bytes(content: object) -> bytes:
    text = content if isinstance(content, str) else json.dumps(content)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"content is not valid Unicode: a lone surrogate at character {error.start}", field="content"
        ) from error
