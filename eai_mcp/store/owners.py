"""Which processes are alive: each holds a lock on a file of its own, which the kernel lets go when it dies.

So the death of an owner is known at once and for certain, where a lease alone would have to run out.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from eai_mcp.store import database, locks


class Owners:
    """The processes that share a store, by their lock files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name: str | None = None
        self._held = -1

    @property
    def name(self) -> str | None:
        """This process's own name, None until it needed one."""
        return self._name

    def own(self) -> str:
        """This process's own name; from the first call on its lock is held.

        Raises:
            StorageFull, StorageUnavailable: The lock cannot be had.
        """
        try:
            if self._name is None:
                self._name = self._begun(secrets.token_hex(8))
            elif not _is_at(self._folder / self._name, self._held):
                # Whoever removed the file let us look dead.
                name, self._name = self._name, None
                os.close(self._held)
                self._name = self._begun(name)
        except OSError as error:
            raise database.refused(error, self._folder) from error
        return self._name

    def is_dead(self, owner: str) -> bool:
        """Whether the process of that name is gone for certain."""
        if owner == self._name:
            return False
        return self._gone(self._folder / owner)

    def leave(self) -> None:
        """Let the lock go."""
        if self._name is not None:
            with suppress(OSError):
                (self._folder / self._name).unlink()
            os.close(self._held)
            self._name, self._held = None, -1

    def _begun(self, name: str) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tidy()
        while not self._hold(name):
            pass
        return name

    def _hold(self, name: str) -> bool:
        path = self._folder / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | locks.CLOEXEC, 0o600)
        # Whoever tidies up may have found the file before it was locked, and removed it.
        if locks.taken(descriptor) and _is_at(path, descriptor):
            self._held = descriptor
            return True
        os.close(descriptor)
        return False

    def _tidy(self) -> None:
        for path in self._folder.iterdir():
            self._gone(path)

    def _gone(self, path: Path) -> bool:
        """Whether nobody holds the lock; the file is removed then."""
        try:
            descriptor = os.open(path, os.O_RDWR | locks.CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            if not locks.taken(descriptor):
                return False
            with suppress(OSError):
                path.unlink()
            return True
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
