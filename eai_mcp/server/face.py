"""The server object of the SDK, with what we publish behind it."""

from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server

import eai_mcp
from eai_mcp.app import App
from eai_mcp.server import asking, moving, pushed, sessions, status, tools
from eai_mcp.server.completions import Completions
from eai_mcp.server.prompts import Prompts
from eai_mcp.server.registry import ToolRegistry
from eai_mcp.server.resources import Resources
from eai_mcp.server.subscriptions import Notices, telling

INSTRUCTIONS = (
    "Chat with other AI models. talk sends a message to a named session and returns the reply; the session "
    "remembers what was said, also after a restart. list_catalog shows models, prompts and character cards. "
    "A long reply comes back as status running: call wait_for_reply. interrupt stops one."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What clients can ask for, and who tells them of changes; `elicit_limit_s` as in the settings."""

    tools: ToolRegistry
    resources: Resources
    prompts: Prompts
    completions: Completions
    notices: Notices
    elicit_limit_s: float


class _Server(Server[Any]):
    """Tells nobody of changed lists, which the SDK promises with the newer protocol's subscriptions."""

    def get_capabilities(self, *given: Any, **named: Any) -> types.ServerCapabilities:
        told = super().get_capabilities(*given, **named)
        for offer in (told.tools, told.resources, told.prompts):
            if offer is not None:
                offer.list_changed = False
        return told


def build(app: App) -> Server[Any]:
    """A low-level server for one or many connections; all state is in `app`."""
    notices = Notices()
    app.hear(notices.observe)
    return assemble(
        Published(
            tools=ToolRegistry([*tools.tools(app), *moving.tools(app)]),
            resources=Resources([status.Status(app), sessions.Sessions(app), pushed.Pushed(app.registry)]),
            prompts=Prompts([]),
            completions=Completions(of_prompts={}, of_resources={}),
            notices=notices,
            elicit_limit_s=app.settings.elicit_limit_s,
        )
    )


def assemble(published: Published) -> Server[Any]:
    """The server that publishes just this."""
    server = _Server(
        "eai-mcp",
        version=eai_mcp.__version__,
        title="eai-mcp",
        instructions=INSTRUCTIONS,
        lifespan=telling,
        on_list_tools=published.tools.on_list,
        on_call_tool=published.tools.on_call,
        on_list_resources=published.resources.on_list,
        on_list_resource_templates=published.resources.on_templates,
        on_read_resource=published.resources.on_read,
        on_list_prompts=published.prompts.on_list,
        on_get_prompt=published.prompts.on_get,
        on_completion=published.completions.on_complete,
        on_subscribe_resource=published.notices.on_subscribe,
        on_unsubscribe_resource=published.notices.on_unsubscribe,
        on_subscriptions_listen=published.notices.on_listen,
    )
    server.middleware.append(asking.boundary(published.elicit_limit_s))
    return server
