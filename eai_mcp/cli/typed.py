"""What a command is told: its arguments and its standard input, always in UTF-8, whatever the locale."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import TextIO

import anyio

from eai_mcp.errors import ConfigError, InvalidArgument


def argument(typed: str) -> str:
    """An argument as it was typed; bytes that are no UTF-8 stay lone surrogates."""
    return os.fsencode(typed).decode("utf-8", "surrogateescape")


def is_terminal() -> bool:
    """Whether a person types. Raises as `pieces` does."""
    return _stdin().isatty()


async def whole() -> str:
    """All of standard input.

    Raises:
        ConfigError: It is closed.
        InvalidArgument: It is not UTF-8.
    """
    data = b"".join([piece async for piece in pieces()])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"standard input is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}", field="content"
        ) from error


async def pieces() -> AsyncIterator[bytes]:
    """Standard input as it comes, read without a thread, so that Ctrl-C is heard while we wait.

    Raises:
        ConfigError: It is closed.
    """
    fd = _stdin().fileno()
    while data := await read(fd):
        yield data


async def read(fd: int) -> bytes:
    """What has come on a descriptor, at the end nothing; until then Ctrl-C is heard."""
    if sys.platform == "win32":
        return await anyio.to_thread.run_sync(os.read, fd, 65536, abandon_on_cancel=True)
    with contextlib.suppress(OSError):  # a regular file cannot be waited for, and need not be
        await anyio.wait_readable(fd)
    return os.read(fd, 65536)


def _stdin() -> TextIO:
    if sys.stdin is None:
        raise ConfigError("standard input is closed, and it is where the message should come from")
    return sys.stdin
