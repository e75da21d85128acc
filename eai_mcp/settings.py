"""What the operator may choose. `app` reads it; nothing below sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from eai_mcp.errors import ConfigError

DEFAULT_MODEL = "local"
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every choice, with the environment variable that makes it where there is one.

    `model` answers where nothing else is named (EAI_MCP_MODEL). `models`, `prompts` and `cards` are folders
    to look into before the user's own and the shipped ones. `cache` keeps downloads (EAI_MCP_CACHE), `config`
    has the user's own folders (EAI_MCP_CONFIG), `offline` forbids downloads (EAI_MCP_OFFLINE), `gguf` is a
    weights file for the model `local` (EAI_MCP_GGUF). `inline_wait_s` is how long a tool call waits for a
    reply when its caller sets no limit: most clients give up at 60 s. `environ` is where API keys are looked
    up.
    """

    model: str = DEFAULT_MODEL
    models: tuple[Path, ...] = ()
    prompts: tuple[Path, ...] = ()
    cards: tuple[Path, ...] = ()
    cache: Path = field(default_factory=lambda: platformdirs.user_cache_path("eai-mcp", appauthor=False))
    config: Path = field(default_factory=lambda: platformdirs.user_config_path("eai-mcp", appauthor=False))
    offline: bool = False
    gguf: Path | None = None
    inline_wait_s: float = 45.0
    turn_limit_s: float = 1800.0
    message_bytes: int = 8 * 1024 * 1024
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def from_environ(environ: Mapping[str, str]) -> Settings:
    """The settings that the environment makes.

    Raises:
        ConfigError: A variable has a value that cannot work.
    """
    settings = Settings(environ=environ, offline=_flag(environ, "EAI_MCP_OFFLINE"))
    paths = {"cache": "EAI_MCP_CACHE", "config": "EAI_MCP_CONFIG", "gguf": "EAI_MCP_GGUF"}
    chosen = {name: Path(environ[key]).expanduser() for name, key in paths.items() if environ.get(key)}
    return Settings(
        environ=environ,
        offline=settings.offline,
        model=environ.get("EAI_MCP_MODEL") or settings.model,
        cache=chosen.get("cache", settings.cache),
        config=chosen.get("config", settings.config),
        gguf=chosen.get("gguf"),
    )


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value not in (*TRUE, *FALSE):
        raise ConfigError(f"{name} must be 1 or 0, not {value!r}", field=name)
    return value in TRUE
