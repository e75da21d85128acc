"""Where a command writes: replies go to standard output, everything else to standard error.

Either may be closed, and neither may be able to say every character.
"""

import os
import re
import sys
from typing import TextIO

from eai_mcp.errors import EaiError, UnknownName

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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


def forget_stdout() -> None:
    """Write nothing more to a standard output that nobody reads; Python would complain of it at its end."""
    if sys.stdout is not None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    if stream.isatty():
        # Names, descriptions and replies come from anywhere, and a terminal obeys what it is sent.
        text = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    stream.write(text)
    stream.flush()
