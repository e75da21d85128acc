"""Our icon, told once at the beginning of a connection.

Given to the SDK as the server's, it would come with every result of the newer protocol.
"""

from base64 import b64encode
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

BUBBLE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<path fill="#25637d" d="M4 5h24v17H15l-7 6v-6H4z"/>'
    '<path stroke="#fff" stroke-width="3" stroke-linecap="round" d="M11 13.5h0m5 0h0m5 0h0"/></svg>'
)
ICON = types.Icon(
    src="data:image/svg+xml;base64," + b64encode(BUBBLE.encode()).decode(),
    mime_type="image/svg+xml",
    sizes=["any"],
)


def show(server: Server[Any]) -> None:
    """Have `server/discover` tell it."""

    async def discovered(
        context: ServerRequestContext[Any, Any], params: types.RequestParams | None
    ) -> types.DiscoverResult:
        ours = server.server_info.model_copy(update={"icons": [ICON]})
        return types.DiscoverResult(
            supported_versions=list(MODERN_PROTOCOL_VERSIONS),
            capabilities=server.get_capabilities(protocol_version=context.protocol_version),
            instructions=server.instructions,
            _meta={
                types.SERVER_INFO_META_KEY: ours.model_dump(by_alias=True, mode="json", exclude_none=True)
            },
        )

    server.add_request_handler("server/discover", types.RequestParams, discovered)
