"""A package put into a folder by pip or uv: they know the user's mirror, proxy, certificates and passwords.

Everything they write stays below one folder that the caller removes, so that its growth is the progress and
nothing is left behind. Their words are kept from our stdout, which is the protocol's.
"""

import errno
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeAlias

import anyio
from anyio import to_thread

from eai_mcp.errors import CallTimeout, ConfigError, EaiError, StorageFull, Unavailable
from eai_mcp.providers import leash

Command: TypeAlias = Callable[[Path, Path], Sequence[str]]

LIMIT_S = 1800.0
LEAST_ROOM = 1_000_000
FULL = (
    "no space left",
    "disk quota exceeded",
    "file too large",
    "not enough space on the disk",
    "os error 28",
    "os error 112",
)
# Signs in the words of pip and of uv, what they mean, and whether the same may go well later.
READINGS: Sequence[tuple[Sequence[str], str, bool]] = (
    (
        ("do not match the hashes", "hash mismatch"),
        "the package index or a mirror holds another file than ours, which was not used",
        False,
    ),
    (
        ("not enough bytes", "incomplete", "resume-retries"),
        "the download broke off before its end; try again",
        True,
    ),
    (
        ("connection broken", "timed out", "failed to fetch", "request failed", "connection error"),
        "the package index was not reached; check the network and try again",
        True,
    ),
    (
        ("no matching distribution", "no solution found"),
        "the package index or its mirror does not have it",
        False,
    ),
    (("cannot run",), "pip or uv is not where it was", False),
    (("",), "see what pip or uv says of it", True),
)


def command(
    target: Path,
    pins: Path,
    *,
    find: Callable[[str], object] = importlib.util.find_spec,
    which: Callable[..., str | None] = shutil.which,
    environ: Mapping[str, str] = os.environ,
) -> Sequence[str]:
    """The command that installs what the requirements file `pins` names into the folder `target`.

    A client that starts us may hand on a PATH without uv, so we look where uv installs itself, too.

    Raises:
        Unavailable: There is neither pip nor uv.
    """
    same = ["install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet"]
    same += ["--target", str(target), "--requirement", str(pins)]
    # No cache of theirs: the file is kept by us, and a second copy would only take the space.
    if find("pip") is not None:
        # -P, else the folder that a client starts us in would be a place to import pip from.
        pip = [sys.executable, "-P", "-m", "pip", *same, "--no-cache-dir", "--no-input"]
        return [*pip, "--disable-pip-version-check", "--progress-bar", "off"]
    if uv := which(environ.get("UV") or "uv") or which("uv", path=_uvs_own_places()):
        return [uv, "pip", *same, "--no-cache", "--no-progress", "--python", sys.executable]
    repair = shlex.join([sys.executable, "-m", "ensurepip"])
    raise Unavailable(
        f"a download needs pip or uv, and there is neither: run `{repair}`, or name another model",
        retryable=False,
    )


async def install(
    requirement: str,
    room: Path,
    grown: Callable[[int], Awaitable[None]],
    *,
    build: Command = command,
    environ: Mapping[str, str] = os.environ,
    every: float = 0.5,
    limit: float = LIMIT_S,
) -> Path:
    """Install `requirement`, a line with a hash, below the folder `room`, and return where it is.

    `grown` hears the size in bytes of the largest file so far, each `every` seconds; `limit` is in seconds.

    Raises:
        ConfigError: `room` cannot be written.
        StorageFull: The disk is full.
        Unavailable: The download failed.
        CallTimeout: It took longer than `limit`.
    """
    target, pins, log = await to_thread.run_sync(_prepare, requirement, room)
    # A user's choice of another place to install to cannot be joined with --target.
    elsewhere = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(room / "tmp"))
    with log:
        with anyio.move_on_after(limit) as scope:
            status = await _run(
                build(target, pins), room, {**environ, **elsewhere, **temporary}, log, grown, every
            )
        log.seek(0)
        said = log.read().decode(errors="replace")
    if scope.cancelled_caught:
        raise CallTimeout(f"{requirement.split(maxsplit=1)[0]} was not downloaded within {limit:g} s")
    if status != 0 and not said and shutil.disk_usage(room).free < LEAST_ROOM:
        raise StorageFull(_no_space(requirement.split(maxsplit=1)[0]))
    if status != 0:
        raise failure(requirement.split(maxsplit=1)[0], said)
    return target


def _uvs_own_places() -> str:
    return os.pathsep.join(str(Path(place).expanduser()) for place in ("~/.local/bin", "~/.cargo/bin"))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Whatever goes wrong with a file inside is about our cache folder.

    Raises:
        ConfigError: `folder` cannot be written.
        StorageFull: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(
                f"no space left in the cache folder {folder}; free some and try again"
            ) from error
        raise ConfigError(
            f"cannot write to the cache folder {folder}: {error.strerror}; make it writable, or name another "
            "one in EAI_MCP_CACHE"
        ) from error


def failure(requirement: str, said: str) -> EaiError:
    """The error that an installer's words `said` mean."""
    words = said.lower()
    if any(sign in words for sign in FULL):
        return StorageFull(_no_space(requirement))
    signs, advice, retryable = next(row for row in READINGS if any(sign in words for sign in row[0]))
    return Unavailable(
        f"could not download {requirement}: {advice} ({_telling(said, signs)})", retryable=retryable
    )


def _no_space(requirement: str) -> str:
    return f"no space left to download {requirement}; free some and try again"


def _telling(said: str, signs: Sequence[str]) -> str:
    """The last line that has one of the signs, from the reason on that pip gives inside it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if any(sign in line.lower() for sign in signs)]
    return telling[-1].rpartition("connection broken by ")[2][:300] if telling else "it said nothing"


def _prepare(requirement: str, room: Path) -> tuple[Path, Path, IO[bytes]]:
    with writing(room.parent):
        pins = room / "pin.txt"
        pins.write_text(requirement + "\n", encoding="utf-8")
        (room / "tmp").mkdir()
        return room / "target", pins, tempfile.TemporaryFile(dir=room)


async def _run(
    words: Sequence[str],
    room: Path,
    environ: Mapping[str, str],
    log: IO[bytes],
    grown: Callable[[int], Awaitable[None]],
    every: float,
) -> int:
    try:
        with anyio.CancelScope(shield=True):  # half a start could not be ended
            process = await anyio.open_process(
                [sys.executable, "-P", leash.__file__, *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=room,
                env=environ,
            )
    except OSError as error:
        raise Unavailable(f"cannot run {sys.executable}: {error.strerror}", retryable=False) from error
    try:
        while process.returncode is None:
            with anyio.move_on_after(every):
                await process.wait()
            await grown(await to_thread.run_sync(_largest, room))
        return process.returncode
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()  # closes its stdin, which is what it is kept alive by


def _largest(folder: Path) -> int:
    """The size of the largest file below `folder`: the download while it lasts, then what is unpacked."""
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # gone since it was listed
                sizes.append((Path(root) / name).stat().st_size)
    return max(sizes)
