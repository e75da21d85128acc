"""How a terminal's shell is started, and with what rights.

In bubblewrap where there is one: see `bubblewrap` for what is visible in there. Without, the shell sees what
its user sees. Either way its environment holds nothing of ours, its programs are limited, and `launcher` ends
all of them with the shell or with us; where we are root, each terminal is a user that nobody else is.

Not bounded, since that takes a control group or a quota: the memory of all programs of a terminal together,
memory that programs share, and the size of a work directory. When memory runs out, the kernel ends a
terminal's programs before ours.
"""

import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
from anyio import to_thread

from eai_mcp.errors import ConfigError, StorageFull, StorageUnavailable
from eai_mcp.observe import Observer, ignore, tell
from eai_mcp.terminal import Limits, bubblewrap, launcher, places
from eai_mcp.terminal.places import Place

Mode: TypeAlias = Literal["auto", "required", "off"]

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
BASH = ("/usr/bin/bash", "/bin/bash")
PROBE_LIMIT_S = 20.0
# Between the signal that a program may hear and the one that ends it.
CPU_GRACE_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of the machine that programs see at the same path."""

    path: Path
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What the operator chose.

    `folder` is the root of all work directories. `network` lets programs use the machine's, its loopback
    included. `passed` names variables of ours that programs get too. `mounts` need bubblewrap; they are read
    or written with the rights of the terminal's user.
    """

    folder: Path
    mode: Mode = "auto"
    network: bool = False
    mounts: tuple[Mount, ...] = ()
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to spawn in a new PTY, by the process that asked for it.

    `env` is the whole environment. We write files to `scripts`, with modes that let anybody read them, and
    programs read them in `scripts_inside`. A shell that ends may leave a file at `state_inside`, which is
    `state` for us. `release` is called once, when nothing of the terminal runs any more.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    scripts: Path
    scripts_inside: str
    state: Path
    state_inside: str
    release: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Probed:
    """Where bubblewrap is if it works, and else the sentence why not."""

    bwrap: str | None
    reason: str | None = None


class Sandbox:
    """Makes the folders of terminals, and the commands that start their shells."""

    def __init__(
        self,
        confinement: Confinement,
        *,
        limits: Limits,
        environ: Mapping[str, str],
        observe: Observer = ignore,
    ) -> None:
        self.confinement = confinement
        self.limits = limits
        self._root = confinement.folder.resolve()
        self._environ = environ
        self._observe = observe
        self._probing = anyio.Lock()
        self._known: _Probed | None = None

    async def opened(self) -> str | None:
        """None if shells are confined by bubblewrap, else why not and what to do. It is tried out once.

        Raises:
            ConfigError: What the operator chose cannot work: the folder, a mount, or bubblewrap is required.
        """
        return (await self._probed()).reason

    async def prepared(self, space: str, pty_session_id: str, *, rc: str) -> Launch:
        """Make and lock the terminal's folders. The shell reads `rc` first.

        Raises:
            ConfigError: As `opened` does.
            Conflict: Another process has the terminal; `owner` in the details says which.
            StorageUnavailable: The folders cannot be made.
        """
        found = await self._probed()
        return await to_thread.run_sync(self._prepared, found, space, pty_session_id, rc)

    def folder(self, space: str, pty_session_id: str) -> Path:
        """The work directory as we see it."""
        return places.home(self._root, space, pty_session_id) / "work"

    def _prepared(self, found: _Probed, space: str, pty_session_id: str, rc: str) -> Launch:
        try:
            place, release = places.taken(self._root, space, pty_session_id)
            try:
                _written(place.scripts / "rc", rc)
                return self._launch(found.bwrap, place, release)
            except BaseException:
                release()
                raise
        except OSError as error:
            kind = StorageFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else StorageUnavailable
            at = str(error.filename or self._root)
            raise kind(
                f"{at}: the terminal {pty_session_id!r} cannot be made ({error.strerror})", path=at
            ) from error

    def _launch(self, bwrap: str | None, place: Place, release: Callable[[], None]) -> Launch:
        scripts = bubblewrap.SCRIPTS if bwrap else str(place.scripts)
        state = bubblewrap.STATE if bwrap else str(place.state)
        shell = [_bash(), "--noprofile", "--rcfile", f"{scripts}/rc", "--noediting", "-i"]
        return Launch(
            argv=self._argv(bwrap, place, shell),
            env=self._env(bubblewrap.WORK if bwrap else str(place.work)),
            cwd=place.work,
            scripts=place.scripts,
            scripts_inside=scripts,
            state=place.state / "shell",
            state_inside=f"{state}/shell",
            release=release,
        )

    def _argv(self, bwrap: str | None, place: Place, program: Sequence[str]) -> tuple[str, ...]:
        order = {
            "command": program if bwrap is None else self._confined(bwrap, place, program),
            "parent": os.getpid(),
            "uid": place.uid,
            "confined": bwrap is not None,
            "limits": _rlimits(self.limits),
            "tasks": None if bwrap else self.limits.processes,
        }
        return (sys.executable, "-I", "-S", launcher.__file__, json.dumps(order))

    def _confined(self, bwrap: str, place: Place, program: Sequence[str]) -> list[str]:
        return bubblewrap.command(
            program,
            place,
            bwrap=bwrap,
            bash=_bash(),
            etc=self._root / ".etc",
            network=self.confinement.network,
            mounts=[(mount.path, mount.writable) for mount in self.confinement.mounts],
            limits=self.limits,
        )

    def _env(self, home: str) -> dict[str, str]:
        """By name, so that no key can be in there that nobody asked for."""
        own = {
            "PATH": PATH,
            "HOME": home,
            "USER": "eai",
            "LOGNAME": "eai",
            "SHELL": _bash(),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "PAGER": "cat",
            "GIT_PAGER": "cat",
        }
        passed = ("TZ", *self.confinement.passed)
        return own | {name: self._environ[name] for name in passed if name in self._environ}

    async def _probed(self) -> _Probed:
        async with self._probing:
            if self._known is None:
                self._known = await self._probe()
                if self._known.reason and self.confinement.mode == "auto":
                    tell(self._observe, "sandbox.missing", reason=self._known.reason)
            return self._known

    async def _probe(self) -> _Probed:
        mode = self.confinement.mode
        await to_thread.run_sync(self._checked)
        reason, bwrap = self._found()
        if bwrap is not None:
            reason = await self._tried(bwrap)
        if os.geteuid() == 0 and reason is not None and (failure := await self._tried(None)) is not None:
            raise ConfigError(
                f"commands cannot run as a user of their own ({failure}), and never run as root;"
                " start the server as another user",
                field="terminal",
            )
        if reason is None:
            return _Probed(bwrap)
        if mode == "required":
            raise ConfigError(f"{reason}; --sandbox required does not run without it", field="sandbox")
        return _Probed(None, f"{reason}: {_rights()}")

    def _checked(self) -> None:
        """Make what is there for all terminals, and look at the operator's choices."""
        _bash()
        for mount in self.confinement.mounts:
            _check_mount(mount.path, self._root)
        places.made(self._root)
        try:
            etc = self._root / ".etc"
            etc.mkdir(exist_ok=True)
            etc.chmod(0o755)
            bubblewrap.furnished(etc)
        except OSError as error:
            raise ConfigError(
                f"{error.filename or self._root}: cannot be written ({error.strerror}); name another folder"
                " for terminals with --terminal-dir",
                field="terminal_dir",
            ) from error

    def _found(self) -> tuple[str | None, str | None]:
        """Why there is no bubblewrap, or else where it is."""
        if self.confinement.mode == "off":
            return "the sandbox is off", None
        if not launcher.LINUX:
            return "bubblewrap works on Linux only", None
        bwrap = shutil.which("bwrap", path=self._environ.get("PATH") or PATH)
        return (None, bwrap) if bwrap else ("bubblewrap is not installed (apt install bubblewrap)", None)

    async def _tried(self, bwrap: str | None) -> str | None:
        """What keeps the very command that a shell gets from running, None if nothing does."""
        at = Path(await to_thread.run_sync(lambda: tempfile.mkdtemp(prefix=".probe-", dir=self._root)))
        try:
            place, release = await to_thread.run_sync(places.claimed, self._root, at, "probe")
            try:
                said = await self._said(bwrap, place)
            finally:
                release()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(lambda: shutil.rmtree(at, ignore_errors=True))
        return f"bubblewrap 0.8 or newer does not work here ({said})" if said and bwrap else said

    async def _said(self, bwrap: str | None, place: Place) -> str | None:
        argv = self._argv(bwrap, place, [_bash(), "-c", ":"])
        with anyio.move_on_after(PROBE_LIMIT_S):
            ended = await anyio.run_process(
                argv, env=self._env("/"), cwd=place.work, check=False, start_new_session=True
            )
            lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
            return None if ended.returncode == 0 else (lines or [f"exit status {ended.returncode}"])[-1]
        return f"no answer within {PROBE_LIMIT_S:g} s"


def _written(path: Path, text: str) -> None:
    """Others may read it whatever the umask is, and never find half of it."""
    beside = path.with_name(f".{path.name}")
    beside.write_text(text, encoding="utf-8", errors="surrogateescape")
    beside.chmod(0o644)
    beside.replace(path)


def _bash() -> str:
    for path in BASH:
        if os.access(path, os.X_OK):
            return path
    raise ConfigError(f"terminals need bash; there is no {' or '.join(BASH)}", field="terminal")


def _rights() -> str:
    if os.geteuid() == 0:
        return (
            "commands of the chat model run as a user of their own, which reaches the network and whatever"
            " any user may read"
        )
    return (
        "commands of the chat model run with your own rights, and one that ends the processes which hold it"
        " outlives the server"
    )


def _rlimits(limits: Limits) -> dict[str, tuple[int, int]]:
    """By name, soft and hard. Memory is what a process may write to; what it only reserves costs nothing."""
    return {
        "CORE": (0, 0),
        "CPU": (limits.cpu_s, limits.cpu_s + CPU_GRACE_S),
        "DATA": (limits.memory_mb << 20, limits.memory_mb << 20),
        "FSIZE": (limits.file_mb << 20, limits.file_mb << 20),
        "NOFILE": (limits.open_files, limits.open_files),
    }


def _check_mount(path: Path, root: Path) -> None:
    """Refuse what is not there, what the sandbox itself is made of, and what would show all terminals."""
    why = None
    if not path.is_absolute() or not path.exists():
        why = "there is no such file or folder; name it from the root on"
    elif os.path.normpath(path) in bubblewrap.TAKEN:
        why = "the sandbox has its own; name a folder in it"
    elif root.resolve().is_relative_to(path.resolve()):
        why = f"the terminals' folder {root} lies in there, and no terminal may see another one"
    elif os.geteuid() == 0 and (closed := places.unreachable(path)) is not None:
        why = f"no other user may enter {closed}, and terminals never run as root"
    if why is not None:
        raise ConfigError(f"mount {path}: {why}", field="mounts")
