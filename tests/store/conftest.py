"""Every kind of store that the conformance suite runs on, and a file that two owners share."""

import pytest

from eai_mcp.store.sqlite import SqliteStore
from tests.store.taking import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    """Where a store may keep its file; nothing is there yet."""
    return tmp_path / "sessions.db"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, path, clock):
    """A store of each kind, still empty."""
    store = SqliteStore(None if request.param == "memory" else path, now=clock)
    yield store
    await store.aclose()


@pytest.fixture
async def first(path, clock):
    """One of two owners, each a process of its own as far as the file can tell."""
    store = SqliteStore(path, now=clock, monotonic=clock)
    yield store
    await store.aclose()


@pytest.fixture
async def second(path, clock):
    """The other owner of the same file."""
    store = SqliteStore(path, now=clock, monotonic=clock)
    yield store
    await store.aclose()
