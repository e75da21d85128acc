"""Fixtures for tests of terminals."""

import tempfile
from pathlib import Path

import pytest

from tests.terminal.bare import floor


@pytest.fixture
def folder():
    """A folder for terminals that every user can reach, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory(prefix="eai-", ignore_cleanup_errors=True) as path:
        Path(path).chmod(0o711)
        yield Path(path)


@pytest.fixture
async def ground(tmp_path):
    async with floor(tmp_path / "terminals") as made:
        yield made
