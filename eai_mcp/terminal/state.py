"""The file in which a shell leaves its directory, variables and functions for the next one.

It lies where programs write what they like, so nothing in here follows a link, or waits for what it finds.
"""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from eai_mcp.errors import StorageUnavailable
from eai_mcp.terminal.bash import BEGINNING, LEAVING, TRAP, WHOLE


def is_there(state: Path) -> bool:
    """Whether there is one."""
    try:
        return stat.S_ISREG(state.lstat().st_mode)
    except OSError:
        return False


def kept(state: Path, *, beside: str) -> bool:
    """Whether a shell has written a new one to that file beside it, all of it; then it takes its place."""
    new = state.with_name(f"{state.name}.{beside}")
    try:
        if not _is_whole(new):
            return False
        new.replace(state)
    except OSError:
        return False
    return True


def expected(state: Path) -> None:
    """Make room for new ones; programs may be at work there, so only what is no folder is removed."""
    for path in _beside(state):
        with suppress(OSError):
            path.unlink()


def forgotten(state: Path) -> None:
    """Remove whatever is in its place, once no program of the terminal runs.

    Raises:
        StorageUnavailable: It cannot be removed.
    """
    try:
        for path in (*_beside(state), state):
            if os.geteuid() != 0:
                _unlocked(path)
            if _is_folder(path):
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except (OSError, RecursionError) as error:
        raise StorageUnavailable(
            f"{state}: a program of the terminal left what cannot be removed ({error}); remove it",
            path=str(state),
        ) from error


def _beside(state: Path) -> list[Path]:
    return [state.with_name(f"{state.name}.{beside}") for beside in (BEGINNING, LEAVING, TRAP)]


def _is_whole(path: Path) -> bool:
    end = WHOLE.encode()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size < len(end):
            return False
        return os.pread(descriptor, len(end), found.st_size - len(end)) == end
    finally:
        os.close(descriptor)


def _is_folder(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(path.lstat().st_mode)
    return False


def _unlocked(path: Path) -> None:
    """Give us back the rights to what our own programs closed to themselves."""
    path.parent.chmod(0o700)
    if _is_folder(path):
        path.chmod(0o700)
        for folder, names, _ in os.walk(path):
            for name in names:
                if _is_folder(at := Path(folder, name)):
                    at.chmod(0o700)
