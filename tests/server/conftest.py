import contextlib
from contextlib import asynccontextmanager

import anyio
import pytest
from mcp.client import Client

from eai_mcp.app import App
from eai_mcp.chat.registry import Registry
from eai_mcp.observe import Observers
from eai_mcp.providers import Parts
from eai_mcp.server import face
from eai_mcp.settings import Settings
from eai_mcp.store.sqlite import SqliteStore
from tests.fakes import Scripted
from tests.server.tasking import Polling


@pytest.fixture(params=["legacy", "2026-07-28"])
def era(request):
    return request.param


class Standing:
    """Guards that stand as a test says."""

    def __init__(self, standings):
        self.standing = lambda: [*standings]


def guards_that_stand(standings):
    return Standing(standings)


@pytest.fixture
def connected(catalog, era, tmp_path):
    """A client of either protocol generation, joined to a server whose model plays the given steps.

    `client` has options for the client, `observers` pass on the facts, `standings` are the guards'.
    """

    @asynccontextmanager
    async def connect(*steps, store=None, client=None, observers=None, standings=(), **settings):
        chosen = Settings(store=None, model="plain", cache=tmp_path, **settings)
        call, observers = Scripted(list(steps)), observers or Observers(())
        async with contextlib.AsyncExitStack() as closing, anyio.create_task_group() as tasks:
            registry = Registry(
                store=store or SqliteStore(None),
                catalog=catalog,
                call_for=lambda model: call,
                tasks=tasks,
                default_model="plain",
                observe=observers,
            )
            parts = Parts(environ={}, client=_no_client, closing=closing, cache=tmp_path)
            app = App(chosen, catalog, registry, parts, observers, guards_that_stand(standings))
            server = face.build(app)
            with anyio.fail_after(10):
                async with Client(server, mode=era, **(client or {})) as connected:
                    yield connected, call
                await registry.aclose()
            tasks.cancel_scope.cancel()

    return connect


@pytest.fixture
def declaring(connected):
    """A client that declares tasks; a call waits for 50 ms before it is answered with one."""

    @asynccontextmanager
    async def connect(*steps, person=None, extensions=None, **settings):
        options = {"extensions": extensions or [Polling()], "elicitation_callback": person}
        chosen = {"inline_wait_s": 0.05, "elicit": True, **settings}
        async with connected(*steps, client=options, **chosen) as (client, model):
            yield client, model

    return connect


def _no_client():
    raise AssertionError("nothing here may reach the network")
