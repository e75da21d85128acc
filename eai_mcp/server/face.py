"""The server object of the SDK, with what we publish behind it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.lowlevel import Server
from mcp.server.models import InitializationOptions

import eai_mcp
from eai_mcp.app import App
from eai_mcp.server import catalogue, icon, menu, moving, names, pushed, sealing, sessions, status, tools
from eai_mcp.server.changes import List
from eai_mcp.server.completions import Completions
from eai_mcp.server.documents import Documents
from eai_mcp.server.jobs import Jobs
from eai_mcp.server.offered import offered
from eai_mcp.server.prompts import Prompts
from eai_mcp.server.registry import ToolRegistry
from eai_mcp.server.resources import Resources
from eai_mcp.server.subscriptions import Notices
from eai_mcp.server.watching import Watch

INSTRUCTIONS = (
    "Chat with other AI models. talk sends a message to a named session and returns the reply; the session "
    "remembers what was said, also after a restart."
)
BESIDE = {
    "list_catalog": "list_catalog shows models, prompts and character cards.",
    "wait_for_reply": "A long reply comes back as status running: call wait_for_reply.",
    "interrupt": "interrupt stops a reply.",
}
"""What is said only where that tool is published."""
CACHED: dict[CacheableMethod, CacheHint] = {
    "server/discover": CacheHint(ttl_ms=300_000),
    "tools/list": CacheHint(ttl_ms=300_000),
    "resources/templates/list": CacheHint(ttl_ms=300_000),
    "prompts/list": CacheHint(ttl_ms=catalogue.TTL_MS),
    "resources/list": CacheHint(),
    "resources/read": CacheHint(),
}
"""For how long a client need not ask again: always but for itself, and never where sessions are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What clients can ask for, and who tells them of changes; `elicit_limit_s` as in the settings.

    `key` is the file with the key for what goes through clients, None for one of this process.
    """

    tools: ToolRegistry
    resources: Resources
    prompts: Prompts
    completions: Completions
    notices: Notices
    elicit_limit_s: float
    jobs: Jobs | None = None
    key: Path | None = None


class _Server(Server[Any]):
    """Promises word of just those lists that change; the SDK would of none, or of all, by the protocol.

    Its icon comes with the older protocol's handshake, and with nothing else.
    """

    changing: frozenset[List] = frozenset()

    def get_capabilities(self, *given: Any, **named: Any) -> types.ServerCapabilities:
        told = super().get_capabilities(*given, **named)
        offers = {"tools": told.tools, "resources": told.resources, "prompts": told.prompts}
        for name, offer in offers.items():
            if offer is not None:
                offer.list_changed = name in self.changing
        return told

    def create_initialization_options(self, *given: Any, **named: Any) -> InitializationOptions:
        options = super().create_initialization_options(*given, **named)
        return options.model_copy(update={"icons": [icon.ICON]})


def build(app: App) -> Server[Any]:
    """A low-level server for one or many connections; all state is in `app`."""
    readable = resources_of(app)
    notices = Notices(Watch(app.catalog, app.registry.rows), has_place=readable.has_place)
    app.hear(notices)
    published = ToolRegistry(offered([*tools.tools(app), *moving.tools(app)], app.settings.published))
    prompts = Prompts([menu.PromptMenu(app.catalog), menu.CardMenu(app.catalog)])
    return assemble(
        Published(
            tools=published,
            resources=readable,
            prompts=prompts,
            completions=Completions(
                prompts, of_prompts=names.of_prompts(app), of_resources=names.of_resources(app)
            ),
            notices=notices,
            elicit_limit_s=app.settings.elicit_limit_s,
            jobs=Jobs(
                app.registry,
                is_asking=app.settings.elicit,
                limit_s=app.settings.elicit_limit_s,
                published=published.names,
            ),
            key=sealing.key_file(app.settings.store),
        )
    )


def resources_of(app: App) -> Resources:
    """All that can be read."""
    lists = [*catalogue.documents(app), sessions.document(app), status.document(app)]
    entries = catalogue.sources(app)
    return Resources([Documents(lists), *entries, sessions.Sessions(app), pushed.Pushed(app.registry)])


def assemble(published: Published) -> Server[Any]:
    """The server that publishes just this."""
    server = _Server(
        "eai-mcp",
        version=eai_mcp.__version__,
        title="eai-mcp",
        instructions=_instructions(published.tools.names),
        cache_hints=CACHED,
        lifespan=published.notices.lifespan,
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
    server.changing = published.notices.lists
    server.add_notification_handler(
        "notifications/initialized", types.NotificationParams, published.notices.on_initialized
    )
    icon.show(server)
    if published.jobs:
        published.jobs.offer(server)
    server.middleware.append(sealing.boundary(published.elicit_limit_s, published.key))
    return server


def _instructions(tools: Collection[str]) -> str:
    return " ".join([INSTRUCTIONS, *(said for name, said in BESIDE.items() if name in tools)])
