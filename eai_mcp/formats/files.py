"""Folders in which exported and imported files live, so that no path leads anywhere else.

A path is walked a name at a time, each looked up in the folder that was opened before it, and never over a
symbolic link: what is swapped in behind our back is refused or not seen, but never followed. Where the
system cannot look names up like that (Windows), each is checked just before it is used, which leaves a moment
between.

A file appears whole or not at all. Until it is whole it is called `.NAME.<16 hex digits>.part`; what a killed
process leaves of that name is removed a day later, by whoever writes to the same folder next.
"""

import errno
import hashlib
import io
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from eai_mcp.errors import EaiError, NotFound, PathDenied, StorageFull, StorageUnavailable
from eai_mcp.formats import FULL
from eai_mcp.formats.paths import PART, names_beneath

DESCRIPTORS: Final = {os.open, os.stat, os.mkdir, os.unlink, os.rename} <= os.supports_dir_fd
"""Whether names can be looked up in a folder that is open."""

_PIECE: Final = 256 * 1024
_STALE_S: Final = 24 * 3600.0
_SHOWN: Final = 200

# Flags that not every system has.
_FOLDER_ONLY: Final = getattr(os, "O_DIRECTORY", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_AS_IS: Final = getattr(os, "O_BINARY", 0)

_DENIED: Final = {
    errno.ELOOP: "it leads over a symbolic link",
    errno.ENOTDIR: "a part of it that should be a folder is none",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENXIO: "it is a device, a pipe or a socket, not a file",
    errno.ENAMETOOLONG: "a name in it is too long",
    errno.EACCES: "the rights to it are missing",
    errno.EPERM: "the rights to it are missing",
    errno.EROFS: "the disk is read-only, so rights to write are missing",
}


class Folder:
    """The folder `root`, made when something is written to it; it may itself be a symbolic link.

    Paths are relative to it, or absolute and beneath it by their very words. `~` is a name like any other.
    """

    def __init__(self, root: Path, *, descriptors: bool = DESCRIPTORS) -> None:
        self.root = root.absolute()
        self.descriptors = descriptors

    @contextmanager
    def reading(self, path: str) -> Iterator[Iterator[bytes]]:
        """The bytes of a file, in pieces.

        Raises:
            PathDenied: It is no path of a file in here.
            NotFound: There is no such file.
            StorageUnavailable: It cannot be read.
        """
        asked = _Asked(path=path, folder=self.root)
        *folders, name = self._names(asked)
        with asked.translated():
            try:
                with self._place(folders, make=False) as place:
                    file = place.open(name)
            except FileNotFoundError as error:
                raise asked.absent() from error
        with file:
            yield _pieces(file, asked)

    @contextmanager
    def draft(self, path: str) -> Iterator["Draft"]:
        """A file to write, which is at `path` once the block ends well, in place of one that was there.

        Otherwise nothing has changed, save that folders on the way to it may have been made.

        Raises:
            PathDenied: It is no path for a file in here.
            StorageFull: There is no room for it.
            StorageUnavailable: It cannot be written.
        """
        asked = _Asked(path=path, folder=self.root)
        *folders, name = self._names(asked)
        with asked.translated():
            place = self._place(folders, make=True)
        with place:
            with asked.translated():
                place.check_replaceable(name)
                place.sweep()
                part = f".{name.encode()[:200].decode(errors='ignore')}.{secrets.token_hex(8)}.part"
                file = place.create(part)
            try:
                yield Draft(file, asked, self.root.joinpath(*folders, name))
                with asked.translated():
                    file.flush()
                    os.fsync(file.fileno())
                    file.close()
                    place.check_replaceable(name)
                    place.rename(part, name)
            except BaseException:
                with suppress(OSError):
                    file.close()
                with suppress(OSError):
                    place.remove(part)
                raise

    def _names(self, asked: "_Asked") -> Sequence[str]:
        try:
            return names_beneath(asked.path, (self.root, Path(os.path.realpath(self.root))))
        except ValueError as error:
            raise asked.denied(str(error)) from None

    def _place(self, folders: Sequence[str], *, make: bool) -> "_Place":
        place = self._open_root(make=make)
        for name in folders:
            with place:
                place = place.enter(name, make=make)
        return place

    def _open_root(self, *, make: bool) -> "_Place":
        try:
            if make:
                _make(self.root)
            return _Place(self.root, descriptors=self.descriptors)
        except (FileExistsError, NotADirectoryError) as error:
            where = str(self.root)
            raise StorageUnavailable(
                f"{where} is no folder, so no file can be in it; move away what is there", path=where
            ) from error


class Draft:
    """A file that is being written; `path` is where it will be."""

    def __init__(self, file: io.BufferedWriter, asked: "_Asked", path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._file = file
        self._asked = asked
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the bytes written so far, in hex."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Put this behind what was written before."""
        with self._asked.translated():
            self._file.write(data)
        self._hash.update(data)
        self.size_bytes += len(data)


def anywhere(path: Path) -> tuple[Folder, str]:
    """For a person who may name any file: its folder, and its name in there.

    Links to folders on the way are the person's own choice, and so is one to a file.
    """
    asked = _Asked(path=str(path), folder=path.absolute().parent)
    with asked.translated():
        if path.is_symlink() and path.is_file():
            path = path.resolve()
    return Folder(path.parent), path.name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The path as somebody gave it, and the folder it should be in, for the errors that name both."""

    path: str
    folder: Path

    def denied(self, why: str) -> PathDenied:
        example = self.folder / "history.json"
        return PathDenied(
            f"{self._shown()!r} cannot be used: {why}; name a file in {self.folder}, such as {example}",
            path=self._shown(),
            folder=str(self.folder),
        )

    def absent(self) -> NotFound:
        shown, folder = self._shown(), str(self.folder)
        return NotFound(f"there is no file {shown!r} in {folder}", path=shown, folder=folder)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns the errors of the system into ours."""
        try:
            yield
        except OSError as error:
            raise self._told(error) from error

    def _told(self, error: OSError) -> EaiError:
        why = _DENIED.get(error.errno or 0)
        if why is not None:
            return self.denied(why)
        reason = error.strerror or str(error)
        where = f"{self._shown()!r} in {self.folder}"
        if error.errno in FULL:
            return StorageFull(
                f"there is no room for {where} ({reason}); make room and try again", path=self._shown()
            )
        return StorageUnavailable(f"{where} cannot be read or written: {reason}", path=self._shown())

    def _shown(self) -> str:
        # Half characters cannot be sent to anybody, and nobody needs all of a path that is too long.
        return self.path[:_SHOWN].encode(errors="backslashreplace").decode()


class _Place:
    """An open folder. With a descriptor it stays this very folder, wherever its path leads by now."""

    def __init__(self, path: Path, *, descriptors: bool, parent: "_Place | None" = None) -> None:
        self._path = path
        self._descriptor: int | None = None
        if descriptors:
            if parent is None:
                self._descriptor = os.open(path, os.O_RDONLY | _FOLDER_ONLY)
            else:
                self._descriptor = parent._open(path.name, os.O_RDONLY | _FOLDER_ONLY | _NO_LINK)
        elif not path.is_dir():
            code = errno.ENOTDIR if path.exists() else errno.ENOENT
            raise OSError(code, os.strerror(code), str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def enter(self, name: str, *, make: bool) -> "_Place":
        """The folder `name` in this one; with `make`, one that is missing is made."""
        made = make and not self._holds(name) and self._made(name)
        found = self._lstat(name)
        if _is_link(found) or not stat.S_ISDIR(found.st_mode):
            raise _oserror(errno.ELOOP if _is_link(found) else errno.ENOTDIR)
        place = _Place(self._path / name, descriptors=self._descriptor is not None, parent=self)
        if made and place._descriptor is not None:
            _own(place._descriptor, 0o700)
        return place

    def check_replaceable(self, name: str) -> None:
        """Nothing is there, or a regular file."""
        with suppress(FileNotFoundError):
            _check_regular(self._lstat(name))

    def open(self, name: str) -> io.FileIO:
        """A regular file to read; whatever else is there is not even waited for."""
        _check_regular(self._lstat(name))
        descriptor = self._open(name, os.O_RDONLY | _NO_LINK | _NO_WAIT | _AS_IS)
        try:
            _check_regular(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return io.FileIO(descriptor, "rb")

    def create(self, name: str) -> io.BufferedWriter:
        """A new file to write."""
        descriptor = self._open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _AS_IS)
        _own(descriptor, 0o600)
        return io.BufferedWriter(io.FileIO(descriptor, "wb"), _PIECE)

    def rename(self, old: str, new: str) -> None:
        """Put a file in the place of another, for good."""
        at = self._descriptor
        os.replace(self._at(old), self._at(new), src_dir_fd=at, dst_dir_fd=at)
        self._sync()

    def remove(self, name: str) -> None:
        """Take a file away."""
        os.unlink(self._at(name), dir_fd=self._descriptor)

    def sweep(self) -> None:
        """Remove what was left unfinished a day ago or longer."""
        folder = self._path if self._descriptor is None else self._descriptor
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if PART.fullmatch(entry.name):
                    self._remove_stale(entry.name)

    def _remove_stale(self, name: str) -> None:
        with suppress(OSError):
            found = self._lstat(name)
            if stat.S_ISREG(found.st_mode) and found.st_mtime < time.time() - _STALE_S:
                self.remove(name)

    def _holds(self, name: str) -> bool:
        try:
            self._lstat(name)
        except FileNotFoundError:
            return False
        return True

    def _made(self, name: str) -> bool:
        try:
            os.mkdir(self._at(name), 0o700, dir_fd=self._descriptor)
        except FileExistsError:
            return False
        self._sync()
        return True

    def _sync(self) -> None:
        if self._descriptor is not None:
            # Not every disk can do this for a folder; what is in the file is safe already.
            with suppress(OSError):
                os.fsync(self._descriptor)

    def _lstat(self, name: str) -> os.stat_result:
        return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._at(name), flags, 0o600, dir_fd=self._descriptor)

    def _at(self, name: str) -> str:
        return str(self._path / name) if self._descriptor is None else name


def _pieces(file: io.FileIO, asked: _Asked) -> Iterator[bytes]:
    while True:
        with asked.translated():
            piece = file.read(_PIECE)
        if not piece:
            return
        yield piece


def _make(folder: Path) -> None:
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(0o700, exist_ok=True)
        missing.chmod(0o700)


def _own(descriptor: int, mode: int) -> None:
    """Give us the rights that the umask may have taken from us; a new file has none for others anyway."""
    if os.chmod in os.supports_fd:
        # Some disks know no modes.
        with suppress(OSError):
            os.chmod(descriptor, mode)


def _check_regular(found: os.stat_result) -> None:
    if _is_link(found):
        raise _oserror(errno.ELOOP)
    if not stat.S_ISREG(found.st_mode):
        raise _oserror(errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.ENXIO)


def _is_link(found: os.stat_result) -> bool:
    # What Windows calls a junction is a folder to `stat`.
    junction = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None)
    return stat.S_ISLNK(found.st_mode) or (
        junction is not None and getattr(found, "st_reparse_tag", 0) == junction
    )


def _oserror(code: int) -> OSError:
    return OSError(code, os.strerror(code))
