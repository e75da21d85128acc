"""The server object of the SDK, with our tools behind it."""

from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server

import eai_mcp
from eai_mcp.app import App
from eai_mcp.server import asking, moving, tools
from eai_mcp.server.registry import ToolRegistry
from eai_mcp.server.resources import Resources
from eai_mcp.server.subscriptions import Notices, telling

INSTRUCTIONS = (
    "Chat with other AI models. talk sends a message to a named session and returns the reply; the session "
    "remembers what was said, also after a restart. list_catalog shows models, prompts and character cards. "
    "A long reply comes back as status running: call wait_for_reply. interrupt stops one."
)


class _Server(Server[Any]):
    """Tells nobody of changed lists, which the SDK promises with the newer protocol's subscriptions."""

    def get_capabilities(self, *given: Any, **named: Any) -> types.ServerCapabilities:
        told = super().get_capabilities(*given, **named)
        for offer in (told.tools, told.resources):
            if offer is not None:
                offer.list_changed = False
        return told


def build(app: App) -> Server[Any]:
    """A low-level server for one or many connections; all state is in `app`."""
    registry = ToolRegistry([*tools.tools(app), *moving.tools(app)])
    resources = Resources(app)
    notices = Notices()
    app.hear(notices.observe)
    server = _Server(
        "eai-mcp",
        version=eai_mcp.__version__,
        title="eai-mcp",
        instructions=INSTRUCTIONS,
        lifespan=telling,
        on_list_tools=registry.on_list,
        on_call_tool=registry.on_call,
        on_list_resources=resources.on_list,
        on_list_resource_templates=resources.on_templates,
        on_read_resource=resources.on_read,
        on_subscribe_resource=notices.on_subscribe,
        on_unsubscribe_resource=notices.on_unsubscribe,
        on_subscriptions_listen=notices.on_listen,
    )
    if app.settings.elicit:
        server.middleware.append(asking.boundary(app.settings.elicit_limit_s))
    return server
