"""Large files on their way in, and what happens meanwhile: kill -9, other calls, a change of mind."""

import hashlib
import random
import signal
from functools import partial

import anyio
import pytest

from tests.e2e import large
from tests.e2e.silent_provider import answered, told
from tests.e2e.wire import LEGACY, MODERN

pytestmark = pytest.mark.timeout(90)
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
EXPORT, REPLACE = "export_chat_session_context", "replace_history"
COUNT = 8_000
LATEST_S = 0.5
GROWN = 256 * 1024
LARGE = {
    REPLACE: {"chat_session": "a", "file_path": "large.jsonl"},
    "restore": {"file_path": "large.gz", "mode": "replace"},
}


@pytest.fixture(autouse=True)
def folder(environment, tmp_path):
    """Where the tools' files are: a large one for each tool, and a small one with the beginning."""
    environment["EAI_MCP_EXPORTS"] = str(tmp_path / "exports")
    large.jsonl(tmp_path / "exports" / "large.jsonl", COUNT)
    large.snapshot(tmp_path / "exports" / "large.gz", a=COUNT // 2, b=COUNT // 2, c=1)
    large.snapshot(tmp_path / "exports" / "former.gz", a=2, b=4, default=0)
    return tmp_path / "exports"


async def standing(wire):
    """The sessions with what they hold, all of it."""
    names = [row["name"] for row in (await told(wire, "list_sessions"))["sessions"]]
    exported = [await told(wire, EXPORT, chat_session=name, format="jsonl") for name in names]
    return [(each["chat_session"], each["message_count"], each["sha256"]) for each in exported]


def log_size(house):
    log = house.store.with_name(f"{house.store.name}-wal")
    return log.stat().st_size if log.exists() else 0


async def grown(house, other):
    """Wait until some process is in the middle of writing; another one looks on."""
    begin = log_size(house)
    while log_size(house) < begin + GROWN:
        await told(other, "list_sessions")


async def killed_while(wire, tool, until):
    """Begin the large work, and kill the server once `until` is over, or the work is."""
    number = await wire.begin("tools/call", name=tool, arguments=LARGE[tool])
    async with anyio.create_task_group() as tasks:

        async def kill():
            await until()
            tasks.cancel_scope.cancel()

        tasks.start_soon(kill)
        await wire.answer(number)
        tasks.cancel_scope.cancel()
    wire.process.send_signal(signal.SIGKILL)
    await wire.process.wait()


@pytest.mark.parametrize("tool", LARGE)
async def test_a_killed_server_leaves_the_former_state_whole(house, tool):
    """Issue 5: `replace_history` checks before it touches anything; restore is all or nothing."""
    dice = random.Random(5)
    delays = [0.0, *(dice.random() * LATEST_S for _ in range(1))]
    async with house.server() as other:
        await told(other, "restore", file_path="former.gz")
        former = await standing(other)
        await told(other, tool, **LARGE[tool])
        new = await standing(other)
        seen = []
        for delay in (*delays, None, None):
            await told(other, "restore", file_path="former.gz", mode="replace")
            async with house.server() as wire:
                moment = partial(grown, house, other) if delay is None else partial(anyio.sleep, delay)
                await killed_while(wire, tool, moment)
            seen.append(await standing(other))
            assert seen[-1] in (former, new), "half of it is there"
        assert former in seen
    async with house.server() as wire:
        assert await standing(wire) == seen[-1]
        talked = await told(wire, "talk", content="hello", chat_session="b")
        assert talked["status"] == "completed"


@ERAS
@pytest.mark.parametrize("tool", LARGE)
async def test_a_caller_who_changes_its_mind_finds_the_session_as_it_was(house, era, tool):
    async with house.server(era=era) as wire:
        await told(wire, "restore", file_path="former.gz")
        former = await standing(wire)
        number = await wire.begin("tools/call", name=tool, arguments=LARGE[tool])
        await wire.send(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
        )
        assert await standing(wire) == former
        await told(wire, REPLACE, chat_session="z", file_path="large.jsonl")  # as long as that would take
        assert [each for each in await standing(wire) if each[0] != "z"] == former
        again = await told(wire, tool, **LARGE[tool])
        assert again["message_count"] in (COUNT, COUNT + 1)
        assert await standing(wire) != former


@pytest.mark.parametrize("tool", LARGE)
async def test_others_are_answered_while_a_large_file_is_read(house, folder, tool):
    """Issue 4: sessions never wait for each other."""
    async with house.server() as wire:
        await told(wire, "restore", file_path="former.gz")
        number = await wire.begin("tools/call", name=tool, arguments={**LARGE[tool], **_merged(tool)})
        listed = (await told(wire, "list_sessions"))["sessions"]
        talked = await told(wire, "talk", content="hello", chat_session="other")
        assert talked["reply"] == "messages=1 last=hello"
        assert {row["name"]: row["message_count"] for row in listed} == {"a": 2, "b": 4, "default": 0}
        done = await answered(wire, number)
        assert done["message_count"] in (COUNT, COUNT + 1)
        assert {"a", "other"} <= {name for name, _, _ in await standing(wire)}


def _merged(tool):
    return {"mode": "merge"} if tool == "restore" else {}


async def test_long_work_tells_how_far_it_is(house, folder):
    """Issue 5: with progress on long work."""
    large.jsonl(folder / "large.jsonl", 60_000)
    async with house.server() as wire:
        done = await answered(
            wire,
            await wire.begin(
                "tools/call", name=REPLACE, arguments=LARGE[REPLACE], _meta={"progressToken": "p"}
            ),
        )
        assert done["message_count"] == 60_000
        heard = [each["params"] for each in wire.notifications if each["method"] == "notifications/progress"]
    assert heard
    assert {each["progressToken"] for each in heard} == {"p"}
    assert all("messages so far" in each["message"] for each in heard)
    assert [each["progress"] for each in heard] == sorted({each["progress"] for each in heard})


async def test_the_end_of_a_server_is_the_end_of_its_reading(house, folder):
    """DESIGN section 11: EOF ends cleanly."""
    async with house.server() as other:
        await told(other, "restore", file_path="former.gz")
        former = await standing(other)
        async with house.server() as wire:
            await wire.begin("tools/call", name=REPLACE, arguments=LARGE[REPLACE])
            await wire.leave()
            assert "Traceback" not in wire.errors
        assert await standing(other) in (former, [*_with_a(former, folder)])


def _with_a(former, folder):
    whole = (folder / "large.jsonl").read_bytes()
    for name, count, sha256 in former:
        is_a = name == "a"
        yield (name, COUNT, hashlib.sha256(whole).hexdigest()) if is_a else (name, count, sha256)
