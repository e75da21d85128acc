"""Disks that are full, folders and files that may not be written."""

import os
import shutil
import subprocess

import pytest

from tests.chaos.children import child
from tests.chaos.talking import talking

pytestmark = pytest.mark.timeout(60)
MOUNT = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"'


@pytest.fixture
def small_disk(tmp_path):
    """A folder, and the command that runs another one for which a disk of 2 MB is there."""
    folder = tmp_path / "disk"
    folder.mkdir()
    within = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(folder)]
    if not shutil.which("unshare") or subprocess.run([*within, "true"], check=False).returncode:
        pytest.skip("no file system can be mounted here; test_writer has the same with a full database")
    return folder, within


@pytest.fixture
def ordinary():
    """The command that runs another one without the right to pass over the modes of files."""
    if os.geteuid():
        return []
    within = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if not shutil.which("setpriv") or subprocess.run([*within, "true"], check=False).returncode:
        pytest.skip("root may write everywhere; test_database has what holds for root too")
    return within


async def test_a_full_disk_loses_nothing_and_writing_goes_on_once_there_is_room(catalog, small_disk):
    """Issue 4: disk full: a clear error, nothing acknowledged lost, recovery without a restart where the
    fault ends."""
    folder, within = small_disk
    async with child("full", folder / "sessions.db", within=within) as one:
        await one.tell("go")
        lines = await one.ended()

    assert {line[0] for line in lines} == {"begun", "kept", "failed", "read"}, lines
    (failed,) = [line for line in lines if line[0] == "failed"]
    assert failed[3] == "storage_full"
    assert "the disk is full" in failed[4]
    assert str(folder / "sessions.db") in failed[4]
    *before, last = [text for line in lines if line[0] == "kept" for text in (line[2], line[5])]
    first_read, second_read = [line[1] for line in lines if line[0] == "read"]
    assert first_read == before[:-1]
    assert second_read[: len(first_read)] == first_read
    assert second_read[-2:] == [before[-1], last]
    assert len(before) > 20


@pytest.mark.parametrize("locked", ["folder", "file"])
async def test_what_may_not_be_written_is_named_and_works_once_it_may(catalog, tmp_path, ordinary, locked):
    """Issue 4: read-only folder: a clear error."""
    path = tmp_path / "there" / "sessions.db"
    path.parent.mkdir()
    if locked == "file":
        async with talking(path) as registry:
            await registry.ensure("", "before")
    place = path if locked == "file" else path.parent
    place.chmod(0o500)
    async with child("fresh", path, within=ordinary) as one:
        await one.tell("go")
        (failed,) = await one.ended()
    assert (failed[0], failed[3]) == ("failed", "storage_unavailable")
    assert str(path) in failed[4]
    assert "EAI_MCP_STORE" in failed[4]

    place.chmod(0o700)
    async with child("fresh", path, within=ordinary) as one:
        await one.tell("go")
        assert [line[0] for line in await one.ended()] == ["begun", "kept"]
