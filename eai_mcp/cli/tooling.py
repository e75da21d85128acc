"""The options about the chat model's own tools: which there are, its terminals, who has to allow what."""

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from eai_mcp import settings
from eai_mcp.chat.toolbox.approval import Approval
from eai_mcp.errors import ConfigError
from eai_mcp.settings import Settings
from eai_mcp.terminal import Limits

if TYPE_CHECKING:
    from eai_mcp.terminal.sandbox import Mount

LIMITS = tuple(field.name for field in fields(Limits))
LARGEST = 1_000_000_000
WRITABLE = ":rw"


def add(made: argparse.ArgumentParser) -> None:
    """Put them to a command in which turns are taken."""
    group = made.add_argument_group("the chat model's own tools")
    group.add_argument(
        "--terminal",
        action="store_true",
        help="let the chat model run commands on this machine (or EAI_MCP_TERMINAL=1)",
    )
    group.add_argument(
        "--sandbox",
        choices=["auto", "required", "off"],
        help="bubblewrap round its commands (or EAI_MCP_SANDBOX; default auto: where it works)",
    )
    group.add_argument(
        "--terminal-dir", type=Path, metavar="DIR", help="where work directories are (EAI_MCP_TERMINAL_DIR)"
    )
    group.add_argument(
        "--terminal-mount",
        action="append",
        default=[],
        metavar="DIR[:rw]",
        help="a folder that commands see too, read-only unless :rw; may be repeated",
    )
    group.add_argument(
        "--terminal-network", action="store_true", help="let commands use the network, loopback too"
    )
    group.add_argument(
        "--terminal-env",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable that commands get; without it they get none of ours; may be repeated",
    )
    group.add_argument(
        "--terminal-limit",
        action="append",
        default=[],
        metavar="NAME=N",
        help=f"another limit for commands; may be repeated; names: {', '.join(LIMITS)}",
    )
    _add_choice(group)


def _add_choice(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--toolbox",
        metavar="NAMES",
        help="the only tools that the chat model may use, with commas, or none (or EAI_MCP_TOOLBOX)",
    )
    group.add_argument(
        "--tool",
        dest="tools",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a tool of your own for the chat model; may be repeated (or EAI_MCP_TOOLS, with commas)",
    )
    group.add_argument(
        "--approval",
        action="append",
        default=[],
        metavar="TOOL=WHEN",
        help="never, ask (a person, each time) or always (the default) run a tool; may be repeated"
        " (or EAI_MCP_APPROVAL, with commas)",
    )


def chosen(options: argparse.Namespace, base: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with what the options and the environment say about tools.

    Raises:
        ConfigError: Something of it cannot work.
    """
    if not hasattr(options, "terminal"):
        return base
    named = options.toolbox if options.toolbox is not None else environ.get("EAI_MCP_TOOLBOX")
    approvals = [*settings.listed(environ, "EAI_MCP_APPROVAL"), *options.approval]
    base = replace(
        base,
        toolbox=None if named is None else _names(named),
        tools=(*settings.listed(environ, "EAI_MCP_TOOLS"), *options.tools),
        approvals=dict(map(_approval, approvals)),
    )
    if not (options.terminal or settings.flag(environ, "EAI_MCP_TERMINAL")):
        _check_unused(options)
        return base
    return _with_terminal(options, base, environ)


def _with_terminal(options: argparse.Namespace, base: Settings, environ: Mapping[str, str]) -> Settings:
    from eai_mcp.terminal.sandbox import Confinement, Mode  # needed by those who have terminals only

    named = options.sandbox or environ.get("EAI_MCP_SANDBOX") or "auto"
    mode: Mode | None = next((known for known in get_args(Mode) if known == named), None)
    if mode is None:
        raise ConfigError(f"EAI_MCP_SANDBOX must be auto, required or off, not {named!r}", field="sandbox")
    folder = options.terminal_dir or environ.get("EAI_MCP_TERMINAL_DIR")
    confinement = Confinement(
        folder=settings.whole_path("--terminal-dir", folder) if folder else settings.terminal_folder(),
        mode=mode,
        network=options.terminal_network,
        mounts=tuple(map(_mount, options.terminal_mount)),
        passed=tuple(options.terminal_env),
    )
    limits = Limits(**dict(map(_limit, options.terminal_limit)))
    return replace(base, terminal=confinement, terminal_limits=limits)


def _check_unused(options: argparse.Namespace) -> None:
    names = (
        "sandbox",
        "terminal_dir",
        "terminal_mount",
        "terminal_network",
        "terminal_env",
        "terminal_limit",
    )
    given = [name for name in names if getattr(options, name)]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        raise ConfigError(f"{flag} says nothing without --terminal; give both", field=given[0])


def _names(text: str) -> tuple[str, ...]:
    names = settings.words(text)
    return () if names == ("none",) else names


def _approval(text: str) -> tuple[str, Approval]:
    name, _, when = text.partition("=")
    for known in get_args(Approval):
        if when == known:
            return name, known
    raise ConfigError(
        f"an approval should be like execute_script=ask, with never, ask or always, not {text!r}",
        field="approval",
    )


def _mount(text: str) -> "Mount":
    from eai_mcp.terminal.sandbox import Mount

    path = settings.whole_path("--terminal-mount", text.removesuffix(WRITABLE))
    return Mount(path=path, writable=text.endswith(WRITABLE))


def _limit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in LIMITS:
        raise ConfigError(f"--terminal-limit knows {', '.join(LIMITS)}, not {name!r}", field="terminal_limit")
    if not number.isdecimal() or not 1 <= int(number) <= LARGEST:
        raise ConfigError(
            f"--terminal-limit {name} must be a whole number from 1, not {number!r}", field="terminal_limit"
        )
    return name, int(number)
