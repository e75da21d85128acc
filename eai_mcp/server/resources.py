"""What can be read here: how the models stand, the sessions, and what was pushed in their turns."""

from typing import Any
from urllib.parse import unquote

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from eai_mcp.app import App
from eai_mcp.errors import EaiError
from eai_mcp.observe import internal
from eai_mcp.server import pushed, sessions, status


class Resources:
    """Answers `resources/list`, `resources/templates/list` and `resources/read`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._sessions = sessions.Sessions(app)

    async def on_list(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The models' standing, then the sessions by name, a hundred a page; the cursor is the last name."""
        cursor = (params and params.cursor) or ""
        try:
            page = await self._sessions.page(cursor)
        except EaiError as error:
            raise _refused(error) from error
        if not cursor:
            page.resources.insert(0, status.RESOURCE)
        return page

    async def on_templates(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """Where sessions are, and what was pushed in them."""
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(
                    uri_template=f"{sessions.SCHEME}{{name}}",
                    name="session",
                    description="A chat session's history",
                    mime_type="application/json",
                ),
                types.ResourceTemplate(
                    uri_template=pushed.TEMPLATE,
                    name="pushed",
                    description="What was pushed in a turn of a chat session",
                ),
            ]
        )

    async def on_read(
        self, context: ServerRequestContext[Any, Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """One of them.

        Raises:
            MCPError: There is no such resource, or it is too long for an answer.
        """
        uri = str(params.uri)
        try:
            if uri == status.URI:
                return status.read(self._app)
            if found := sessions.URI.fullmatch(uri):
                return await self._sessions.read(uri, unquote(found[1]))
            if found := pushed.URI.fullmatch(uri):
                return await pushed.read(self._app.registry, "", found)
        except EaiError as error:
            raise _refused(error) from error
        except Exception as error:
            raise _refused(internal(error)) from error
        raise MCPError(types.INVALID_PARAMS, f"no resource {uri}", {"uri": uri})


def _refused(error: EaiError) -> MCPError:
    return MCPError(types.INVALID_PARAMS, error.message, {"code": error.code})
