import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.errors import ConfigError, Conflict, StorageUnavailable
from eai_mcp.observe import Fact
from eai_mcp.terminal import Limits, places
from eai_mcp.terminal.sandbox import PATH, Confinement, Mount, Sandbox
from tests.terminal.shells import RC, ROOT, prepared, ran, sandbox

AS_ROOT = pytest.mark.skipif(not ROOT, reason="only root can be another user")


@pytest.fixture
def bin_of(folder):
    """Makes a folder with a program named bwrap, and gives the PATH that leads there."""

    def make(script):
        path = folder / "bin" / "bwrap"
        path.parent.mkdir()
        path.parent.chmod(0o755)
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path.parent)

    return make


def opened_with(folder, path, *, mode="auto", observe=lambda fact: None):
    return Sandbox(
        Confinement(folder=folder / "terminals", mode=mode),
        limits=Limits(),
        environ={"PATH": path},
        observe=observe,
    )


@given(st.text(st.characters()), st.text(st.characters()))
def test_no_id_leads_elsewhere_and_no_two_lead_to_the_same(one, other):
    at = places.home(Path("/t"), "", one)

    assert at.parent == Path("/t/own")
    assert at == Path(os.path.normpath(at))
    assert len(at.name) <= 50
    assert at.name.isascii()
    assert (places.home(Path("/t"), "", other) == at) == (one == other)
    assert places.home(Path("/t"), one or "x", "a") != places.home(Path("/t"), "", "a")


@pytest.mark.parametrize(
    "odd", ["../../etc", "/etc", ".", "..", "", "a\0b", "\ud800", "a" * 500, "-rf", "a\nb", "é"]
)
async def test_odd_id_gets_a_folder_of_its_own(folder, odd):
    made = sandbox(folder, "off", "mark")
    launch = await made.prepared("../..", odd, rc=RC)

    assert launch.cwd == made.folder("../..", odd)
    assert launch.cwd.resolve().parents[2] == folder.resolve()
    assert launch.cwd.is_dir()
    launch.release()


async def test_only_the_terminal_itself_may_enter_its_folders(folder):
    made = sandbox(folder / "deep" / "terminals", "off", "mark")
    launch = await made.prepared("", "one", rc=RC)

    home = launch.cwd.parent
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.iterdir())}
    shared, scripts = (0o710, 0o750) if ROOT else (0o700, 0o700)
    assert modes == {home.name: shared, "work": 0o700, "state": 0o700, "scripts": scripts, "lock": 0o600}
    assert {path.stat().st_uid for path in (launch.cwd, launch.state.parent)} == {
        home.stat().st_gid if ROOT else os.getuid()
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home.parent, home.parent.parent)} == {
        0o711 if ROOT else 0o700
    }
    launch.release()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


async def test_scripts_can_be_read_but_not_written_whatever_the_umask_is(folder):
    before = os.umask(0o077)
    try:
        launch = await sandbox(folder, "auto", "mark").prepared("", "one", rc=RC)
    finally:
        os.umask(before)

    rc = f"{launch.scripts_inside}/rc"
    text, _ = await to_thread.run_sync(
        ran, launch, f"cat {rc}; rm -f {rc}; echo x >> {rc}; echo left > {launch.state_inside}"
    )

    assert RC in text
    assert (launch.scripts / "rc").read_text("utf-8") == RC
    assert launch.state.read_text("utf-8") == "left\n"


async def test_environment_holds_nothing_that_was_not_named(folder):
    """Issue 7: "environment scrubbed of keys"."""
    made = sandbox(folder, "auto", "mark", OPENAI_API_KEY="secret", TZ="Europe/Vienna", LD_PRELOAD="/x.so")
    launch = await made.prepared("", "one", rc=RC)
    text, _ = await to_thread.run_sync(ran, launch, "env")

    names = {line.partition("=")[0] for line in text.splitlines()}
    own = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "PAGER", "GIT_PAGER", "TZ", "MARK"}
    assert names == own | {"PWD", "SHLVL", "_"}
    assert dict(launch.env) == {**launch.env, "HOME": "/work", "PATH": PATH, "TZ": "Europe/Vienna"}


def test_terminal_of_another_process_is_a_conflict_that_names_it(folder):
    """Issue 7, as the design has it: elsewhere the result says so (`conflict`, owner named)."""
    script = (
        "import sys; from pathlib import Path; from tests.terminal.shells import prepared, sandbox\n"
        "launch = prepared(sandbox(Path(sys.argv[1]), 'off', 'mark'))\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", script, str(folder)]
    made = sandbox(folder, "off", "mark")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(Conflict, match=f"belongs to another process, {other.pid} on ") as caught:
            prepared(made)
        other.kill()

    assert (caught.value.details["owner"], caught.value.details["pty_session_id"]) == (str(other.pid), "one")
    launch = prepared(made)
    with pytest.raises(Conflict):
        prepared(made)
    launch.release()
    prepared(made).release()


@AS_ROOT
async def test_terminals_of_root_are_users_that_nobody_else_is(folder):
    """Issue 7: "drop to an unused uid first"."""
    one, other = (sandbox(folder, "off", "mark") for _ in range(2))
    launches = [await one.prepared("", name, rc=RC) for name in ("a", "b")]
    launches += [await other.prepared("x", name, rc=RC) for name in ("a", "b")]

    uids = {launch.cwd.stat().st_uid for launch in launches}
    assert len(uids) == 4
    assert all(places.FIRST_UID <= uid <= places.LAST_UID for uid in uids)
    for launch in launches:
        launch.release()


@AS_ROOT
async def test_files_of_a_terminal_follow_it_to_another_user_and_links_are_left(folder):
    made = sandbox(folder, "off", "mark")
    launch = await made.prepared("", "one", rc=RC)
    before = launch.cwd.stat().st_uid
    outside = folder / "outside"
    outside.write_text("x", encoding="utf-8")
    (launch.cwd / "deep" / "er").mkdir(parents=True)
    for path in (launch.cwd / "deep", launch.cwd / "deep" / "er"):
        os.chown(path, before, before)
    (launch.cwd / "soft").symlink_to(outside)
    (launch.cwd / "hard").hardlink_to(outside)
    launch.release()

    lock = os.open(folder / ".uids" / str(before), os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        launch = await made.prepared("", "one", rc=RC)
    finally:
        os.close(lock)

    now = launch.cwd.stat().st_uid
    assert now != before
    assert (launch.cwd / "deep" / "er").stat().st_uid == now
    assert outside.stat().st_uid == 0
    launch.release()


@AS_ROOT
async def test_next_user_of_an_id_cannot_enter_where_it_was_left_open(folder):
    made = sandbox(folder, "off", "mark")
    first = await made.prepared("", "one", rc=RC)
    uid, home = first.cwd.stat().st_uid, first.cwd.parent
    first.release()
    home.chmod(0o710)  # as a server that was killed leaves it
    (other := made.folder("", "two").parent).mkdir()
    os.chown(other, 0, uid)
    second = await made.prepared("", "two", rc=RC)

    assert second.cwd.stat().st_uid == uid
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    second.release()


@AS_ROOT
async def test_folder_that_no_other_user_can_enter_is_refused_by_name(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    closed = places.unreachable(tmp_path)
    with pytest.raises(
        ConfigError, match=f"{closed}: only its owner may enter it.*/var/lib/eai-mcp/terminals"
    ):
        await sandbox(tmp_path / "closed" / "terminals", "off", "mark").opened()


async def test_release_is_for_the_terminal_that_it_came_with(folder):
    made = sandbox(folder, "off", "mark")
    first = await made.prepared("", "one", rc=RC)
    first.release()
    second = await made.prepared("", "one", rc=RC)
    first.release()

    assert stat.S_IMODE(second.cwd.parent.stat().st_mode) == (0o710 if ROOT else 0o700)
    with pytest.raises(Conflict):
        await made.prepared("", "one", rc=RC)
    second.release()


async def test_folder_that_is_a_file_is_refused(folder):
    (folder / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be made"):
        await sandbox(folder / "file" / "terminals", "off", "mark").opened()


async def test_terminal_whose_folder_cannot_be_made_is_unavailable(folder):
    made = sandbox(folder, "off", "mark")
    await made.opened()
    (folder / "own").write_text("", encoding="utf-8")
    with pytest.raises(StorageUnavailable, match="the terminal 'one' cannot be made"):
        await made.prepared("", "one", rc=RC)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/nonexistent", "there is no such file"),
        ("usr", "there is no such file"),
        ("/", "the sandbox has its own"),
        ("/proc/", "the sandbox has its own"),
        ("/tmp", "no terminal may see another one"),
    ],
)
async def test_mount_that_cannot_be_is_refused(folder, path, why):
    with pytest.raises(ConfigError, match=why):
        await sandbox(folder, "auto", "mark", mounts=[Mount(path=Path(path))]).opened()


async def test_mount_is_seen_at_its_own_path_and_written_only_if_allowed(folder):
    for name in ("read", "write"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
        (folder / name / "file").write_text(f"seen {name}", encoding="utf-8")
    mounts = [Mount(path=folder / "read"), Mount(path=folder / "write", writable=True)]
    launch = await sandbox(folder / "terminals", "auto", "mark", mounts=mounts).prepared("", "one", rc=RC)
    text, _ = await to_thread.run_sync(
        ran, launch, f"cat {folder}/*/file; touch {folder}/read/new; touch {folder}/write/new"
    )

    assert "seen readseen write" in text
    assert [(folder / name / "new").exists() for name in ("read", "write")] == [False, True]


async def test_confined_is_said_by_none_and_off_by_a_sentence(folder):
    assert await sandbox(folder, "required", "mark").opened() is None
    assert str(await sandbox(folder, "off", "mark").opened()).startswith(
        "the sandbox is off: commands of the chat"
    )


async def test_missing_bubblewrap_is_a_fact_or_refused(folder):
    """Issue 7: "a loud fact when it is not; `--sandbox required` refuses to run without"."""
    facts: list[Fact] = []
    made = opened_with(folder, "/nonexistent", observe=facts.append)
    reason = await made.opened()

    assert reason == await made.opened()
    assert str(reason).startswith(
        "bubblewrap is not installed (apt install bubblewrap): commands of the chat model run "
    )
    assert [(fact.name, dict(fact.fields)) for fact in facts] == [("sandbox.missing", {"reason": reason})]
    with pytest.raises(
        ConfigError, match=r"bubblewrap is not installed \(.*; --sandbox required does not run"
    ):
        await opened_with(folder, "/nonexistent", mode="required").opened()


async def test_bubblewrap_that_does_not_work_is_told_with_its_own_words(folder, bin_of):
    path = bin_of("echo 'bwrap: No permissions to create a new namespace' >&2; exit 1")
    reason = await opened_with(folder, path).opened()

    assert "does not work here (bwrap: No permissions to create a new namespace): " in str(reason)
    with pytest.raises(ConfigError, match="No permissions"):
        await opened_with(folder, path, mode="required").prepared("", "one", rc=RC)
    assert not list((folder / "terminals").glob(".probe-*"))


async def test_probe_that_is_cancelled_leaves_nothing(folder, bin_of):
    path = bin_of("exec sleep 1000")
    with anyio.move_on_after(0.2) as scope:
        await opened_with(folder, path).opened()

    assert scope.cancelled_caught
    assert not list((folder / "terminals").glob(".probe-*"))


async def test_several_terminals_are_prepared_at_once_after_one_probe(folder):
    made = sandbox(folder, "auto", "mark")
    launches = []

    async def prepare(name):
        launches.append(await made.prepared("", name, rc=RC))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(prepare, f"t{number}")

    assert len({launch.cwd for launch in launches}) == 8
    for launch in launches:
        launch.release()
