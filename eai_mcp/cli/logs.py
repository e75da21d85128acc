"""Where the log goes: to standard error, never to standard output, which may be the protocol's."""

import io
import logging
import sys


def to_stderr(level: str) -> None:
    """Log warnings of libraries, and ours from `level` up. Text that the terminal cannot show is escaped."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    logging.getLogger("eai_mcp").setLevel(level.upper())
