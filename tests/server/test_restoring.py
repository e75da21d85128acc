"""All sessions in one file and back, as a client sees it."""

import gzip
import hashlib
import json
import stat

import pytest

from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import asks, uses
from tests.fakes import Held, said
from tests.server.calling import refused
from tests.server.learnt import LEARNT, kept, rows, says, told

EXPORT, REPLACE = "export_chat_session_context", "replace_history"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "exports"


@pytest.fixture
def moving(connected, folder):
    """The same as `connected`, with a folder for exports."""
    return lambda *steps, **fields: connected(*steps, exports=folder, **fields)


async def filled(client):
    """Make the sessions a, b and default, which remember different things."""
    await told(client, "talk", content="one", chat_session="a", model="other", prompt="coder")
    await told(client, REPLACE, chat_session="b", content=LEARNT)
    await told(client, REPLACE, content=says("at home"))


async def everything(client):
    """The rows of all sessions and their histories, with the times and turns of the messages."""
    listed = (await told(client, "list_sessions"))["sessions"]
    pages = [await told(client, "get_history", chat_session=row["name"]) for row in listed]
    return listed, pages


async def test_a_snapshot_is_one_file_with_all_sessions(moving, folder):
    """Issue 5: Snapshot of all sessions: consistent, one file."""
    async with moving(said("1")) as (client, _):
        await filled(client)
        done = await told(client, "snapshot", file_path="all.gz")
    path = folder / "all.gz"
    data = path.read_bytes()
    assert done == {
        "file_path": str(path),
        "size_bytes": len(data),
        "session_count": 3,
        "message_count": 7,
        "sha256": hashlib.sha256(data).hexdigest(),
        "left_out": [],
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in folder.iterdir()] == ["all.gz"]
    lines = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    assert (lines[0]["format"], lines[-1]["session_count"]) == ("eai-mcp-snapshot", 3)
    assert [line["session"] for line in lines if "session" in line] == ["a", "b", "default"]


async def test_a_restore_brings_everything_back_and_the_next_snapshot_is_the_same(moving, folder):
    """Issue 5: same history, same bytes."""
    async with moving(said("1"), said("2"), said("3")) as (client, _):
        await filled(client)
        await told(client, "snapshot", file_path="1")
        before = await everything(client)
        await told(client, "talk", content="two", chat_session="a", model="hasty")
        await told(client, REPLACE, chat_session="b", content=[])
        await told(client, "close_session", chat_session="b")
        done = await told(client, "restore", file_path="1")
        assert done == {"session_count": 3, "message_count": 7, "repairs": []}
        assert await everything(client) == before
        await told(client, "snapshot", file_path="2")
        effective = (await told(client, "talk", content="two", chat_session="a"))["effective"]
    assert (folder / "1").read_bytes() == (folder / "2").read_bytes()
    assert effective == {"model": "other", "prompt": "coder"}


async def test_another_server_restores_all_of_it(moving, folder):
    async with moving(said("1")) as (client, _):
        await filled(client)
        await told(client, "snapshot", file_path="1")
        before = await everything(client)
    async with moving(store=SqliteStore(None)) as (client, _):
        await told(client, "restore", file_path="1")
        assert await everything(client) == before


@pytest.mark.parametrize(
    ("mode", "left"), [({}, True), ({"mode": "merge"}, True), ({"mode": "replace"}, False)]
)
async def test_other_sessions_stay_unless_all_is_to_be_replaced(moving, mode, left):
    """Issue 5: `--merge` and `--replace`."""
    async with moving(said("1")) as (client, _):
        await filled(client)
        await told(client, "snapshot", file_path="1")
        await told(client, REPLACE, chat_session="other", content=says("mine"))
        await told(client, "restore", file_path="1", **mode)
        names = [row["name"] for row in await rows(client)]
    assert names == ["a", "b", "default", *(["other"] if left else [])]


async def test_the_default_session_is_there_after_a_snapshot_without_it(moving, folder):
    lines = [
        {"format": "eai-mcp-snapshot", "version": 1},
        {"session": "solo", "message_count": 1},
        {**says("hello")[0], "at": 5.5},
    ]
    _write(folder / "solo", lines, session_count=1, message_count=1)
    async with moving() as (client, _):
        await told(client, REPLACE, content=says("at home"))
        await told(client, "restore", file_path="solo", mode="replace")
        assert [(row["name"], row["message_count"]) for row in await rows(client)] == [
            ("default", 0),
            ("solo", 1),
        ]


def _write(path, lines, **closing):
    path.parent.mkdir(exist_ok=True)
    data = b"".join(
        json.dumps(line, separators=(",", ":"), sort_keys=True).encode() + b"\n" for line in lines
    )
    closing["sha256"] = hashlib.sha256(data).hexdigest()
    path.write_bytes(data + json.dumps(closing).encode())


@pytest.mark.parametrize("mode", ["merge", "replace"])
async def test_nothing_is_restored_while_any_target_is_busy(moving, mode):
    """Issue 5: restore is all or nothing, and refuses while any target is busy."""
    held = Held("half")
    async with moving(said("1"), held) as (client, _):
        await filled(client)
        await told(client, "snapshot", file_path="1")
        for session in ("a", "b", "default"):
            await told(client, REPLACE, chat_session=session, content=says("new"))
        await told(client, REPLACE, chat_session="other", content=says("mine"))
        turn = await told(client, "talk", content="go", chat_session="b", timeout_ms=0)
        await held.reached.wait()
        before = await rows(client)
        error = await refused(client, "restore", file_path="1", mode=mode)
        assert (error["code"], error["details"]["turn_id"]) == ("busy", turn["turn_id"])
        assert await rows(client) == before
        held.let_go.set()
        await told(client, "wait_for_reply", chat_session="b")
        await told(client, "restore", file_path="1", mode=mode)
        assert (await kept(client, "b"), await kept(client)) == (LEARNT, says("at home"))


@pytest.mark.parametrize(("mode", "code"), [("merge", None), ("replace", "busy")])
async def test_a_session_that_is_not_in_the_snapshot_is_in_the_way_only_if_it_is_to_go(moving, mode, code):
    held = Held("half")
    async with moving(said("1"), held) as (client, _):
        await filled(client)
        await told(client, "snapshot", file_path="1")
        await told(client, "talk", content="go", chat_session="other", timeout_ms=0)
        await held.reached.wait()
        if code:
            assert (await refused(client, "restore", file_path="1", mode=mode))["code"] == code
        else:
            await told(client, "restore", file_path="1", mode=mode)
        assert {row["name"]: row["status"] for row in await rows(client)}["other"] == "busy"


def truncated(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-40] + bytes([data[-40] ^ 0xFF]) + data[-39:]


def changed(data):
    return gzip.compress(gzip.decompress(data).replace(b"Let me look", b"Let me pass"))


def without_a_message(data):
    lines = gzip.decompress(data).splitlines(keepends=True)
    return gzip.compress(b"".join([*lines[:4], *lines[5:]]))


def without_its_end(data):
    return gzip.compress(b"".join(gzip.decompress(data).splitlines(keepends=True)[:-1]))


def broken_in_the_middle(data):
    return gzip.compress(gzip.decompress(data).replace(b'"tool_use"', b"tool_use"))


def prolonged(data):
    return data + gzip.compress(b'{"session":"late","message_count":0}\n')


def with_a_bad_message(data):
    lines = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    lines[5]["role"] = "narrator"
    return json.dumps(lines[0]).encode() + b"\n" + b"\n".join(json.dumps(line).encode() for line in lines[1:])


def newer(data):
    return gzip.compress(gzip.decompress(data).replace(b'"version":1', b'"version":2', 1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "damaged"),
        (flipped, "damaged"),
        (changed, "its sha256 does not fit"),
        (without_a_message, "should have"),
        (without_its_end, "its last line is missing"),
        (broken_in_the_middle, "not JSON"),
        (prolonged, "behind its end"),
        (with_a_bad_message, "narrator"),
        (newer, "update it"),
        (lambda data: b"", "empty"),
        (lambda data: b"[]", "no snapshot"),
        (lambda data: json.dumps(says("hello")).encode(), "`replace_history` (`eai-mcp import`) reads"),
    ],
)
async def test_a_snapshot_that_is_damaged_restores_nothing(moving, folder, spoil, message):
    """Issue 5: restore is all or nothing."""
    async with moving(said("1")) as (client, _):
        await filled(client)
        await told(client, "snapshot", file_path="1")
        path = folder / "1"
        path.write_bytes(spoil(path.read_bytes()))
        await told(client, REPLACE, chat_session="a", content=says("newer"))
        await told(client, "close_session", chat_session="b")
        before = await everything(client)
        for mode in ("merge", "replace"):
            error = await refused(client, "restore", file_path="1", mode=mode)
            assert error["code"] == "import_invalid"
            assert message in error["message"]
        assert await everything(client) == before


async def test_what_a_snapshot_cannot_hold_is_named(moving):
    held = Held("half")
    async with moving(said("1"), uses(asks("Which one?")), held) as (client, _):
        await filled(client)
        await told(client, "talk", content="paint", chat_session="a")
        await told(client, "talk", content="go", chat_session="b", timeout_ms=0)
        await held.reached.wait()
        done = await told(client, "snapshot", file_path="1")
        assert done["left_out"] == [
            "session 'a': the question that waits in it was left out",
            "session 'b': the turn that runs in it was left out",
        ]
        assert (done["session_count"], done["message_count"]) == (3, 7)
        await told(client, "interrupt", chat_session="b")
        await told(client, "restore", file_path="1")
        assert {row["status"] for row in await rows(client)} == {"idle"}
        assert await kept(client, "a") == says("one", "1")


async def test_a_restored_over_history_comes_back_by_its_revision(moving):
    """Issue 5: keeps the former history restorable by revision."""
    async with moving(said("1")) as (client, _):
        await filled(client)
        await told(client, "snapshot", file_path="1")
        changed = await told(client, REPLACE, chat_session="b", content=says("mine"))
        await told(client, "restore", file_path="1")
        assert await kept(client, "b") == LEARNT
        await told(client, REPLACE, chat_session="b", revision=changed["revision"])
        assert await kept(client, "b") == says("mine")


async def test_each_kind_of_file_says_which_tool_reads_it(moving):
    async with moving(said("1")) as (client, _):
        await filled(client)
        await told(client, "snapshot", file_path="all")
        await told(client, EXPORT, file_path="one")
        one = await refused(client, "restore", file_path="one")
        whole = await refused(client, REPLACE, file_path="all")
        assert (one["code"], whole["code"]) == ("import_invalid", "import_invalid")
        assert "`replace_history`" in one["message"]
        assert "`restore`" in whole["message"]
        assert (await refused(client, "restore", file_path="none"))["code"] == "not_found"
        error = await refused(client, "restore", file_path="all", mode="some")
        assert (error["code"], "'merge' or 'replace'" in error["message"]) == ("invalid_argument", True)


async def test_names_that_no_session_may_have_are_mended_or_refused(moving, folder):
    def lines(*names):
        yield {"format": "eai-mcp-snapshot", "version": 1}
        yield from ({"session": name, "message_count": 0} for name in names)

    _write(folder / "mended", lines("a b", "x" * 200, ".."), session_count=3, message_count=0)
    _write(folder / "alike", lines("a b", "a_b", "a/b"), session_count=3, message_count=0)
    _write(folder / "twice", lines("a", "a"), session_count=2, message_count=0)
    async with moving() as (client, _):
        done = await told(client, "restore", file_path="mended")
        assert [row["name"] for row in await rows(client)] == ["_", "a_b", "default", "x" * 128]
        assert len(done["repairs"]) == 3
        done = await told(client, "restore", file_path="alike", mode="replace")
        assert [row["name"] for row in await rows(client)] == ["a_b", "a_b-2", "a_b-3", "default"]
        assert done["repairs"] == ["session 'a b' is now 'a_b-2'", "session 'a/b' is now 'a_b-3'"]
        error = await refused(client, "restore", file_path="twice")
        assert (error["code"], "two sessions named 'a'" in error["message"]) == ("import_invalid", True)


async def test_what_was_mended_in_many_sessions_is_told_in_short(moving, folder):
    """DESIGN section 5: no message above 8 MiB on the wire."""
    names = [f"{n} {'x' * 100}" for n in range(5_000)]
    lines = [{"session": name, "message_count": 0} for name in names]
    head = {"format": "eai-mcp-snapshot", "version": 1}
    _write(folder / "many", [head, *lines], session_count=len(lines), message_count=0)
    async with moving() as (client, _):
        done = await told(client, "restore", file_path="many")
    assert done["session_count"] == 5_000
    assert len(json.dumps(done)) < 100_000
