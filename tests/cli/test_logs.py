import fcntl
import logging
import os

import anyio
import pytest
from anyio import to_thread

from eai_mcp.cli.logs import Aside


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing  # the end that is written to stays open: a thread may sit in it
    os.close(reading)


def record(text):
    return logging.LogRecord("eai_mcp", logging.INFO, "", 0, text, None, None)


def test_lines_are_written_in_their_order(pipe):
    reading, writing = pipe
    handler = Aside(writing)
    for text in ("one", "twø \udcff"):
        handler.handle(record(text))
    handler.flush()

    assert os.read(reading, 100) == "one\ntwø \\udcff\n".encode()


async def test_nobody_waits_for_a_reader_that_does_not_read_and_the_loss_is_told(pipe):
    reading, writing = pipe
    fcntl.fcntl(writing, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
    handler = Aside(writing, most=3)
    with anyio.fail_after(5):
        for _ in range(50):
            handler.handle(record("x" * 4000))
        handler.flush()

        read = b""
        while b"lines were dropped" not in read:
            read += await to_thread.run_sync(os.read, reading, 65536)
            handler.handle(record("and on"))
    assert read.startswith(b"x" * 4000)
