"""Fixtures for tests of terminals."""

import pytest

from tests.terminal.bare import floor


@pytest.fixture
async def ground(tmp_path):
    async with floor(tmp_path / "terminals") as made:
        yield made
