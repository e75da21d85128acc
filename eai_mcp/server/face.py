"""The server object of the SDK, with our tools behind it."""

from typing import Any

from mcp.server.lowlevel import Server

import eai_mcp
from eai_mcp.app import App
from eai_mcp.server import moving, tools
from eai_mcp.server.registry import ToolRegistry
from eai_mcp.server.sessions import Sessions

INSTRUCTIONS = (
    "Chat with other AI models. talk sends a message to a named session and returns the reply; the session "
    "remembers what was said, also after a restart. list_catalog shows models, prompts and character cards. "
    "A long reply comes back as status running: call wait_for_reply. interrupt stops one."
)


def build(app: App) -> Server[Any]:
    """A low-level server for one or many connections; all state is in `app`."""
    registry = ToolRegistry([*tools.tools(app), *moving.tools(app)])
    sessions = Sessions(app)
    return Server(
        "eai-mcp",
        version=eai_mcp.__version__,
        title="eai-mcp",
        instructions=INSTRUCTIONS,
        on_list_tools=registry.on_list,
        on_call_tool=registry.on_call,
        on_list_resources=sessions.on_list,
        on_list_resource_templates=sessions.on_templates,
        on_read_resource=sessions.on_read,
    )
