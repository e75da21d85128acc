"""The command line: arguments to settings, one module a group of commands.

Only what a command needs is imported when it runs: `--help` and `--version` answer without the MCP library.
"""

import sys
from collections.abc import Sequence
from logging import ERROR

from eai_mcp.cli import parser, screen
from eai_mcp.errors import EaiError

FAILED, MISUSED = 1, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 it failed, 2 it was asked wrongly, 130 it was stopped by hand."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    if not arguments:
        screen.show(parser.build().format_help())
        return MISUSED
    options = parser.build().parse_args(list(arguments))
    try:
        command = parser.command(options)
        return command(options)
    except EaiError as error:
        from eai_mcp.cli import logs  # not needed by --help, which should be quick

        logs.tell(f"eai-mcp: {screen.sentence(error)}", level=ERROR)
        return MISUSED if error.code in ("invalid_argument", "limit_exceeded") else FAILED
    except BrokenPipeError:  # as in `eai-mcp talk … | head`
        screen.forget_stdout()
        return FAILED
    except KeyboardInterrupt:
        return 130
