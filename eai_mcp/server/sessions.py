"""Sessions as resources: `eai://sessions/{name}` is a session's history, as our JSON and as a transcript."""

import json
import re
from typing import Any
from urllib.parse import quote, unquote

import mcp_types as types
from anyio.from_thread import check_cancelled
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from eai_mcp.app import App
from eai_mcp.errors import EaiError, LimitExceeded
from eai_mcp.formats import Tally, Written, outlets
from eai_mcp.observe import internal

SCHEME = "eai://sessions/"
PAGE = 100
LONGEST = 3 * 1024 * 1024
"""Bytes of each text in one answer, as JSON writes it; clients refuse a message above 10 MiB."""
_FORMS: tuple[tuple[Written, str], ...] = (("eai-mcp", "application/json"), ("markdown", "text/markdown"))
_NAME = re.compile(re.escape(SCHEME) + "([^/?#]+)")


def link(session: str) -> types.ResourceLink:
    """Where the whole history of a session can be read."""
    return types.ResourceLink(
        type="resource_link", uri=_uri(session), name=session, mime_type="application/json"
    )


def _uri(session: str) -> str:
    return SCHEME + quote(session, safe=":@+")


class Sessions:
    """Answers `resources/list`, `resources/templates/list` and `resources/read`."""

    def __init__(self, app: App) -> None:
        self._registry = app.registry

    async def on_list(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The sessions by name, a hundred a page; the cursor is the last name."""
        cursor = (params and params.cursor) or ""
        try:
            rows = await self._registry.sessions("", after=cursor, limit=PAGE + 1)
        except EaiError as error:
            raise _refused(error) from error
        shown = rows[:PAGE]
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=_uri(row.name),
                    name=row.name,
                    description=f"A chat session with {row.message_count} messages",
                    mime_type="application/json",
                )
                for row in shown
            ],
            next_cursor=shown[-1].name if len(rows) > PAGE else None,
        )

    async def on_templates(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """The one template."""
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(
                    uri_template=f"{SCHEME}{{name}}",
                    name="session",
                    description="A chat session's history",
                    mime_type="application/json",
                )
            ]
        )

    async def on_read(
        self, context: ServerRequestContext[Any, Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """A session's history.

        Raises:
            MCPError: There is no such resource, or it is too long for an answer.
        """
        found = _NAME.fullmatch(str(params.uri))
        if found is None:
            raise MCPError(types.INVALID_PARAMS, f"no resource {params.uri}", {"uri": str(params.uri)})
        try:
            return await self._read(str(params.uri), unquote(found[1]))
        except EaiError as error:
            raise _refused(error) from error
        except Exception as error:
            raise _refused(internal(error)) from error

    async def _read(self, uri: str, session: str) -> types.ReadResourceResult:
        contents: list[types.TextResourceContents | types.BlobResourceContents] = []
        for form, mime_type in _FORMS:
            text = await self._text(session, form)
            if _size(text) > LONGEST:
                raise _too_long(session)
            contents.append(types.TextResourceContents(uri=uri, mime_type=mime_type, text=text))
        return types.ReadResourceResult(contents=contents)

    async def _text(self, session: str, form: Written) -> str:
        tally = Tally(check_cancelled)
        try:
            _, text = await self._registry.archive.export(
                "", session, form, outlets.short(LONGEST), tally=tally
            )
        except LimitExceeded as error:
            raise _too_long(session) from error
        return text


def _too_long(session: str) -> LimitExceeded:
    return LimitExceeded(
        f"session {session!r} is too long for one answer: export_chat_session_context writes it to a file, or"
        " returns it in parts",
        limit=LONGEST,
    )


def _size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


def _refused(error: EaiError) -> MCPError:
    return MCPError(types.INVALID_PARAMS, error.message, {"code": error.code})
