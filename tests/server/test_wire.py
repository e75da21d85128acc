import os
import pty
import select
import socket
import tty

import anyio
import pytest

from eai_mcp.server.wire import Sink, Source, bounded_write

LONG = b"x" * 3_000_000 + b"\n"


@pytest.fixture
def gone():
    """Why a sink said that nobody reads any more."""
    return []


@pytest.fixture
def opened():
    """Descriptors that are closed at the end of the test."""
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def shut(opened, descriptor):
    opened.remove(descriptor)
    os.close(descriptor)


def pipe(opened):
    ends = os.pipe()
    opened.extend(ends)
    return ends


def sockets(opened):
    ends = [end.detach() for end in socket.socketpair()]
    opened.extend(ends)
    return ends


def terminal(opened):
    ends = pty.openpty()
    opened.extend(ends)
    tty.setraw(ends[1])
    return ends


async def read(source, size):
    """So many bytes."""
    data = b""
    while len(data) < size:
        data += await source.receive()
    return data


@pytest.mark.parametrize("kind", [pipe, sockets])
async def test_a_frame_larger_than_what_fits_arrives_whole_while_it_is_read(kind, opened, gone):
    reading, writing = kind(opened)
    sink = Sink(writing, gone.append)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sink.send, LONG)
            await anyio.wait_readable(reading)
            tasks.start_soon(sink.send, b"short\n")
            assert await read(Source(reading), len(LONG) + 6) == LONG + b"short\n"
    sink.close()
    assert gone == []


async def test_a_terminal_carries_frames_too(opened, gone):
    master, slave = terminal(opened)
    sink = Sink(slave, gone.append)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sink.send, LONG[-300_000:])
            assert await read(Source(master), 300_000) == LONG[-300_000:]
    sink.close()


async def test_files_and_the_null_device_need_no_waiting(tmp_path, opened, gone):
    path = tmp_path / "requests"
    path.write_bytes(b"one\n")
    opened.append(os.open(path, os.O_RDWR | os.O_APPEND))
    opened.append(os.open(os.devnull, os.O_RDWR))
    with anyio.fail_after(5):
        assert await Source(opened[0]).receive() == b"one\n"
        assert await Source(opened[0]).receive() == b""
        assert await Source(opened[1]).receive() == b""
        for descriptor in opened:
            sink = Sink(descriptor, gone.append)
            await sink.send(b"two\n")
            sink.close()
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("kind", [pipe, sockets])
async def test_what_is_handed_in_is_left_as_it_is(kind, opened, gone):
    """The flag O_NONBLOCK would be seen by whoever shares the open file."""
    reading, writing = kind(opened)
    sink = Sink(writing, gone.append)
    await sink.send(b"a\n")
    assert await Source(reading).receive() == b"a\n"
    sink.close()
    assert os.get_blocking(reading)
    assert os.get_blocking(writing)


@pytest.mark.parametrize("kind", [pipe, sockets])
async def test_a_cancelled_frame_is_written_to_its_end(kind, opened, gone):
    reading, writing = kind(opened)
    sink = Sink(writing, gone.append)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sink.send, LONG)
            await anyio.wait_readable(reading)
            tasks.start_soon(sink.send, b"never begun\n")
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                assert await read(Source(reading), len(LONG)) == LONG
        await sink.send(b"next\n")
        assert await Source(reading).receive() == b"next\n"
    sink.close()


@pytest.mark.parametrize("kind", [pipe, sockets])
async def test_giving_up_ends_a_frame_that_nobody_reads_and_refuses_the_next(kind, opened, gone):
    reading, writing = kind(opened)
    sink = Sink(writing, gone.append)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def blocked():
                with pytest.raises(anyio.BrokenResourceError):
                    await sink.send(LONG)

            tasks.start_soon(blocked)
            await anyio.wait_readable(reading)
            sink.give_up()
        with pytest.raises(anyio.BrokenResourceError):
            await sink.send(b"next\n")
    sink.close()
    assert gone == []


@pytest.mark.parametrize("kind", [pipe, sockets])
async def test_a_reader_that_is_gone_is_told_once(kind, opened, gone):
    reading, writing = kind(opened)
    sink = Sink(writing, gone.append)
    shut(opened, reading)
    for _ in range(2):
        with pytest.raises(anyio.BrokenResourceError):
            await sink.send(b"a\n")
    sink.close()
    assert gone == ["stdout: Broken pipe"]


async def test_a_pipe_that_nobody_reads_from_the_start_is_told_at_the_first_frame(opened, gone):
    reading, writing = pipe(opened)
    shut(opened, reading)
    sink = Sink(writing, gone.append)
    with pytest.raises(anyio.BrokenResourceError):
        await sink.send(b"a\n")
    sink.close()
    assert gone == ["stdout: Broken pipe"]


async def test_a_peer_that_crashed_is_the_end(opened):
    master, slave = terminal(opened)
    shut(opened, slave)
    with anyio.fail_after(5):
        assert await Source(master).receive() == b""


def test_a_pipe_that_is_not_our_own_takes_a_bounded_piece_or_says_that_it_is_full(opened):
    reading, writing = pipe(opened)
    data, fitted = memoryview(LONG), 0
    while select.select([], [writing], [], 0)[1]:
        fitted += bounded_write(writing, data)
    with pytest.raises(BlockingIOError):
        bounded_write(writing, data)
    assert fitted % select.PIPE_BUF == 0
    assert os.read(reading, fitted) == LONG[:fitted]


@pytest.mark.parametrize("made", [pipe, sockets])
def test_who_has_gone_is_noticed_before_what_they_left_is_read(opened, made):
    ours, theirs = made(opened)
    os.write(theirs, b"left")
    source = Source(ours)
    assert not source.is_hung_up
    shut(opened, theirs)
    assert source.is_hung_up
    assert os.read(ours, 10) == b"left"
