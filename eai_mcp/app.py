"""Every part put together: what is opened at the start, who is handed what, what is closed at the end.

    async with app.opened(settings) as running:
        turn = await running.registry.begin("", Talk(content="Hello"))
        print((await running.registry.reply(turn, wait_s=60)).reply)

This is the Python API too: the server and the command line do nothing that cannot be done here.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from eai_mcp import middleware as layering
from eai_mcp import observe, providers, telemetry
from eai_mcp.calls import Call
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Model
from eai_mcp.chat import window
from eai_mcp.chat.layers import Layers
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.toolbox import stock
from eai_mcp.chat.toolbox.box import Toolbox
from eai_mcp.errors import ConfigError
from eai_mcp.middleware import Named
from eai_mcp.pipeline import whole as pipeline
from eai_mcp.pipeline.guards import Guards, Standing
from eai_mcp.settings import Settings
from eai_mcp.store.sqlite import SqliteStore

if TYPE_CHECKING:
    import httpx2

    from eai_mcp.formats.files import Folder

# Less than the transports' own limit, after which the process is ended hard.
SAVING_LIMIT_S, CLOSING_LIMIT_S = 1.0, 0.75


@dataclass(frozen=True, slots=True)
class App:
    """The open parts. `unconfined` says why the chat model's commands are in no sandbox, None if they are."""

    settings: Settings
    catalog: Catalog
    registry: Registry
    parts: providers.Parts
    observers: observe.Observers
    guards: Guards
    unconfined: str | None = None

    def hear(self, observer: observe.Observer) -> None:
        """Let `observer` hear every fact from now on."""
        self.observers.add(observer)

    def standing(self) -> list[Standing]:
        """How the guards of each model stand that was called so far, and is in the catalog still."""
        standing = self.guards.standing()
        known = {model.name for model in self.catalog.models()} if standing else set()
        named = (replace(one, names=tuple(name for name in one.names if name in known)) for one in standing)
        return [one for one in named if one.names]

    def exports(self, space: str) -> "Folder":
        """The folder in which the files of a space are.

        Raises:
            ConfigError: The file with the sessions is in there.
        """
        return _exports(self.settings, space)

    def missing(self, model: Model) -> str | None:
        """What has to be done before `model` can answer, None when nothing has to."""
        return providers.missing(model, self.parts)


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    observer: observe.Observer = observe.logged,
    middleware: Sequence[object] = (),
) -> AsyncIterator[App]:
    """Open every part; at the end interrupt what runs, save it, and end every child process.

    Nothing is read, connected or started before its first use, except for the middleware and the observers
    that the settings name: these stand inside of `middleware`, which is handed in, and behind `observer`.

    Raises:
        ConfigError: One of them cannot be loaded.
    """
    named = layering.named([*middleware, *map(layering.load, settings.middleware)])
    layers = Layers(named)
    store = SqliteStore(settings.store)
    catalog = Catalog.standard(
        models=settings.models, prompts=settings.prompts, cards=settings.cards, config=settings.config
    )
    closing = AsyncExitStack()
    # The store is closed last of all: cancelled turns are still saved.
    async with (
        aclosing(store),
        unwrapped(),
        telemetry.opened(otel=settings.otel, observers=settings.observers, log=observer) as observers,
        anyio.create_task_group() as tasks,
    ):
        parts = _parts(settings, closing)
        guards = Guards(observe=observers, defaults=settings.reliability, failed=layers.hear)
        folder = settings.store and settings.store.parent
        calls = _Calls(parts, catalog, guards, named, observers)
        machine = await _machine(settings, tasks, observers)
        own = stock.own(settings.tools)
        usual = stock.usual(settings.toolbox, own, machine=machine is not None)
        toolbox = Toolbox(allowed=settings.toolbox, usual=usual, approvals=settings.approvals)
        registry = Registry(
            store=store,
            catalog=catalog,
            call_for=calls,
            tasks=tasks,
            default_model=settings.model,
            limits=settings.limits,
            observe=observers,
            layers=layers,
            toolbox=toolbox,
            folder=folder,
        )
        exports = partial(_exports, settings)
        toolbox.stock = stock.Stock(registry, catalog, store, exports, calls, tasks, machine, folder, own)
        toolbox.check()
        if machine is not None:
            closing.push_async_callback(machine.terminals.aclose)
        unconfined = machine.unconfined if machine else None
        try:
            yield App(settings, catalog, registry, parts, observers, guards, unconfined)
        finally:
            await _closed(registry, closing)
            tasks.cancel_scope.cancel()


def _parts(settings: Settings, closing: AsyncExitStack) -> providers.Parts:
    return providers.Parts(
        environ=settings.environ,
        client=_Client(closing),
        closing=closing,
        cache=settings.cache,
        offline=settings.offline,
        gguf=settings.gguf,
    )


async def _closed(registry: Registry, closing: AsyncExitStack) -> None:
    # Each has its own limit: a disk that is slow must not keep children alive.
    for close, limit_s in ((registry.aclose, SAVING_LIMIT_S), (closing.aclose, CLOSING_LIMIT_S)):
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + limit_s):
            await close()


def _exports(settings: Settings, space: str) -> "Folder":
    from eai_mcp.formats.files import Folder

    root, store = settings.exports, settings.store
    if store is not None and store.resolve().is_relative_to(root.resolve()):
        raise ConfigError(
            f"the folder for exports, {root}, holds the file with the sessions, {store}, which an export"
            " could overwrite; name another one with EAI_MCP_EXPORTS",
            field="exports",
        )
    return Folder(root / "spaces" / hashlib.sha256(space.encode()).hexdigest() if space else root)


async def _machine(settings: Settings, tasks: TaskGroup, observer: observe.Observer) -> stock.Machine | None:
    return await stock.machine(
        settings.terminal,
        private=[path for path in (settings.store, settings.config) if path is not None],
        limits=settings.terminal_limits,
        environ=settings.environ,
        tasks=tasks,
        observe=observer,
    )


@asynccontextmanager
async def unwrapped() -> AsyncIterator[None]:
    """A task group wraps what its body raises; callers want the error itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None


@dataclass(slots=True)
class _Client:
    """The one connection pool, made when it is first asked for."""

    closing: AsyncExitStack
    made: "httpx2.AsyncClient | None" = None

    def __call__(self) -> "httpx2.AsyncClient":
        if self.made is None:
            from eai_mcp.providers import http  # httpx2 costs 0.1 s, and many servers never call a model

            self.made = http.new_client()
            self.closing.push_async_callback(self.made.aclose)
        return self.made


@dataclass(slots=True)
class _Calls:
    """The call that reaches each model, within its window, guarded, with those that stand in for it.

    It is made anew when the file of one of them changed. The guards' own state outlives that.
    """

    parts: providers.Parts
    catalog: Catalog
    guards: Guards
    layers: Sequence[Named]
    observe: observe.Observer
    made: dict[str, tuple[tuple[Model, ...], Call]] = field(default_factory=dict)

    def __call__(self, model: Model) -> Call:
        chain = (model, *self.catalog.fallbacks(model))
        known = self.made.get(model.name)
        if known is None or known[0] != chain:
            links = [(link.name, self._guarded(link)) for link in chain]
            call = pipeline.whole(links, layers=self.layers, observe=self.observe)
            known = self.made[model.name] = (chain, call)
        return known[1]

    def _guarded(self, model: Model) -> Call:
        adapter = providers.adapter(model, self.parts)
        credential = self.parts.environ.get(model.api_key_env or "", "")
        told_apart = hashlib.sha256(repr((credential, sorted(model.headers.items()))).encode()).hexdigest()
        return window.Fitted(self.guards.guarded(model, adapter, credential=told_apart), model)
