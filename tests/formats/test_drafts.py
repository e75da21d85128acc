"""Files that are written: whole or not at all, and what the disk has to say."""

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eai_mcp.errors import StorageUnavailable
from eai_mcp.formats.files import Folder
from tests.formats.folders import BOTH_WAYS, read, system_calls, tree, write

TOP = Path(__file__).parents[2]
MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'

WRITES = """
import sys
from pathlib import Path
from eai_mcp.errors import EaiError
from eai_mcp.formats.files import Folder

folder = Folder(Path(sys.argv[1]))
def write(path, data):
    try:
        with folder.draft(path) as draft:
            for at in range(0, len(data), 65536):
                draft.write(data[at:at + 65536])
    except EaiError as error:
        print(error.code, error.message)
    else:
        print("kept", draft.size_bytes)
"""


@pytest.fixture(params=BOTH_WAYS)
def folder(request, tmp_path):
    """A folder that is not there yet; names are looked up in both ways."""
    return Folder(tmp_path / "exports", descriptors=request.param)


def child(script, *arguments, within=()):
    """A process that ends by itself; the lines that it wrote."""
    command = [*within, sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True, timeout=15)
    return done.stdout.splitlines()


def test_what_was_written_is_told_and_can_be_read(folder):
    """Issue 5: To a file (atomic, size and count and sha256 returned)"""
    data = os.urandom(700_000)
    with folder.draft("a/b/history.json") as draft:
        for at in range(0, len(data), 99_999):
            draft.write(data[at : at + 99_999])

    assert (draft.size_bytes, draft.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert draft.path == folder.root / "a" / "b" / "history.json"
    assert draft.path.read_bytes() == data
    with folder.reading("a/b/history.json") as pieces:
        sizes = [len(piece) for piece in pieces]
    assert sizes == [256 * 1024, 256 * 1024, 700_000 - 512 * 1024]
    assert read(folder, str(draft.path)) == data


@pytest.mark.parametrize("umask", [0, 0o077, 0o277])
def test_nobody_else_may_look_whatever_the_umask_is(folder, umask):
    if not folder.descriptors:
        umask &= 0o077  # a system without descriptors has no other modes either
    before = os.umask(umask)
    try:
        inner = Folder(folder.root / "space", descriptors=folder.descriptors)
        with inner.draft("a/b/c.json") as draft:
            draft.write(b"x")
            (part,) = draft.path.parent.iterdir()
            modes = [stat.S_IMODE(part.stat().st_mode)]
    finally:
        os.umask(before)
    modes.append(stat.S_IMODE(draft.path.stat().st_mode))
    folders = [inner.root, inner.root.parent, inner.root / "a", inner.root / "a" / "b"]

    assert modes == [0o600, 0o600]
    assert {stat.S_IMODE(one.stat().st_mode) for one in folders} == {0o700}


def test_folders_that_exist_keep_their_modes(folder):
    (folder.root / "open").mkdir(parents=True)
    (folder.root / "open").chmod(0o755)
    write(folder, "open/x")

    assert stat.S_IMODE((folder.root / "open").stat().st_mode) == 0o755


def broken_off(draft, error):
    draft.write(b"new" * 1_000_000)
    raise error


@pytest.mark.parametrize("broken", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_draft_that_ends_badly_leaves_what_was_there(folder, broken):
    """Issue 5: To a file (atomic, size and count and sha256 returned)"""
    write(folder, "x", b"old")
    with pytest.raises(broken), folder.draft("x") as draft:
        broken_off(draft, broken)

    assert tree(folder.root).keys() == {str(folder.root / "x")}
    assert read(folder, "x") == b"old"


def test_an_error_that_is_not_about_the_file_stays_what_it_is(folder):
    write(folder, "x", b"old")
    with pytest.raises(OSError, match="mine"), folder.draft("x"):
        raise OSError(errno.ENOSPC, "mine")
    with pytest.raises(OSError, match="mine"), folder.reading("x"):
        raise OSError(errno.ENOENT, "mine")


def test_until_it_is_whole_the_old_file_is_there(folder):
    write(folder, "x", b"old")
    with folder.draft("x") as draft:
        draft.write(b"new" * 1_000_000)
        assert read(folder, "x") == b"old"
        parts = [one.name for one in folder.root.iterdir() if one.name != "x"]
        assert [(len(name), name[:3], name[-5:]) for name in parts] == [(24, ".x.", ".part")]
    assert read(folder, "x") == b"new" * 1_000_000


def test_bytes_and_name_are_on_the_disk_when_a_draft_has_ended(folder):
    """Issue 5: To a file (atomic, size and count and sha256 returned)"""
    calls: list[str] = []
    with system_calls(calls.append):
        write(folder, "x")
    order = [name for name in calls if name in ("fsync", "replace")]

    assert order == (["fsync", "replace", "fsync"] if folder.descriptors else ["fsync", "replace"])


def test_of_two_writers_the_last_to_end_wins_and_both_are_whole(folder):
    with folder.draft("x") as last:
        last.write(b"a" * 500_000)
        with folder.draft("x") as first:
            first.write(b"b" * 400_000)
            last.write(b"a" * 500_000)
        assert read(folder, "x") == b"b" * 400_000
    assert read(folder, "x") == b"a" * 1_000_000
    assert (first.size_bytes, last.size_bytes) == (400_000, 1_000_000)
    assert first.sha256 != last.sha256


def test_a_reader_keeps_the_file_that_it_began_with(folder):
    write(folder, "x", b"a" * 600_000)
    with folder.reading("x") as pieces:
        first = next(pieces)
        write(folder, "x", b"b")
        assert first + next(pieces) == b"a" * 512 * 1024
    with pytest.raises(ValueError, match="closed file"):
        next(pieces)


def test_what_a_killed_writer_left_is_removed_a_day_later(folder):
    write(folder, "x")
    day = 24 * 3600
    ages = {
        ".x.0123456789abcdef.part": day + 60,
        ".y.0123456789abcdef.part": day - 60,
        ".z.part": day + 60,
        "x.0123456789abcdef.part": day + 60,
        "old.json": 100 * day,
    }
    for name, age in ages.items():
        (folder.root / name).write_bytes(b"")
        os.utime(folder.root / name, (time.time() - age,) * 2)
    (folder.root / ".f.0123456789abcdef.part").mkdir()
    os.utime(folder.root / ".f.0123456789abcdef.part", (0, 0))
    write(folder, "x")

    left = {one.name for one in folder.root.iterdir()}
    assert left == {"x", ".f.0123456789abcdef.part", *ages} - {".x.0123456789abcdef.part"}


def test_a_writer_that_is_killed_leaves_the_old_file(folder):
    """Issue 5: To a file (atomic, size and count and sha256 returned)"""
    write(folder, "x", b"old")
    script = WRITES + (
        "with folder.draft('x') as draft:\n"
        "    draft.write(bytes(1_000_000))\n"
        "    print('half', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(folder.root)]
    with subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.kill()

    assert read(folder, "x") == b"old"
    (part,) = [one for one in folder.root.iterdir() if one.name != "x"]
    assert part.name.startswith(".x.")
    os.utime(part, (0, 0))
    write(folder, "x", b"new")
    assert [one.name for one in folder.root.iterdir()] == ["x"]


def test_a_file_that_may_grow_no_further_is_told_and_leaves_the_old_one(folder):
    write(folder, "x", b"old")
    lines = child(
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        f"{WRITES}\n"
        "write('x', bytes(2_000_000))\n"
        "write('y', bytes(1_000_001))\n"
        "write('z', bytes(1_000_000))\n",
        folder.root,
    )

    assert [line.split(maxsplit=1)[0] for line in lines] == ["storage_full", "storage_full", "kept"]
    assert f"there is no room for 'x' in {folder.root}" in lines[0]
    assert sorted(one.name for one in folder.root.iterdir()) == ["x", "z"]
    assert read(folder, "x") == b"old"


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path):
    within = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*within, "true"], check=False).returncode:
        pytest.skip("no file system can be mounted here; a limit on the size of files is the same to us")
    lines = child(
        f"{WRITES}\n"
        "write('x', bytes(500_000))\n"
        "write('x', bytes(3_000_000))\n"
        "write('y', bytes(400_000))\n"
        "print(sorted((one.name, one.stat().st_size) for one in folder.root.iterdir()))\n",
        tmp_path,
        within=within,
    )

    assert lines[0] == "kept 500000"
    assert lines[1].startswith(
        f"storage_full there is no room for 'x' in {tmp_path} (No space left on device)"
    )
    assert lines[2:] == ["kept 400000", "[('x', 500000), ('y', 400000)]"]


def test_missing_rights_are_told(folder):
    within = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if within and (not shutil.which("setpriv") or subprocess.run([*within, "true"], check=False).returncode):
        pytest.skip("root may write everywhere")
    write(folder, "locked/x")
    write(folder, "hidden/x")
    write(folder, "mine")
    for name, mode in (("locked", 0o500), ("hidden", 0), ("mine", 0)):
        (folder.root / name).chmod(mode)
    script = WRITES + (
        "write('locked/y', b'')\n"
        "write('hidden/x', b'')\n"
        "try:\n"
        "    with folder.reading('mine'):\n"
        "        pass\n"
        "except EaiError as error:\n"
        "    print(error.code, error.message)\n"
    )
    lines = child(script, folder.root, within=within)
    for name in ("locked", "hidden"):
        (folder.root / name).chmod(0o700)

    assert [line.split(":")[0] for line in lines] == [
        f"path_denied {name!r} cannot be used" for name in ("locked/y", "hidden/x", "mine")
    ]
    assert all("the rights to it are missing" in line for line in lines)
    assert [one.name for one in (folder.root / "locked").iterdir()] == ["x"]


def test_a_root_that_is_a_file_is_told(folder):
    folder.root.write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="is no folder") as failed:
        write(folder, "x")
    assert failed.value.details == {"path": str(folder.root)}
    with pytest.raises(StorageUnavailable, match="is no folder"):
        read(folder, "x")


def test_a_folder_that_is_taken_away_during_a_draft_is_told(folder):
    with (
        pytest.raises(StorageUnavailable, match="cannot be read or written: No such file"),
        folder.draft("a/x") as draft,
    ):
        shutil.rmtree(draft.path.parent)
