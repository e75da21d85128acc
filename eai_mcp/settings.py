"""What the operator may choose. `app` reads it; nothing below sees it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import platformdirs

from eai_mcp.catalog.entries import Reliability
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.toolbox.approval import Approval
from eai_mcp.errors import ConfigError
from eai_mcp.terminal import Limits as TerminalLimits

if TYPE_CHECKING:
    from eai_mcp.terminal.sandbox import Confinement

DEFAULT_MODEL = "local"
MEMORY = "memory:"
STORE = "sessions.db"
EXPORTS = "exports"
ROOTS_TERMINALS = Path("/var/lib/eai-mcp/terminals")
ELICIT_LIMIT_S = 300.0
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every choice, with the environment variable that makes it where there is one.

    `published` are the MCP tools that clients see, `core` and `all` among them (EAI_MCP_PUBLISHED).
    `store` is the file with the sessions, None to forget them (EAI_MCP_STORE: a path, or `memory:`).
    `exports` is the folder in which tools write and read files (EAI_MCP_EXPORTS).
    `model` answers where nothing else is named (EAI_MCP_MODEL). `models`, `prompts` and `cards` are folders
    to look into before the user's own and the shipped ones. `cache` keeps downloads (EAI_MCP_CACHE), `config`
    has the user's own folders (EAI_MCP_CONFIG), `offline` forbids downloads (EAI_MCP_OFFLINE), `gguf` is a
    weights file for the model `local` (EAI_MCP_GGUF). `inline_wait_s` is how long a tool call waits for a
    reply when its caller sets no limit: most clients give up at 60 s. `on_disconnect` says what becomes of a
    turn whose caller cancels or leaves. With `elicit` (EAI_MCP_ELICIT) a turn's question is put to the person
    at the client, if the client can; they have `elicit_limit_s` to answer.
    `otel` sends telemetry (EAI_MCP_OTEL), and `observers` are functions that hear every fact, like
    `module:attribute` (EAI_MCP_OBSERVERS). `middleware` stands round turns, calls and tools, the first one
    outermost, named alike (EAI_MCP_MIDDLEWARE). `reliability` is for models that do not say otherwise
    (EAI_MCP_RELIABILITY names its file). `limits` hold turns and sessions.
    `terminal` lets the chat model run commands, None forbids it, and `terminal_limits` hold those. `toolbox`
    names the only tools that it may use, and those of a turn without a card; None is all that its card names,
    without a card those of the terminal. `tools` are the operator's own, like `module:attribute`. `approvals`
    say by tool whether a person is asked; with `approve_by_talk` a caller's word counts as a person's.
    `environ` is where API keys are looked up: the environment, and below it the lines of a file that
    EAI_MCP_KEYS names.
    """

    published: tuple[str, ...] = ("all",)
    store: Path | None = field(default_factory=lambda: _data_folder() / STORE)
    exports: Path = field(default_factory=lambda: _data_folder() / EXPORTS)
    model: str = DEFAULT_MODEL
    models: tuple[Path, ...] = ()
    prompts: tuple[Path, ...] = ()
    cards: tuple[Path, ...] = ()
    cache: Path = field(default_factory=lambda: platformdirs.user_cache_path("eai-mcp", appauthor=False))
    config: Path = field(default_factory=lambda: platformdirs.user_config_path("eai-mcp", appauthor=False))
    offline: bool = False
    gguf: Path | None = None
    inline_wait_s: float = 45.0
    on_disconnect: Literal["detach", "interrupt"] = "detach"
    elicit: bool = False
    elicit_limit_s: float = ELICIT_LIMIT_S
    otel: bool = False
    observers: tuple[str, ...] = ()
    middleware: tuple[str, ...] = ()
    reliability: Reliability = Reliability()
    limits: Limits = Limits()
    terminal: "Confinement | None" = None
    terminal_limits: TerminalLimits = TerminalLimits()
    toolbox: tuple[str, ...] | None = None
    tools: tuple[str, ...] = ()
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    approve_by_talk: bool = False
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def from_environ(environ: Mapping[str, str], *, keys: Path | None = None) -> Settings:
    """The settings that the environment makes, with the file `keys` in place of the one that it names.

    Raises:
        ConfigError: A variable has a value that cannot work, or the file with the keys cannot be read.
    """
    if keys is None and environ.get("EAI_MCP_KEYS"):
        keys = whole_path("EAI_MCP_KEYS", environ["EAI_MCP_KEYS"])
    if keys is not None:
        environ = {**_keys_in(keys), **environ}
    settings = Settings(environ=environ, offline=flag(environ, "EAI_MCP_OFFLINE"))
    elicit = flag(environ, "EAI_MCP_ELICIT")
    paths = {
        "exports": "EAI_MCP_EXPORTS",
        "cache": "EAI_MCP_CACHE",
        "config": "EAI_MCP_CONFIG",
        "gguf": "EAI_MCP_GGUF",
        "reliability": "EAI_MCP_RELIABILITY",
    }
    chosen = {name: whole_path(key, environ[key]) for name, key in paths.items() if environ.get(key)}
    store = environ.get("EAI_MCP_STORE")
    return Settings(
        environ=environ,
        published=listed(environ, "EAI_MCP_PUBLISHED") or settings.published,
        store=store_named("EAI_MCP_STORE", store) if store else settings.store,
        offline=settings.offline,
        elicit=elicit,
        otel=flag(environ, "EAI_MCP_OTEL"),
        observers=listed(environ, "EAI_MCP_OBSERVERS"),
        middleware=listed(environ, "EAI_MCP_MIDDLEWARE"),
        reliability=reliability_in(chosen["reliability"]) if "reliability" in chosen else Reliability(),
        model=environ.get("EAI_MCP_MODEL") or settings.model,
        exports=chosen.get("exports", settings.exports),
        cache=chosen.get("cache", settings.cache),
        config=chosen.get("config", settings.config),
        gguf=chosen.get("gguf"),
    )


def store_named(name: str, text: str) -> Path | None:
    """Where the sessions are: a file, or None for `memory:`.

    Raises:
        ConfigError: It is no file that could be.
    """
    if text == MEMORY:
        return None
    scheme, separator, _ = text.partition("://")
    if separator and scheme.isalnum():
        raise ConfigError(
            f"{name} must be the path of a file, or {MEMORY} to forget the sessions; {scheme} is not"
            " supported",
            field=name,
        )
    return whole_path(name, text)


def whole_path(name: str, text: str | Path) -> Path:
    """The path that `text` means here, so that it is the same wherever a process of ours runs.

    Raises:
        ConfigError: It leads nowhere; `name` says where it came from.
    """
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no such home, or the current folder is gone
        raise ConfigError(f"{name} leads nowhere: {text}; name a whole path", field=name) from error


def reliability_in(file: Path) -> Reliability:
    """The guards' numbers that a TOML file has, with the fields of `[reliability]` in a model's file.

    Raises:
        ConfigError: It cannot be read, or a field cannot work.
    """
    from eai_mcp.catalog.models import read_reliability  # TOML's parser, which few servers need at the start

    faults: list[str] = []
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the file with the guards' numbers, {file}: {error.strerror}", field="reliability"
        ) from error
    found = read_reliability(
        content, lambda name, reason: faults.append(f"{name} {reason}" if name else reason)
    )
    if faults or found is None:
        raise ConfigError(f"{file}: {'; '.join(faults)}", field="reliability")
    return found


def listed(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The words of a variable that has some, with commas between them."""
    return words(environ.get(name, ""))


def words(text: str) -> tuple[str, ...]:
    """The words that have commas between them."""
    return tuple(filter(None, map(str.strip, text.split(","))))


def terminal_folder() -> Path:
    """Where work directories are unless somebody says otherwise.

    A terminal of root runs as another user, who cannot enter root's own folders.
    """
    is_root = getattr(os, "geteuid", lambda: 1)() == 0
    return ROOTS_TERMINALS if is_root else _data_folder() / "terminals"


def _data_folder() -> Path:
    return platformdirs.user_data_path("eai-mcp", appauthor=False)


def _keys_in(file: Path) -> Mapping[str, str]:
    """The variables in a file of NAME=value lines, as shells and containers have them."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read the file with the keys, {file}: {reason}", field="keys") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.removeprefix("export ").partition("=")
        if not equals or not name.strip().isidentifier():
            raise ConfigError(f"{file}: line {number} should be like NAME=value", field="keys")
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def flag(environ: Mapping[str, str], name: str) -> bool:
    """Whether a variable says yes.

    Raises:
        ConfigError: It says neither yes nor no.
    """
    value = environ.get(name, "").strip().lower()
    if value not in (*TRUE, *FALSE):
        raise ConfigError(f"{name} must be 1 or 0, not {value!r}", field=name)
    return value in TRUE
