"""The options about serving over HTTP: where, to whom, and how much each of them may take."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from eai_mcp.errors import ConfigError

if TYPE_CHECKING:
    from eai_mcp.server.admitted import Gate

SMALLEST_BODY, LARGEST_BODY = 64 * 1024, 1024 * 1024 * 1024
MOST = 1_000_000_000
HOST, PORT = "127.0.0.1", 8000
OF_HTTP = (
    "host",
    "port",
    "path",
    "max_body",
    "stateful",
    "allow_host",
    "allow_origin",
    "token_file",
    "issuer",
    "audience",
    "jwks",
    "scope",
)
"""What says nothing on stdio."""
OF_ISSUERS = ("audience", "jwks", "scope")


def add(made: argparse.ArgumentParser) -> None:
    """Put them to a command that serves."""
    group = made.add_argument_group("HTTP")
    group.add_argument(
        "--host",
        metavar="ADDRESS",
        help=f"for sse and http (default {HOST}); one that others reach needs --token-file or --issuer",
    )
    group.add_argument(
        "--port", type=whole, metavar="N", help=f"for sse and http; 0 picks one (default {PORT})"
    )
    group.add_argument("--path", metavar="PATH", help="where streamable HTTP is (default /mcp)")
    group.add_argument(
        "--max-body", type=size, metavar="BYTES", help="of a request's body (default 33554432, 32 MiB)"
    )
    group.add_argument(
        "--stateful",
        action="store_true",
        help="keep older clients' connections open in this process: they can then be told and asked things",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="another name that this server is called by; may be repeated",
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="pages whose scripts may ask, like https://app.example.com; may be repeated",
    )
    _add_callers(made)


def _add_callers(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("callers, each with sessions of their own")
    group.add_argument(
        "--token-file",
        type=file,
        metavar="FILE",
        help="who may call over HTTP: a NAME=TOKEN line each; looked at again when it changes, and nobody may"
        " once it is gone",
    )
    group.add_argument("--issuer", metavar="URL", help="or those with a JWT of this OAuth issuer")
    group.add_argument("--audience", metavar="AUD", help="for whom its tokens must be, best our own URL")
    group.add_argument("--jwks", metavar="URL", help="where its keys are (default: it is asked)")
    group.add_argument(
        "--scope", action="append", default=[], metavar="NAME", help="what they must grant; may be repeated"
    )
    group.add_argument(
        "--principal-rate",
        type=rate,
        metavar="N",
        help="talks a second that each caller may begin, beside a person's answers to forms",
    )
    group.add_argument(
        "--principal-burst", type=count, metavar="N", help="how many at once (default: those of a second)"
    )
    group.add_argument(
        "--principal-turns",
        type=count,
        metavar="N",
        help="turns of each caller that may run at a time, and four times as many of sub-agents",
    )
    group.add_argument(
        "--principal-sessions", type=count, metavar="N", help="sessions of each, beside the default one"
    )


def check(options: argparse.Namespace, *, has_terminal: bool) -> None:
    """See that they go together.

    Raises:
        ConfigError: They do not.
    """
    if options.principal_burst is not None and options.principal_rate is None:
        raise _wrong("--principal-burst says nothing without --principal-rate; give both", "principal_burst")
    if options.transport == "stdio":
        _check_unused(options, OF_HTTP, "on stdio; leave it out")
        return
    if options.issuer is None:
        _check_unused(options, OF_ISSUERS, "without --issuer; give both")
    elif options.audience is None:
        raise _wrong("--issuer needs --audience: else tokens for other servers would count here", "audience")
    if has_terminal and options.token_file is None and options.issuer is None:
        raise _wrong(
            "--terminal over HTTP needs --token-file or --issuer, also on loopback: else any program of this"
            " machine, and whatever a browser runs, could use it",
            "token_file",
        )
    from eai_mcp.server import address, guard, http

    guard.check(options.allow_host, options.allow_origin)
    http.check_path(http.PATH if options.path is None else options.path)
    address.checked(
        HOST if options.host is None else options.host, is_guarded=bool(options.token_file or options.issuer)
    )


def gate(options: argparse.Namespace) -> "Gate | None":
    """Who is let in; None for everybody.

    Raises:
        ConfigError: The token file, or something about the issuer, cannot work.
    """
    if options.token_file is None and options.issuer is None:
        return None
    from eai_mcp.server.admitted import Gate
    from eai_mcp.server.tokens import Tokens

    tokens = Tokens(options.token_file) if options.token_file else None
    if options.issuer is None:
        return Gate(tokens=tokens)
    from eai_mcp.server.issuer import Keys
    from eai_mcp.server.oauth import OAuth

    keys = Keys(options.issuer, jwks=options.jwks)
    return Gate(tokens=tokens, verifier=OAuth(keys, audience=options.audience, scopes=options.scope))


def rate(text: str) -> float:
    """How often something may be."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
    if not 0 < value <= MOST:  # which no NaN is
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value


def whole(text: str) -> int:
    """A number without a fraction, and without a unit."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def file(text: str) -> Path:
    """Where a file is; an empty path would be the folder that we are in."""
    if not text:
        raise argparse.ArgumentTypeError("must be the path of a file; it is empty")
    return Path(text)


def _between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = whole(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be {least} to {most}, not {text}")
        return value

    return number


count, size = _between(1, MOST), _between(SMALLEST_BODY, LARGEST_BODY)


def _check_unused(options: argparse.Namespace, names: tuple[str, ...], where: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value is not False and value != []:  # a port may be 0, which equals False
            raise _wrong(f"--{name.replace('_', '-')} says nothing {where}", name)


def _wrong(sentence: str, field: str) -> ConfigError:
    return ConfigError(sentence, field=field)
