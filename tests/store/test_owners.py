import subprocess
import sys
from contextlib import contextmanager

import anyio.to_thread
import pytest

from eai_mcp.errors import StorageUnavailable
from eai_mcp.store.owners import Owners

HOLD = """
import pathlib, sys
from eai_mcp.store.owners import Owners
owners = Owners(pathlib.Path(sys.argv[1]))
print(owners.own(), flush=True)
sys.stdin.read()
owners.leave()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "owners"


@pytest.fixture
def owners(folder):
    owners = Owners(folder)
    yield owners
    owners.leave()


@contextmanager
def other(folder):
    """Another process with a lock of its own, and its name."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_name_is_made_once_and_its_file_is_for_nobody_else(owners, folder):
    assert owners.name is None
    name = owners.own()

    assert owners.own() == owners.name == name
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not owners.is_dead(name)


def test_a_process_is_alive_until_it_is_killed(owners, folder):
    with other(folder) as (process, name):
        assert not owners.is_dead(name)
        process.kill()
        process.wait()
        assert owners.is_dead(name)
    assert owners.is_dead(name)
    assert not (folder / name).exists()


def test_who_has_left_is_gone(owners, folder):
    gone = Owners(folder)
    name = gone.own()
    gone.leave()
    gone.leave()

    assert owners.is_dead(name)
    assert gone.name is None


def test_the_files_of_the_dead_are_removed_when_somebody_comes(folder, owners):
    folder.mkdir()
    (folder / "dead").touch()
    with other(folder) as (_, name):
        owners.own()
        assert {path.name for path in folder.iterdir()} == {name, owners.name}


def test_a_file_that_somebody_removed_is_made_again(owners, folder):
    name = owners.own()
    (folder / name).unlink()
    folder.rmdir()
    assert Owners(folder).is_dead(name)

    assert owners.own() == name
    assert not Owners(folder).is_dead(name)


def test_a_folder_that_cannot_be_made_is_named(folder):
    folder.touch()
    owners = Owners(folder)
    with pytest.raises(StorageUnavailable) as caught:
        owners.own()
    assert caught.value.details["path"] == str(folder)

    folder.unlink()
    owners.own()
    folder.joinpath(str(owners.name)).unlink()
    folder.rmdir()
    folder.touch()
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            owners.own()
    folder.unlink()
    assert not Owners(folder).is_dead(owners.own())
    owners.leave()


def test_a_name_that_is_no_file_of_ours_is_not_dead(owners, folder):
    (folder / "odd").mkdir(parents=True)

    assert not owners.is_dead("odd")


async def test_many_who_come_at_once_all_look_alive(folder):
    """Tidying up may find a file before it is locked."""
    many = [Owners(folder) for _ in range(30)]
    limiter = anyio.CapacityLimiter(8)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for each in many:
                tasks.start_soon(lambda owners: anyio.to_thread.run_sync(owners.own, limiter=limiter), each)

    looker = Owners(folder)
    names = [each.own() for each in many]
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    assert not any(looker.is_dead(name) for name in names)
    for each in many:
        each.leave()
    assert all(looker.is_dead(name) for name in names)
