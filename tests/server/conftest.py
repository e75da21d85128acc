import contextlib
from contextlib import asynccontextmanager

import anyio
import pytest
from mcp.client import Client

from eai_mcp.app import App
from eai_mcp.chat.registry import Registry
from eai_mcp.providers import Parts
from eai_mcp.server import face
from eai_mcp.settings import Settings
from eai_mcp.store.sqlite import SqliteStore
from tests.fakes import Scripted


@pytest.fixture(params=["legacy", "2026-07-28"])
def era(request):
    return request.param


@pytest.fixture
def connected(catalog, era, tmp_path):
    """A client of either protocol generation, joined to a server whose model plays the given steps."""

    @asynccontextmanager
    async def connect(*steps, store=None, **settings):
        chosen = Settings(store=None, model="plain", cache=tmp_path, **settings)
        call = Scripted(list(steps))
        async with contextlib.AsyncExitStack() as closing, anyio.create_task_group() as tasks:
            registry = Registry(
                store=store or SqliteStore(None),
                catalog=catalog,
                call_for=lambda model: call,
                tasks=tasks,
                default_model="plain",
            )
            parts = Parts(environ={}, client=_no_client, closing=closing, cache=tmp_path)
            server = face.build(App(chosen, catalog, registry, parts))
            with anyio.fail_after(10):
                async with Client(server, mode=era) as client:
                    yield client, call
                await registry.aclose()
            tasks.cancel_scope.cancel()

    return connect


def _no_client():
    raise AssertionError("nothing here may reach the network")
