"""Where a command reads and writes: replies go to standard output, everything else to standard error.

Any of the three may be closed, and none may be able to say every character.
"""

import os
import sys
from typing import TextIO

from eai_mcp.errors import ConfigError, EaiError, UnknownName


def show(text: str) -> None:
    """Write to standard output at once; what its encoding cannot say is escaped.

    Raises:
        BrokenPipeError: Nobody reads any more.
    """
    if sys.stdout is None:
        raise BrokenPipeError
    _write(sys.stdout, text)


def tell(line: str) -> None:
    """Write a line to standard error, if there is one."""
    if sys.stderr is not None:
        _write(sys.stderr, f"{line}\n")


def sentence(error: EaiError) -> str:
    """What went wrong, and which command tells more where one does."""
    if isinstance(error, UnknownName):
        return f"{error.message}; `eai-mcp {error.kind}s` shows all"
    return error.message


def stdin() -> TextIO:
    """Standard input.

    Raises:
        ConfigError: It is closed.
    """
    if sys.stdin is None:
        raise ConfigError("standard input is closed, and it is where the message should come from")
    return sys.stdin


def typed(argument: str) -> str:
    """An argument as it was typed: in UTF-8, whatever the locale made of it."""
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def forget_stdout() -> None:
    """Write nothing more to a standard output that nobody reads; Python would complain of it at its end."""
    if sys.stdout is not None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
