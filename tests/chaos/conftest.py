"""What every test with processes that die needs: one backend, and a folder with a file and a catalog."""

import pytest


@pytest.fixture
def anyio_backend():
    """Processes do not care which loop watches them."""
    return "asyncio"


@pytest.fixture
def path(tmp_path, catalog):
    """Where the processes keep their sessions, beside a catalog; nothing is there yet."""
    return tmp_path / "sessions.db"
