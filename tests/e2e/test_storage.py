"""The file with the sessions: where it is, what is wrong with it, and what is saved when a server ends."""

import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from tests.e2e.conftest import run
from tests.e2e.silent_provider import answered, asking, begun, dialogue, heard, told
from tests.e2e.wire import LEGACY, MODERN, served

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipe (name TEXT)")
    connection.close()


def corrupt(path):
    foreign(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 2000)


def no_database(path):
    path.write_text("my notes\n" * 1000, encoding="utf-8")


def newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE session (id INTEGER)")
        connection.execute(f"PRAGMA application_id={0x65616943}")
        connection.execute("PRAGMA user_version=999")
    connection.close()


def folder_in_its_place(path):
    path.mkdir()


FAULTS = [
    (foreign, "is a database of another program"),
    (corrupt, "is damaged"),
    (no_database, "is no SQLite database"),
    (newer, "was written by a newer eai-mcp (its schema is 999"),
    (folder_in_its_place, "cannot be opened"),
]


@pytest.mark.parametrize(("spoil", "said"), FAULTS, ids=lambda it: getattr(it, "__name__", ""))
async def test_a_file_that_cannot_be_used_is_explained_left_alone_and_can_be_replaced(house, spoil, said):
    """Issue 4: a corrupt or foreign database file, a newer schema: a clear error, recovery without a restart
    where the fault ends.
    """
    house.store.parent.mkdir()
    spoil(house.store)
    before = house.store.is_file() and house.store.read_bytes()
    async with house.server() as wire:
        assert len((await wire.ask("tools/list"))["tools"]) > 5
        assert (await told(wire, "list_catalog", kind="cards"))["entries"]
        for tool, arguments in [("talk", {"content": "hello"}), ("list_sessions", {}), ("interrupt", {})]:
            error = await wire.error(tool, **arguments)
            assert error["code"] == "storage_unavailable"
            assert error["details"]["path"] == str(house.store)
            assert str(house.store) in error["message"]
            assert said in error["message"]
            assert re.search("another (file )?with EAI_MCP_STORE|move it away", error["message"])
        assert (house.store.is_file() and house.store.read_bytes()) == before
        house.store.rename(house.store.with_name("moved away"))
        assert (await told(wire, "talk", content="hello"))["status"] == "completed"
        assert (await told(wire, "list_sessions"))["sessions"][0]["message_count"] == 2
        assert "Traceback" not in wire.errors
    assert len(house.provider.asked) == 1


async def test_a_folder_where_nobody_may_write_is_explained_and_another_takes_its_place(house):
    """Issue 4: read-only folder: a clear error, recovery without a restart where the fault ends."""
    place = house.folder / "place"
    place.symlink_to("/sys/kernel")  # where root may not write either
    path = place / "eai" / "sessions.db"
    async with house.server("--store", str(path)) as wire:
        error = await wire.error("talk", content="hello")
        assert (error["code"], error["details"]["path"]) == ("storage_unavailable", str(path))
        assert "EAI_MCP_STORE" in error["message"]
        place.unlink()
        place.mkdir()
        assert (await told(wire, "talk", content="hello"))["status"] == "completed"
    assert path.is_file()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights are told by mode bits elsewhere only")
@pytest.mark.parametrize("what", ["file", "folder"])
async def test_what_may_not_be_written_is_explained_until_the_right_is_given(house, what):
    """Issue 4: read-only folder: a clear error, recovery without a restart where the fault ends."""
    # Root may write anything, but not as nobody's user.
    bound = ["unshare", "--user"] if os.geteuid() == 0 else []
    try:
        run(*bound, "true")
    except (AssertionError, FileNotFoundError):
        pytest.skip("no namespace of users here")
    async with house.server() as wire:
        await told(wire, "talk", content="one")
    path, right, mode = (house.store, 0o600, 0o400) if what == "file" else (house.store.parent, 0o700, 0o500)
    path.chmod(mode)
    async with served([*bound, *house.command], house.environment) as wire:
        error = await wire.error("talk", content="two")
        assert error["code"] == "storage_unavailable"
        assert str(house.store) in error["message"]
        assert "EAI_MCP_STORE" in error["message"]
        path.chmod(right)
        assert (await told(wire, "talk", content="two"))["reply"] == "messages=3 last=two"


async def test_a_file_that_vanishes_while_the_server_runs_is_made_anew(house):
    async with house.server() as wire:
        await told(wire, "talk", content="one")
        shutil.rmtree(house.store.parent)
        assert (await told(wire, "talk", content="two"))["reply"] == "messages=1 last=two"
        assert len(await dialogue(wire)) == 2
    async with house.server() as wire:
        assert len(await dialogue(wire)) == 2


SMALL_DISK = pytest.mark.skipif(sys.platform != "linux", reason="makes a small file system of Linux")


@asynccontextmanager
async def on_small_disk(house):
    """A server whose sessions are on a file system of 2 MB, and the path by which we reach that."""
    disk = house.folder / "disk"
    disk.mkdir()
    mounting = 'mount -t tmpfs -o size=2m,mode=700 none "$0" && exec "$@"'
    alone = ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", mounting, str(disk)]
    try:
        run(*alone, "true")
    except (AssertionError, FileNotFoundError):
        pytest.skip("no mounts in a namespace of one's own here")
    store = {"EAI_MCP_STORE": str(disk / "sessions.db")}
    async with served([*alone, *house.command], {**house.environment, **store}) as wire:
        yield wire, Path(f"/proc/{wire.process.pid}/root{disk}")


def fill(folder):
    with (folder / "filler").open("wb", 0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@SMALL_DISK
async def test_a_full_disk_is_told_loses_nothing_and_is_over_once_there_is_room(house):
    """Issue 4: disk full: a clear error, nothing acknowledged lost, recovery without a restart."""
    async with on_small_disk(house) as (wire, inside):
        await told(wire, "talk", content="one")
        fill(inside)
        error = await wire.error("talk", content="x" * 300_000)
        assert (error["code"], error["retryable"]) == ("storage_full", True)
        assert "make room and try again" in error["message"]
        assert len(await dialogue(wire)) == 2
        (inside / "filler").unlink()
        assert (await told(wire, "talk", content="two"))["reply"] == "messages=3 last=two"
        assert len(await dialogue(wire)) == 4
    assert len(house.provider.asked) == 2


@SMALL_DISK
async def test_a_reply_that_came_to_a_full_disk_is_told_and_the_session_goes_on_once_there_is_room(house):
    """Issue 4: disk full: recovery without a restart where the fault ends."""
    async with on_small_disk(house) as (wire, inside):
        await told(wire, "talk", content="one")
        waiting, asked = await asking(house, wire, content="two", model="held")
        fill(inside)
        asked.go_on.set()
        outcome = await answered(wire, waiting)
        if "error" in outcome:  # there may have been room enough in the log
            assert outcome["error"]["code"] == "storage_full"
            assert outcome["error"]["details"]["partial"] == "So far. The rest."
        (inside / "filler").unlink()
        assert (await told(wire, "talk", content="three", model="echo"))["reply"].endswith("last=three")
        (row,) = (await told(wire, "list_sessions"))["sessions"]
        assert row["status"] == "idle"


async def test_a_reply_that_the_disk_has_no_room_for_is_told_all_the_same(house):
    """The model was paid: its reply is in the error, and is not lost without a word."""
    limit = 'ulimit -f 400; exec "$@"'  # in kilobytes, or half of them
    async with served(["sh", "-c", limit, "sh", *house.command], house.environment) as wire:
        await told(wire, "talk", content="one")
        error = await wire.error("talk", content="write a book", model="big")
        assert error["code"] in ("storage_full", "storage_unavailable")
        assert error["details"]["partial"].startswith("0123456789")
        assert len(await dialogue(wire)) == 2


@ERAS
async def test_in_memory_sessions_last_as_long_as_the_server(house, era):
    """Issue 4: the `memory` store."""
    async with house.server(era=era, EAI_MCP_STORE="memory:") as wire:
        await told(wire, "talk", content="one")
        assert (await told(wire, "talk", content="two"))["reply"] == "messages=3 last=two"
    async with house.server("--store", "memory:", era=era) as wire:
        assert await dialogue(wire) == []
    assert not house.store.parent.exists()


async def test_processes_that_start_at_once_on_a_fresh_file_all_work(house):
    """Issue 4: two processes starting on a fresh file at once."""
    for number in range(3):
        store = {"EAI_MCP_STORE": str(house.folder / f"fresh{number}" / "sessions.db")}
        async with house.server(**store) as one, house.server(**store) as two:
            wires = [one, two, one, two]
            numbers = [
                await begun(wire, content="hi", chat_session=f"s{at}") for at, wire in enumerate(wires)
            ]
            answers = [await wire.answer(number) for wire, number in zip(wires, numbers, strict=True)]
            told_all = [answer["result"]["structuredContent"] for answer in answers]
            assert [each.get("status") for each in told_all] == ["completed"] * 4, told_all
            rows = (await told(two, "list_sessions"))["sessions"]
            assert [each["name"] for each in rows] == ["default", "s0", "s1", "s2", "s3"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders for data")
@pytest.mark.parametrize("chosen", ["XDG_DATA_HOME", "HOME"])
async def test_by_default_the_file_is_among_the_users_data_and_nobody_elses_to_read(house, chosen):
    """Issue 4: Default file in the user's data directory."""
    home = house.folder / "home"
    home.mkdir()
    environment = {
        name: value
        for name, value in house.environment.items()
        if name not in ("EAI_MCP_STORE", "XDG_DATA_HOME")
    }
    environment |= {"HOME": str(home)} | ({chosen: str(home / "xdg")} if chosen == "XDG_DATA_HOME" else {})
    async with served(["sh", "-c", 'umask 000; exec "$@"', "sh", *house.command], environment) as wire:
        await told(wire, "talk", content="one")
        root = home / ("xdg" if chosen == "XDG_DATA_HOME" else ".local/share") / "eai-mcp"
        assert (root / "sessions.db").is_file()
        modes = {
            path.relative_to(root).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")
        }
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        assert modes.pop("sessions.db-owners") == 0o700
        assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize("ending", ["EOF", "SIGTERM", "SIGINT"])
@ERAS
async def test_an_ending_server_saves_what_was_said_and_the_next_one_has_it(house, ending, era):
    """Issue 4: partial text kept and marked. EOF, SIGINT and SIGTERM interrupt running turns and save."""
    async with house.server(era=era) as wire:
        _, asked = await asking(house, wire, content="a story", model="held", chat_session="tale")
        _, silent = await asking(house, wire, content="anyone?", model="silent", chat_session="quiet")
        standing = await heard(wire, "tale")
        if ending == "EOF":
            await wire.leave()
        else:
            wire.process.send_signal(getattr(signal, ending))
            await wire.process.wait()
        with anyio.fail_after(5):
            await asked.left.wait()
            await silent.left.wait()
        assert wire.process.returncode == 0
    async with house.server(era=era) as wire:
        assert await dialogue(wire, "tale") == [("user", "a story", False), ("assistant", "So far. ", True)]
        outcome = await told(wire, "wait_for_reply", chat_session="tale")
        assert (outcome["status"], outcome["reply"]) == ("interrupted", "So far. ")
        assert outcome["turn_id"] == standing["turn_id"]
        assert await dialogue(wire, "quiet") == []
        clean = await told(wire, "talk", content="go on", chat_session="tale", model="echo")
        assert clean["reply"] == "messages=3 last=go on"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("postgresql://localhost/chat", "must be the path of a file, or memory: to forget the sessions"),
        ("~nobody-of-that-name/chat.db", "leads nowhere"),
    ],
)
@pytest.mark.parametrize("way", ["--store", "EAI_MCP_STORE"])
async def test_a_place_that_is_none_is_said_at_the_start(house, where, said, way):
    command = [*house.command, "--store", where] if way == "--store" else house.command
    environment = {**house.environment, "EAI_MCP_STORE": where} if way != "--store" else house.environment
    with anyio.fail_after(20):
        done = await anyio.run_process(command, env=environment, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert f"{way} {said}" in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


async def test_a_damaged_message_costs_its_session_only(house):
    """Issue 4: bad input: a clear error, nothing acknowledged lost."""
    async with house.server() as wire:
        await told(wire, "talk", content="one", chat_session="good")
        await told(wire, "talk", content="one", chat_session="bad")
    connection = sqlite3.connect(house.store)
    connection.execute(
        "UPDATE message SET body = 'no JSON' WHERE session = (SELECT id FROM session WHERE name = 'bad')"
    )
    connection.commit()
    connection.close()
    async with house.server() as wire:  # another one, for the first remembers what was said
        for tool, arguments in [("get_history", {}), ("talk", {"content": "two"})]:
            assert "no JSON" not in str(await wire.error(tool, chat_session="bad", **arguments))
        assert (await told(wire, "talk", content="two", chat_session="good"))["status"] == "completed"
        assert (await told(wire, "close_session", chat_session="bad"))["closed"] is True
