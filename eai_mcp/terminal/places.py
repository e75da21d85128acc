"""Where each terminal keeps its files, the lock that says whose it is, and the user id that it runs as.

    <folder>/<space>/<terminal>/   lock      who has the terminal
                                   work/     its programs' own, like state/
                                   scripts/  ours; its programs may read
    <folder>/.uids/<uid>           locked while that user id is somebody's; says in which terminal it was last

Names in there are made of hashes, so that no id leads elsewhere. As root, `work` and `state` belong to the
terminal's user id, whose group alone may enter the terminal's folder. Without root all of it is ours alone.
"""

import fcntl
import grp
import hashlib
import os
import pwd
import re
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eai_mcp.errors import ConfigError, Conflict
from eai_mcp.terminal import launcher

FIRST_UID, LAST_UID = 61184, 65519
SHOWN_LETTERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folders of one terminal, and who its programs run as: None for us."""

    home: Path
    uid: int | None

    @property
    def work(self) -> Path:
        """What its programs work in."""
        return self.home / "work"

    @property
    def scripts(self) -> Path:
        """What we write, and they read."""
        return self.home / "scripts"

    @property
    def state(self) -> Path:
        """Where a shell may leave what the next one goes on with."""
        return self.home / "state"


def home(folder: Path, space: str, pty_session_id: str) -> Path:
    """The folder of a terminal."""
    return folder / (_digest(space) if space else "own") / named(pty_session_id)


def named(pty_session_id: str) -> str:
    """A folder's name that is the id's own, whatever letters the id has."""
    letters = re.sub(r"[^A-Za-z0-9_]+", "-", pty_session_id)[:SHOWN_LETTERS].strip("-")
    return f"{letters or 'terminal'}-{_digest(pty_session_id)[:8]}"


def made(folder: Path) -> None:
    """Make the root of all terminals; as root others may pass through it.

    Raises:
        ConfigError: It cannot be made, or as root: a terminal's user could not get there.
    """
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            _made(path, _passable())
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made ({error.strerror}); name another folder for terminals, with"
            " --terminal-dir",
            field="terminal_dir",
        ) from error
    if _passable() & stat.S_IXOTH and (closed := unreachable(folder)) is not None:
        raise ConfigError(
            f"{closed}: only its owner may enter it, and terminals, which never run as root, would be in"
            f" there ({folder}); name another folder with --terminal-dir, such as /var/lib/eai-mcp/terminals",
            field="terminal_dir",
        )


def unreachable(path: Path) -> Path | None:
    """The first folder on the way that others may not enter."""
    for step in (*reversed(path.parents), path):
        if step.is_dir() and not step.stat().st_mode & stat.S_IXOTH:
            return step
    return None


def taken(folder: Path, space: str, pty_session_id: str) -> tuple[Place, Callable[[], None]]:
    """The terminal's folders, made and locked for us, and what gives them back.

    Raises:
        Conflict: Another process has the terminal; `owner` in the details says which.
    """
    at = home(folder, space, pty_session_id)
    _made(at.parent, _passable())
    return claimed(folder, at, pty_session_id)


def claimed(folder: Path, at: Path, pty_session_id: str) -> tuple[Place, Callable[[], None]]:
    """The same, of a terminal at a certain place in a folder that there is."""
    _made(at, 0o700)
    held = [_owned(at / "lock", pty_session_id)]

    def release() -> None:
        if held and os.geteuid() == 0:
            _closed(at)
        while held:
            os.close(held.pop())

    try:
        uid = None
        if os.geteuid() == 0:
            uid, lock = _user(folder, at)
            held.append(lock)
        place = Place(home=at, uid=uid)
        _furnish(place)
    except BaseException:
        release()
        raise
    return place, release


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _passable() -> int:
    """The mode of what lies above the terminals' own folders."""
    return 0o711 if os.geteuid() == 0 else 0o700


def _made(path: Path, mode: int) -> None:
    """Make a folder, whatever the umask is. One that is there keeps its mode; a link is no folder."""
    try:
        path.mkdir()
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise
    else:
        path.chmod(mode)


def _owned(lock: Path, pty_session_id: str) -> int:
    """A descriptor that holds the terminal's lock."""
    descriptor = _locked(lock)
    if descriptor is None:
        with lock.open(encoding="utf-8") as file:
            owner, _, host = file.read(200).partition(" ")
        raise Conflict(
            f"the terminal {pty_session_id!r} belongs to another process, {owner} on {host}; use it from"
            " there, or take another pty_session_id",
            owner=owner,
            host=host,
            pty_session_id=pty_session_id,
        )
    _say(descriptor, f"{os.getpid()} {socket.gethostname()}")
    return descriptor


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of a file, None if somebody else has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _say(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode("utf-8", "surrogateescape"), 0)


def _user(folder: Path, at: Path) -> tuple[int, int]:
    """A user id that nobody else has, with the lock that keeps it; the one it had before if that is free."""
    uids = folder / ".uids"
    _made(uids, 0o700)
    for uid in _candidates(at.stat().st_gid):
        descriptor = _locked(uids / str(uid))
        if descriptor is None:
            continue
        if _is_free(uid):
            last = os.pread(descriptor, 4096, 0).decode("utf-8", "surrogateescape")
            here = str(at.relative_to(folder))
            if last and last != here:
                _closed(folder / last, of=uid)
            _say(descriptor, here)
            return uid, descriptor
        os.close(descriptor)
    raise Conflict(f"no user id from {FIRST_UID} to {LAST_UID} is free for a terminal; close some")


def _candidates(before: int) -> Iterator[int]:
    if FIRST_UID <= before <= LAST_UID:
        yield before
    count = LAST_UID - FIRST_UID + 1
    # Not always the lowest: what a terminal left outside of its folders shall not be the next one's.
    start = secrets.randbelow(count)
    yield from (FIRST_UID + (start + step) % count for step in range(count))


def _is_free(uid: int) -> bool:
    with suppress(KeyError):
        pwd.getpwuid(uid)
        return False
    with suppress(KeyError):
        grp.getgrgid(uid)
        return False
    return launcher.tasks_of(uid) == 0


def _furnish(place: Place) -> None:
    """Make the folders; as root, hand what is the programs' own to their user."""
    for path in (place.work, place.scripts, place.state):
        _made(path, 0o700)
    if place.uid is None:
        return
    for path in (place.work, place.state):
        _handed(path, place.uid)
    for path, mode in ((place.scripts, 0o750), (place.home, 0o710)):
        os.chown(path, 0, place.uid, follow_symlinks=False)
        path.chmod(mode)


def _handed(root: Path, uid: int) -> None:
    """Give a tree to the user: what was a terminal's user's before, and nothing else that is linked there."""
    before = root.lstat().st_uid
    if before == uid:
        return
    for _, folders, files, descriptor in os.fwalk(root):
        for name in (*folders, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid
            if FIRST_UID <= found <= LAST_UID:
                os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
    # Last: a root that is the user's says that all of it is.
    os.chown(root, uid, uid, follow_symlinks=False)


def _closed(at: Path, *, of: int | None = None) -> None:
    """Let no other user into a terminal any more, or only if it was `of` that could enter."""
    with suppress(FileNotFoundError):
        if of in {None, at.lstat().st_gid}:
            at.chmod(0o700)
