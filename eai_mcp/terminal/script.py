"""Scripts as files, which a shell reads."""

import errno
import os
from contextlib import suppress

from eai_mcp.errors import InvalidArgument, StorageFull, StorageUnavailable
from eai_mcp.terminal.sandbox import Launch


def encoded(script: str) -> bytes:
    """The bytes of a script.

    Raises:
        InvalidArgument: It has none.
    """
    try:
        return script.encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            "the script holds half of a character: it cannot be written as UTF-8", field="script"
        ) from error


def written(launch: Launch, name: str, text: bytes) -> None:
    """Write it to the folder from which the shell reads it, which is made again if a program removed it.

    Raises:
        StorageFull: There is no space left.
        StorageUnavailable: It cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    path = launch.scripts / name
    try:
        launch.scripts.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, flags, 0o644), "wb") as file:
            os.fchmod(file.fileno(), 0o644)  # whatever the umask is
            file.write(text)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        kind = StorageFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else StorageUnavailable
        raise kind(f"{path}: the script cannot be written ({error.strerror})", path=str(path)) from error
