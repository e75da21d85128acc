import json
import os
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from eai_mcp.server import frames
from eai_mcp.server.shutdown import Ending
from eai_mcp.server.stdio import serve_wire
from eai_mcp.server.wire import Wire
from tests.e2e.echo_server import build
from tests.e2e.peer import Peer


@asynccontextmanager
async def served(*, longest=frames.LONGEST):
    """A peer that has shaken hands with a server behind two pipes; the server ends at the latest after it."""
    (server_reads, we_write), (we_read, server_writes) = os.pipe(), os.pipe()
    ending = Ending(limit_s=None)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            peer = Peer(we_read, we_write)

            async def serve():
                await serve_wire(build(), Wire(server_reads, server_writes), ending, longest=longest)

            tasks.start_soon(serve)
            await peer.initialize()
            yield peer, ending
            ending.begin("the test is over")
    peer.leave()
    peer.turn_away()
    os.close(server_reads)
    os.close(server_writes)


async def test_calls_are_answered_whether_they_come_at_once_or_in_pieces():
    async with served() as (peer, _):
        await peer.call(1, "echo", text="one")
        assert await peer.text() == "one"
        request = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo"}}
        for byte in json.dumps(request).encode():
            await peer.write(bytes([byte]))
        await peer.write(b"\r\n\n\r\n")
        assert await peer.text() == "done"


async def test_a_bad_line_costs_that_line_only():
    async with served() as (peer, _):
        await peer.write(b'not json\n{"jsonrpc": "2.0", "id": 5, "method": 7}\n')
        await peer.write(b'{"jsonrpc": "2.0", "method": "notifications/x", "params": {"a": "\\ud800"}}\n')
        await peer.call(1, "echo", text="still here")
        assert await peer.refused() == (
            None,
            -32700,
            "not valid JSON: Expecting value: line 1 column 1 (char 0)",
        )
        assert await peer.refused() == (5, -32600, frames.SHAPE)
        assert await peer.text() == "still here"


async def test_half_a_surrogate_pair_in_an_argument_never_reaches_the_tool():
    async with served() as (peer, _):
        await peer.call(1, "echo", text="\ud800")
        assert await peer.refused() == (1, -32600, frames.SURROGATE)


async def test_a_message_over_the_limit_is_refused_and_the_next_one_answered():
    async with served(longest=10_000) as (peer, _):
        await peer.call(1, "echo", text="x" * 200_000)
        assert (await peer.refused())[:2] == (1, -32600)
        await peer.call(2, "echo", text="short")
        assert await peer.text() == "short"


async def test_a_long_answer_arrives_whole():
    async with served() as (peer, _):
        await peer.call(1, "long", size=3_000_000)
        assert await peer.text() == "x" * 3_000_000


async def test_the_end_of_the_input_ends_it_and_answers_what_still_ran():
    async with served() as (peer, ending):
        await peer.call(1, "hang")
        await peer.call(2, "echo", text="both were begun")
        assert await peer.text() == "both were begun"
        peer.leave()
        assert await peer.refused() == (1, -32000, "Connection closed")
        await ending.asked.wait()


async def test_a_last_line_without_its_newline_is_read():
    async with served() as (peer, _):
        await peer.write(b"{")
        peer.leave()
        assert (await peer.refused())[:2] == (None, -32700)


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_asked_to_end_it_ends_though_nobody_reads_and_a_call_runs(size):
    async with served() as (peer, ending):
        await peer.call(1, "hang")
        await peer.call(2, "long", size=size)
        await anyio.wait_readable(peer.reading)
        ending.begin("asked")


async def test_a_client_that_reads_no_more_ends_it():
    async with served() as (peer, ending):
        peer.turn_away()
        await peer.call(1, "echo", text="nobody hears this")
        await ending.asked.wait()


async def test_a_refusal_that_nobody_reads_ends_it_too():
    async with served() as (peer, ending):
        peer.turn_away()
        await peer.write(b"not json\n")
        await ending.asked.wait()


async def test_cancelled_from_outside_it_leaves_at_once():
    (server_reads, we_write), (we_read, server_writes) = os.pipe(), os.pipe()
    ending = Ending(limit_s=None)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            peer = Peer(we_read, we_write)
            tasks.start_soon(serve_wire, build(), Wire(server_reads, server_writes), ending)
            await peer.initialize()
            await peer.call(1, "hang")
            await peer.call(2, "long", size=3_000_000)
            await anyio.wait_readable(we_read)
            tasks.cancel_scope.cancel()
    assert not ending.asked.is_set()
    peer.leave()
    peer.turn_away()
    os.close(server_reads)
    os.close(server_writes)


async def test_a_client_that_reads_nothing_is_heard_no_further_than_its_answers_fit():
    """Each answer that waits takes its memory: 30,000 questions without a reader took 1.3 GB."""
    many = 3000
    async with served() as (peer, _), anyio.create_task_group() as tasks:
        all_heard = anyio.Event()

        async def ask():
            for number in range(many):
                await peer.call(number, "echo", text="x" * 1000)
            all_heard.set()

        tasks.start_soon(ask)
        with anyio.move_on_after(0.5):
            await all_heard.wait()
        assert not all_heard.is_set()
        answered = {(await peer.heard())["id"] for _ in range(many)}
    assert answered == set(range(many))


async def test_a_client_that_read_nothing_and_is_gone_ends_it_though_its_last_questions_were_not_read():
    """DESIGN section 4: on stdio EOF is the end of the process."""
    async with served() as (peer, ending):

        async def ask():
            with suppress(anyio.BrokenResourceError):
                for number in range(3000):
                    await peer.call(number, "echo", text="x" * 1000)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with anyio.move_on_after(0.3):  # by then its answers and its questions fill both pipes
                await ending.asked.wait()
            peer._sink.give_up()
        peer.leave()
        await ending.asked.wait()
