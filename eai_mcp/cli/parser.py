"""The words that the command line understands."""

import argparse
import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import eai_mcp
from eai_mcp import formats, settings
from eai_mcp.chat.limits import Limits
from eai_mcp.cli import tooling, web

MOST_TOKENS = 2**31 - 1
LONGEST_S = 7 * 86_400
DEFAULTS = Limits()
EPILOG = "Start with: eai-mcp talk 'What is the capital of Japan?'   See also: eai-mcp COMMAND --help"


def build() -> argparse.ArgumentParser:
    """The parser of all commands."""
    root = argparse.ArgumentParser("eai-mcp", description="Chat as MCP tools.", epilog=EPILOG)
    root.add_argument("--version", action="version", version=f"eai-mcp {eai_mcp.__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    _serve(_command(commands, "serve", "serve:serve", "be an MCP server (stdio unless told otherwise)"))
    talk = _command(commands, "talk", "talk:talk", "take a turn in the terminal, streamed as it comes")
    talk.add_argument(
        "content", nargs="+", help="what to say; several are said one after another; - reads stdin"
    )
    _choices(talk)
    _choices(_command(commands, "chat", "chat:chat", "talk line by line: /s sends, /c cancels, /q quits"))
    for kind in ("models", "prompts", "cards"):
        listing = _command(commands, kind, "catalog:show", f"list the {kind}")
        listing.add_argument(
            "filter", nargs="?", default="", help="show only names and descriptions with this"
        )
        listing.set_defaults(kind=kind)
    _archive(commands)
    _command(commands, "fetch", "fetch:fetch", "download the weights of the model 'local' now")
    _command(commands, "doctor", "doctor:doctor", "say what is there and what is missing")
    return root


def command(options: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    """The function that runs the chosen command; its module is imported now."""
    module, _, function = options.run.partition(":")
    found: Callable[[argparse.Namespace], int] = getattr(
        importlib.import_module(f"eai_mcp.cli.{module}"), function
    )
    return found


def chosen_settings(options: argparse.Namespace) -> settings.Settings:
    """The environment's settings, with the command's options over them."""

    def folders(kind: str) -> tuple[Path, ...]:
        return tuple(settings.whole_path(f"--{kind}", path) for path in getattr(options, kind))

    def file(name: str) -> Path | None:
        path = getattr(options, name)
        return None if path is None else settings.whole_path(f"--{name}", path)

    base = settings.from_environ(os.environ, keys=file("keys"))
    numbers = file("reliability")
    base = tooling.chosen(options, base, os.environ)
    return replace(
        base,
        middleware=(*base.middleware, *options.middleware),
        reliability=settings.reliability_in(numbers) if numbers else base.reliability,
        store=_store(options, base.store),
        model=getattr(options, "default_model", None) or base.model,
        models=folders("models"),
        prompts=folders("prompts"),
        cards=folders("cards"),
        exports=_exports(options) or base.exports,
        offline=base.offline or options.offline,
        gguf=file("gguf") or base.gguf,
    )


def _exports(options: argparse.Namespace) -> Path | None:
    path = getattr(options, "exports", None)
    return None if path is None else settings.whole_path("--exports", path)


def _store(options: argparse.Namespace, store: Path | None) -> Path | None:
    """Where the sessions are. A turn in the terminal is kept only if it has a session's name."""
    if getattr(options, "session", "") is None:
        return None
    return settings.store_named("--store", options.store) if options.store else store


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: str, help_text: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".")
    made.set_defaults(run=run)
    for kind in ("models", "prompts", "cards"):
        made.add_argument(
            f"--{kind}",
            metavar="DIR",
            type=Path,
            action="append",
            default=[],
            help=f"look for {kind} here first",
        )
    made.add_argument(
        "--keys", type=Path, metavar="FILE", help="API keys as NAME=value lines (or EAI_MCP_KEYS)"
    )
    made.add_argument(
        "--store", metavar="FILE", help="the file with the sessions, or memory: (or EAI_MCP_STORE)"
    )
    made.add_argument("--offline", action="store_true", help="download nothing (or EAI_MCP_OFFLINE=1)")
    made.add_argument(
        "--gguf", type=Path, metavar="FILE", help="weights for the model 'local' (or EAI_MCP_GGUF)"
    )
    made.add_argument(
        "--reliability",
        type=Path,
        metavar="FILE",
        help="numbers for retries, breakers and rates of all models (or EAI_MCP_RELIABILITY)",
    )
    made.add_argument(
        "--middleware",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="code round turns, calls and tools; may be repeated (or EAI_MCP_MIDDLEWARE, with commas)",
    )
    made.add_argument("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    return made


def _serve(made: argparse.ArgumentParser) -> None:
    made.usage = "%(prog)s [OPTION ...]"  # all of them would hide the sentence about the one that is wrong
    made.add_argument(
        "--exports", type=Path, metavar="DIR", help="where tools read and write files (or EAI_MCP_EXPORTS)"
    )
    made.add_argument(
        "--tools",
        dest="published",
        type=settings.words,
        metavar="core|all|NAMES",
        help="the MCP tools that clients see, with commas (or EAI_MCP_PUBLISHED; default all)",
    )
    made.add_argument("--transport", default="stdio", choices=["stdio", "sse", "http"])
    made.add_argument(
        "--model", dest="default_model", metavar="NAME", help="the default model (or EAI_MCP_MODEL)"
    )
    made.add_argument(
        "--inline-wait", type=float, metavar="SECONDS", help="how long a call waits for a reply (default 45)"
    )
    made.add_argument(
        "--on-disconnect",
        default="detach",
        choices=["detach", "interrupt"],
        help="what becomes of a turn whose caller cancels or leaves (default %(default)s)",
    )
    made.add_argument(
        "--elicit",
        action="store_true",
        help="put a turn's question to the person at the client (or EAI_MCP_ELICIT=1)",
    )
    made.add_argument(
        "--elicit-limit",
        type=seconds,
        default=settings.ELICIT_LIMIT_S,
        metavar="SECONDS",
        help="how long they have to answer (default %(default)g)",
    )
    _limits(made)
    _working(made)
    _observing(made)
    web.add(made)


def _limits(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--orphan-limit",
        type=seconds,
        default=DEFAULTS.orphan_s,
        metavar="SECONDS",
        help="how long a turn runs that nobody waits for (default %(default)g)",
    )
    made.add_argument(
        "--turn-limit",
        type=seconds,
        default=DEFAULTS.turn_s,
        metavar="SECONDS",
        help="how long a turn may take in all (default %(default)g)",
    )
    made.add_argument(
        "--question-limit",
        type=seconds,
        metavar="SECONDS",
        help="how long a question can be answered (default: at any time)",
    )
    made.add_argument("--session-turns", type=tokens, metavar="N", help="turns that a session may take")
    made.add_argument("--session-tokens", type=tokens, metavar="N", help="tokens that a session may use")
    made.add_argument("--session-usd", type=dollars, metavar="USD", help="what a session may cost")


def _working(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--turn-steps",
        type=tokens,
        default=DEFAULTS.turn_steps,
        metavar="N",
        help="rounds of tools in a turn (default %(default)d)",
    )
    tooling.add(made)
    made.add_argument(
        "--approve-by-talk",
        action="store_true",
        help="take `approve` in talk, with the question's turn_id, for a person's word",
    )


def _observing(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--log-format",
        choices=["plain", "json"],
        help="how lines on standard error are written (or EAI_MCP_LOG_FORMAT; default plain)",
    )
    made.add_argument(
        "--otel",
        action="store_true",
        help="send OpenTelemetry's spans and metrics where OTEL_* say (or EAI_MCP_OTEL=1)",
    )
    made.add_argument(
        "--observer",
        dest="observers",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a function that hears every fact; may be repeated (or EAI_MCP_OBSERVERS, with commas)",
    )


def _archive(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    made = _command(commands, "export", "archive:export", "write a session's history to a file")
    made.add_argument("session", metavar="SESSION")
    made.add_argument("file", metavar="FILE", help="- writes to standard output; NAME.gz is packed")
    made.add_argument("--format", choices=get_args(formats.Written), help="default: by the file's name")
    made = _command(commands, "import", "archive:import_", "replace a session's history by that of a file")
    made.add_argument("session", metavar="SESSION", help="made if there is none")
    made.add_argument("file", metavar="FILE", help="- reads standard input")
    made.add_argument("--format", choices=get_args(formats.Read), default="auto")
    made = _command(commands, "snapshot", "archive:snapshot", "write all sessions to one file")
    made.add_argument("file", metavar="FILE", help="- writes to standard output")
    made.add_argument(
        "--wait", type=seconds, default=0.0, metavar="SECONDS", help="wait for turns that run (default 0)"
    )
    made = _command(commands, "restore", "archive:restore", "bring back all sessions of a snapshot, or none")
    made.add_argument("file", metavar="FILE", help="- reads standard input")
    mode = made.add_mutually_exclusive_group()
    mode.add_argument(
        "--merge",
        dest="mode",
        action="store_const",
        const="merge",
        default="merge",
        help="leave the sessions alone that are not in it (the default)",
    )
    mode.add_argument(
        "--replace", dest="mode", action="store_const", const="replace", help="remove all other sessions"
    )


def _choices(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--session", metavar="NAME", help="a session that remembers (without one, nothing is kept)"
    )
    made.add_argument("--model", metavar="NAME", help="see: eai-mcp models")
    made.add_argument("--prompt", metavar="NAME", help="see: eai-mcp prompts")
    made.add_argument("--card", metavar="NAME", help="see: eai-mcp cards")
    made.add_argument("--system", metavar="TEXT", help="raw system text in the prompt's place")
    tooling.add(made)
    made.add_argument("--temperature", type=temperature, metavar="0..2")
    made.add_argument("--max-tokens", type=tokens, metavar="N")
    made.add_argument("--seed", type=int, metavar="N")


def temperature(text: str) -> float:
    """A temperature; argparse shows the name of this function for what is no number."""
    value = float(text)
    if not 0 <= value <= 2:  # which no NaN is
        raise argparse.ArgumentTypeError(f"must be 0 to 2, not {text}")
    return value


def seconds(text: str) -> float:
    """A time limit."""
    value = float(text)
    if not 0.1 <= value <= LONGEST_S:  # which no NaN is
        raise argparse.ArgumentTypeError(f"must be 0.1 to {LONGEST_S} seconds, not {text}")
    return value


def dollars(text: str) -> float:
    """A sum of money."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value


def tokens(text: str) -> int:
    """A number of tokens."""
    value = int(text)
    if not 1 <= value <= MOST_TOKENS:
        raise argparse.ArgumentTypeError(f"must be 1 to {MOST_TOKENS}, not {text}")
    return value
