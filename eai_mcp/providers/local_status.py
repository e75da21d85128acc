"""Whether a local model could answer, and what to do if not. Nothing is started or fetched to find out."""

import importlib.metadata
import importlib.util
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from eai_mcp.catalog.entries import Model
from eai_mcp.errors import ConfigError
from eai_mcp.providers import Parts, weights

State: TypeAlias = Literal[
    "ready", "weights_missing", "file_unusable", "extra_missing", "platform_unsupported"
]

RUNTIME = "xllamacpp"


@dataclass(frozen=True, slots=True)
class Status:
    """What is there or is missing, and for a person in `text` what to do about it."""

    state: State
    text: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What decides whether the runtime has a wheel, as `sysconfig` says it."""

    platform: str
    soabi: str
    free_threaded: bool


def this_interpreter() -> Interpreter:
    """The one that runs us."""
    return Interpreter(
        platform=sysconfig.get_platform(),
        soabi=str(sysconfig.get_config_var("SOABI")),
        free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    )


def status(model: Model, parts: Parts, *, find: Callable[[str], object] = importlib.util.find_spec) -> Status:
    """Whether `model` could answer now; the weights' hash is not checked for it."""
    if problem := runtime_problem(find=find):
        return problem
    try:
        if file := own_file(model, parts):
            weights.check_gguf(file)
            return Status("ready", f"ready: {file}", file)
    except ConfigError as error:
        return Status("file_unusable", error.message)
    pin = weights.SMOLLM2
    if path := weights.present(parts.cache, pin=pin):
        return Status("ready", f"ready: {path}", path)
    size = f"{pin.name} ({pin.megabytes} MB)"
    if parts.offline:
        return Status("weights_missing", f"{size} is not here and downloads are off: run `eai-mcp fetch`")
    return Status("weights_missing", f"the first call will fetch {size}; `eai-mcp fetch` does it now")


def missing(
    model: Model, parts: Parts, *, find: Callable[[str], object] = importlib.util.find_spec
) -> str | None:
    """What somebody has to do before `model` can answer; None if at most the first call takes longer."""
    found = status(model, parts, find=find)
    if found.state == "ready" or (found.state == "weights_missing" and not parts.offline):
        return None
    return found.text


def own_file(model: Model, parts: Parts) -> Path | None:
    """The weights file that the model's file or else the operator names; None for the shipped default.

    Raises:
        ConfigError: It is named by a part of its path, or what is named is no file and not the default.
    """
    if not model.model.endswith(".gguf"):
        if parts.gguf is None and model.model != weights.SMOLLM2.alias:
            raise ConfigError(
                f"model {model.name!r}: the provider local has no {model.model!r}; name "
                f"{weights.SMOLLM2.alias!r}, or a .gguf file by its whole path"
            )
        return parts.gguf
    path = _home_expanded(model)
    if not path.is_absolute():
        raise ConfigError(f"model {model.name!r}: name the weights file {model.model} by its whole path")
    return path


def _home_expanded(model: Model) -> Path:
    try:
        return Path(model.model).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"model {model.name!r}: there is no such home folder: {model.model}") from error


def runtime_problem(
    *,
    interpreter: Interpreter | None = None,
    find: Callable[[str], object] = importlib.util.find_spec,
    which: Callable[[str], object] = shutil.which,
) -> Status | None:
    """Why the runtime is not here, None if it is."""
    if find(RUNTIME) is not None:
        return None
    if reason := _no_wheel(interpreter or this_interpreter()):
        return Status(
            "platform_unsupported",
            f"local models do not run on {reason}; name another model, for instance one with a base_url",
        )
    words = [sys.executable, "-m", "pip", "install", _pin()]
    if find("pip") is None and which("uv"):
        words = ["uv", "pip", "install", "--python", sys.executable, _pin()]
    first = [sys.executable, "-m", "ensurepip"]
    before = f"`{_typed(first)}` and then " if find("pip") is None and words[0] != "uv" else ""
    return Status(
        "extra_missing", f"local models need an extra: run {before}`{_typed(words)}`, or name another model"
    )


def _pin() -> str:
    """What the extra `local` stands for, since a checkout is not in any index under our own name."""
    needs = (line.partition(";")[0].strip() for line in importlib.metadata.requires("eai-mcp") or ())
    return next((need for need in needs if need.startswith(RUNTIME)), "eai-mcp[local]")


def _no_wheel(interpreter: Interpreter) -> str | None:
    if interpreter.free_threaded:
        return "a free-threaded Python"
    if "musl" in interpreter.soabi:
        return "a Linux with musl, such as Alpine"
    if interpreter.platform == "win-arm64":
        return "Windows on ARM"
    return None


def _typed(words: list[str]) -> str:
    """A command as it is typed here."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
