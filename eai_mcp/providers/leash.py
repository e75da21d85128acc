"""Runs a command that ends when we do: `leash.py COMMAND …`, killed at the end of stdin.

A server that is killed can end nothing any more; what it had started goes on. So between the two stands this
process, which holds a pipe of the server's. It is run by its path and imports nothing of ours.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import BinaryIO

CANNOT_RUN = 127


def main(command: Sequence[str], stdin: BinaryIO) -> int:
    """The exit status of the command, or 127 if it cannot be run."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"error: cannot run {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201  # it is read
        return CANNOT_RUN
    threading.Thread(target=_kill_at_end, args=(stdin, process), daemon=True).start()
    return process.wait()


def _kill_at_end(stdin: BinaryIO, process: "subprocess.Popen[bytes]") -> None:
    while stdin.read(1):
        pass
    process.kill()


if __name__ == "__main__":
    STATUS = main(sys.argv[1:], sys.stdin.buffer)
    os._exit(STATUS if STATUS >= 0 else 128 - STATUS)
