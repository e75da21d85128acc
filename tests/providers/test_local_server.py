"""A server in a child process: one start for all, and no child left behind."""

import json
import os
import signal
import sys
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio import to_thread

from eai_mcp.errors import CallTimeout, Unavailable
from eai_mcp.providers.local_server import Server

FAKE = Path(__file__).with_name("fake_child.py")


class Heard(list[str]):
    async def __call__(self, text):
        self.append(text)


class Children:
    """Makes servers of fake children in one test, and ends them with it.

    `ways` are one for each start, see the fake; the last one holds for the rest.
    """

    def __init__(self, log):
        self.log = log
        self.servers = []

    def __call__(self, *ways, before=None, spawning=bool, **options):
        ahead = list(ways)

        async def weights(report):
            if before:
                await before(report)
            return Path(ahead.pop(0) if len(ahead) > 1 else ahead[0])

        def command(path):
            spawning()
            return [sys.executable, "-S", str(FAKE), str(path), str(self.log)]

        server = Server("Tiny-1M", weights, command, **options)
        self.servers.append(server)
        return server

    @property
    def pids(self):
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []


@pytest.fixture
async def children(tmp_path):
    made = Children(tmp_path / "pids")
    yield made
    for server in made.servers:
        await server.aclose()
    if not made.log.is_fifo():
        assert [pid for pid in made.pids if is_there(pid)] == []


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def get(endpoint, page):
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.get(f"{endpoint.base_url}/{page}", headers=headers)


async def test_a_child_is_started_at_the_first_call_and_answers_to_its_key_alone(children):
    server, heard = children("ready"), Heard()
    assert children.pids == []

    endpoint = await server.endpoint(heard)
    assert await server.endpoint(heard) == endpoint
    assert (await get(endpoint, "pid")).text == str(children.pids[0])
    assert (await get(type(endpoint)(endpoint.base_url, "guess"), "pid")).status_code == 401
    assert heard == ["starting Tiny-1M (first call)"]


async def test_racing_first_calls_share_one_start(children):
    server, endpoints = children("ready"), []

    async def ask():
        endpoints.append(await server.endpoint(Heard()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(ask)

    assert len(set(endpoints)) == 1
    assert len(children.pids) == 1


async def test_those_who_wait_hear_the_progress(children):
    go = anyio.Event()

    async def slow(report):
        await report("fetching: 1 of 2 MB")
        await go.wait()

    class Listening(Heard):
        async def __call__(self, text):
            await super().__call__(text)
            go.set()

    second = Listening()
    server = children("ready", before=slow, every=0.01)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.endpoint, Heard())
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(server.endpoint, second)

    assert second[0] == "fetching: 1 of 2 MB"


async def test_a_cancelled_start_leaves_no_child_and_the_next_who_waits_starts_anew(children):
    os.mkfifo(children.log)
    server, endpoints = children("silent", "ready", every=0.01), []

    async def first(scope):
        with scope:
            await server.endpoint(Heard())

    async def second():
        endpoints.append(await server.endpoint(Heard()))

    scope = anyio.CancelScope()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first, scope)
            cancelled = int(await to_thread.run_sync(children.log.read_text, abandon_on_cancel=True))
            tasks.start_soon(second)
            scope.cancel()
            started = int(await to_thread.run_sync(children.log.read_text, abandon_on_cancel=True))

    assert not is_there(cancelled)
    assert (await get(endpoints[0], "pid")).text == str(started)


async def test_a_killed_child_is_known_as_dead_and_replaced(children):
    server, heard = children("ready"), Heard()
    old = await server.endpoint(heard)
    assert await server.death(old) is None

    os.kill(children.pids[0], signal.SIGKILL)
    assert await server.death(old) == "was killed by signal 9"
    new = await server.endpoint(heard)
    assert (await get(new, "pid")).text == str(children.pids[1])
    assert new.key != old.key
    assert await server.death(old) == "was replaced"
    assert heard[1:] == ["starting Tiny-1M again"]


@pytest.mark.parametrize(
    ("way", "retryable", "message"),
    [
        (
            "broken",
            False,
            r"Tiny-1M could not be loaded: cannot load \(E llama: error: the file is cut off\)$",
        ),
        ("crash", True, "Tiny-1M could not be started: its process was killed by signal 9$"),
        ("exit", True, "Tiny-1M could not be started: its process ended with status 3$"),
        ("noise", True, "Tiny-1M could not be started: its process said nothing of use$"),
    ],
)
async def test_a_child_that_cannot_start_says_why(children, way, retryable, message):
    server = children(way)

    with pytest.raises(Unavailable, match=message) as caught:
        await server.endpoint(Heard())
    assert caught.value.retryable is retryable
    assert not is_there(children.pids[0])


async def test_a_failed_start_is_tried_again_by_the_next_call(children):
    server = children("exit", "ready")
    with pytest.raises(Unavailable):
        await server.endpoint(Heard())

    assert (await get(await server.endpoint(Heard()), "pid")).text == str(children.pids[1])


async def test_a_child_that_never_gets_ready_is_ended(children):
    with pytest.raises(CallTimeout, match=r"Tiny-1M was not ready within 0\.5 s"):
        await children("silent", ready_within=0.5).endpoint(Heard())


async def test_a_program_that_is_not_there_is_no_bug(tmp_path):
    async def found(report):
        return Path("model.gguf")

    server = Server("Tiny-1M", found, lambda path: [str(tmp_path / "no-such-program")])
    with pytest.raises(Unavailable, match="cannot start Tiny-1M: No such file or directory") as caught:
        await server.endpoint(Heard())
    assert not caught.value.retryable


async def test_no_secret_of_ours_reaches_the_child(children):
    environ = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONUTF8": "1",
        "OPENAI_API_KEY": "sk-1",
        "AWS_SECRET_ACCESS_KEY": "s",
        "HTTPS_PROXY": "http://user:password@proxy",
    }
    endpoint = await children("ready", environ=environ).endpoint(Heard())

    shown = json.loads((await get(endpoint, "environ")).text)
    assert {name: shown[name] for name in environ if name in shown} == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONUTF8": "1",
    }
    assert shown["EAI_MCP_LOCAL_KEY"] == endpoint.key


async def test_closing_ends_the_child_and_a_stubborn_one_is_killed(children):
    for way in ("ready", "stubborn"):
        server = children(way)
        endpoint = await server.endpoint(Heard())
        with anyio.fail_after(3):
            await server.aclose()
        assert not is_there(children.pids[-1])
        assert await server.death(endpoint) == "was replaced"


async def test_nothing_is_started_after_closing(children):
    server = children("ready")
    await server.aclose()

    with pytest.raises(Unavailable, match="Tiny-1M is shutting down"):
        await server.endpoint(Heard())
    assert children.pids == []


async def test_a_start_that_closing_overtakes_leaves_no_child(children):
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            server: Server = children("ready", spawning=lambda: tasks.start_soon(server.aclose))
            with pytest.raises(Unavailable, match="Tiny-1M is shutting down with the server"):
                await server.endpoint(Heard())

    assert len(children.pids) == 1
