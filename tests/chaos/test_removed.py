"""The file of sessions is removed while processes use it."""

import shutil

import anyio
import pytest

from tests.chaos.children import children
from tests.chaos.talking import WRITERS, talking
from tests.chaos.test_kill import check_file, check_valid, turns

pytestmark = pytest.mark.timeout(60)
ENOUGH = 60
ANEW = "was removed; it is made anew"


def remove_file(path):
    path.unlink()


def remove_files(path):
    for name in ("sessions.db-wal", "sessions.db-shm", "sessions.db"):
        path.with_name(name).unlink(missing_ok=True)


def remove_folder(path):
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("remove", [remove_file, remove_files, remove_folder])
async def test_a_file_that_is_removed_is_made_anew_and_loses_nothing_after_that(catalog, tmp_path, remove):
    """Issue 4: a clear error, nothing acknowledged lost, recovery without a restart where the fault ends."""
    path = tmp_path / "there" / "sessions.db"
    async with children("endless", path, "a", "b") as both:
        with anyio.fail_after(20):
            for one in both:
                await one.tell("go")
            lines = [await until(one, [], has_kept) for one in both]
            remove(path)
            async with anyio.create_task_group() as tasks:
                for one, said in zip(both, lines, strict=True):
                    tasks.start_soon(until, one, said, has_recovered)
        for one, said in zip(both, lines, strict=True):
            said += await one.killed()

    kept = {line[3] for said in lines for line in after(said) if line[0] == "kept"}
    async with talking(path) as registry:
        for number in range(WRITERS):
            entries = await registry.history("", f"s{number}", limit=None)
            check_valid(entries)
            kept -= turns(entries).keys()
    assert kept == set()
    check_file(path)


async def until(one, lines, is_enough):
    """Hear a process until what it said is enough."""
    while not is_enough(lines):
        lines.append(await one.heard())
    return lines


def has_kept(lines):
    return any(line[0] == "kept" for line in lines)


def has_recovered(lines):
    return sum(line[0] == "kept" for line in after(lines)) >= ENOUGH


def after(lines):
    """What a process said of turns that began after it had noticed: in each session those but the first."""
    noticed = next(
        (number for number, line in enumerate(lines) if line[0] == "said" and ANEW in line[1]), len(lines)
    )
    begun: dict[str, list[str]] = {}
    found = []
    for line in lines[noticed + 1 :]:
        if line[0] == "begun":
            begun.setdefault(line[1], []).append(line[3])
        elif line[0] in ("kept", "failed") and line[3] in begun.get(line[1], [])[1:]:
            found.append(line)
    return found
