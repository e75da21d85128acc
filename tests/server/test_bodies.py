"""How much of bodies is held, whose, and for how long."""

from contextlib import asynccontextmanager

import anyio
import pytest

from eai_mcp.server.bodies import Readable
from eai_mcp.server.principal import SPACE

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_":"' + b"x" * 38 + b'"}}'
SIZE = len(CALL)


class Held:
    """An app that keeps its requests until `done`."""

    def __init__(self):
        self.bodies, self.done = [], anyio.Event()

    async def __call__(self, scope, receive, send):
        self.bodies.append(await receive())
        await self.done.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def posted(app, space="", pieces=(CALL,), headers=()):
    """The status that a POST in these pieces is answered with, and its headers."""
    waiting, sent = list(pieces), []

    async def receive():
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": list(headers), SPACE: space}
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


@asynccontextmanager
async def holding(readable, held, *spaces):
    """Requests of these spaces that are kept during the block."""
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for space in spaces:
                tasks.start_soon(posted, readable, space)
            await anyio.wait_all_tasks_blocked()
            yield
            held.done.set()


async def test_a_body_is_handed_on_in_one_piece():
    held = Held()
    held.done.set()
    pieces = [CALL[at : at + 1] for at in range(SIZE)]
    assert (await posted(Readable(held, 1000), pieces=pieces))[0] == 200
    assert held.bodies == [{"type": "http.request", "body": CALL, "more_body": False}]


@pytest.mark.parametrize(("space", "status"), [("ann", 429), ("bob", 200)])
async def test_one_callers_bodies_leave_room_for_those_of_others(space, status):
    """Issue 8: "memory bounded", and "per-principal … limits"."""
    held = Held()
    readable = Readable(held, SIZE, each=2 * SIZE, whole=4 * SIZE)
    async with holding(readable, held, "ann", "ann"):
        held.done.set() if status == 200 else None
        found, headers = await posted(readable, space)
        assert (found, b"retry-after" in headers) == (status, status == 429)
    assert (await posted(readable, "ann"))[0] == 200


async def test_the_bodies_of_all_have_a_limit_and_count_no_more_once_answered():
    held = Held()
    readable = Readable(held, SIZE, each=2 * SIZE, whole=4 * SIZE)
    async with holding(readable, held, "ann", "ann", "bob", "bob"):
        assert (await posted(readable, "cat"))[0] == 429
    assert len(held.bodies) == 4
    assert [(await posted(readable, space))[0] for space in ("cat", "ann", "bob")] == [200, 200, 200]


async def test_an_encoding_that_is_not_ours_is_refused_before_anything_is_read():
    held = Held()
    held.done.set()
    status, _ = await posted(Readable(held, 1000), pieces=[], headers=[(b"content-encoding", b"gzip")])
    assert (status, held.bodies) == (415, [])
    said = [(b"content-encoding", b"Identity")]
    assert (await posted(Readable(held, 1000), headers=said))[0] == 200
