"""A shelf: the entries of one kind, from its folders, read when they are new or changed.

The first folder that has a name owns it, even while its file is bad. Otherwise a typo in one's own file would
bring the shipped one of that name to light, and with it another host.
"""

import os
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Generic, Protocol, TypeAlias, TypeVar

from eai_mcp.catalog.entries import Problem
from eai_mcp.catalog.fields import NAME, NAME_RULE, Note
from eai_mcp.errors import ConfigError, UnknownName

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MIB = 1024 * 1024
LARGEST = MIB
"""Bytes of one file, if nothing else is said for its suffix."""
MOST_FAULTS = 20
"""What is noted of one file: a large one can be wrong in thousands of places."""
LOOK_EVERY_S = 1.0

Fault: TypeAlias = tuple[str, str]
"""A field and what is wrong with it."""
Audit: TypeAlias = Callable[[Mapping[str, T], Collection[str]], Mapping[str, Fault]]
"""Of the good entries, given the names that are skipped, those that cannot stand beside the others."""


class Reader(Protocol[T_co]):
    """Makes an entry of a file's bytes."""

    def __call__(self, name: str, content: bytes, note: Note) -> T_co | None:
        """The entry; whatever is wrong is noted, and nothing is raised."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """Where files are; `named` by the operator, whose spelling mistake deserves a word."""

    path: Path
    named: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was found; the `stamp` changes when its content or its permissions do."""

    path: Path
    stamp: tuple[int, ...] = ()
    fault: str | None = None

    @property
    def name(self) -> str:
        """Whose file it is."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Shown(Generic[T_co]):
    """A shelf as it was last looked at: its files, and the entries by name; None while none was asked for.

    The `problems` are those of the files that were read.
    """

    files: Sequence[File]
    entries: Mapping[str, T_co] | None
    problems: tuple[Problem, ...] = ()


def no_remarks(entry: object) -> tuple[Fault, ...]:
    """What there is to say of an entry of which all can be used."""
    return ()


class Shelf(Generic[T]):
    """The entries of one kind; `readers` by suffix, lower case, as in `.toml`.

    `largest` is in bytes, by suffix. `remarks` are about parts of a good entry that cannot be used.
    """

    def __init__(
        self,
        kind: str,
        folders: Sequence[Folder],
        readers: Mapping[str, Reader[T]],
        *,
        audit: Audit[T] = lambda entries, skipped: {},
        largest: Mapping[str, int] = MappingProxyType({}),
        remarks: Callable[[T], Sequence[Fault]] = no_remarks,
    ) -> None:
        self._kind = kind
        self._folders = tuple({folder.path: folder for folder in reversed(folders)}.values())[::-1]
        self._readers = readers
        self._audit = audit
        self._largest = largest
        self._remarks = remarks
        self._looked: float | None = None
        self._seen: tuple[list[File], list[Problem]] = ([], [])
        self._read: dict[File, tuple[T | None, tuple[Problem, ...]]] = {}
        self.entries: Mapping[str, T] = {}
        self.problems: tuple[Problem, ...] = ()
        self.shadowed: tuple[Path, ...] = ()

    def look(self, now: float) -> bool:
        """Read what is new or changed, at most once a second.

        True when what is offered is not what it was; the first look is no change.
        """
        if self._looked is not None and now - self._looked < LOOK_EVERY_S:
            return False
        first, self._looked = self._looked is None, now
        seen = self._files()
        if seen == self._seen:
            return False
        before = (self.entries, self.problems)
        self._seen = seen
        self._settle(*seen)
        return not first and before != (self.entries, self.problems)

    def shown(self) -> Shown[T]:
        """What there is by now, without reading a file for it."""
        if self._looked is None:
            return Shown(self._files()[0], None)
        return Shown(self._seen[0], self.entries, self.problems)

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            UnknownName: No file has it.
            ConfigError: The file that has it is bad.
        """
        entry = self.entries.get(name)
        if entry is not None:
            return entry
        for problem in self.problems:
            if problem.path.stem == name:
                where = f"{problem.path.name}: {problem.field}" if problem.field else problem.path.name
                raise ConfigError(
                    f"the file of {self._kind} {name!r} cannot be used: {where}: {problem.reason}",
                    kind=self._kind,
                    name=name,
                )
        raise UnknownName(self._kind, name, known=sorted(self.entries))

    def _files(self) -> tuple[list[File], list[Problem]]:
        files: list[File] = []
        problems: list[Problem] = []
        for folder in self._folders:
            try:
                with os.scandir(folder.path) as listing:
                    found = [_file(entry) for entry in listing if self._is_read(entry.name)]
            except FileNotFoundError:
                if folder.named:
                    problems.append(Problem(folder.path, None, "there is no such folder"))
            except OSError as error:
                problems.append(Problem(folder.path, None, f"cannot be read: {error.strerror}"))
            else:
                files += sorted((file for file in found if file), key=lambda file: file.path.name)
        return files, problems

    def _is_read(self, filename: str) -> bool:
        # A leading dot is how editors mark the files they work with.
        return not filename.startswith(".") and Path(filename).suffix.lower() in self._readers

    def _settle(self, files: list[File], problems: list[Problem]) -> None:
        owners: dict[str, File] = {}
        twins: list[Problem] = []
        shadowed: list[Path] = []
        for file in files:
            owner = owners.setdefault(file.name, file)
            if owner is file:
                continue
            if owner.path.parent == file.path.parent:
                twins.append(Problem(file.path, None, f"{owner.path.name} has the same name"))
            else:
                shadowed.append(file.path)
        self._read = {file: self._read.get(file) or self._reading(file) for file in owners.values()}
        good = {file.name: entry for file, (entry, _) in self._read.items() if entry is not None}
        faults = self._audit(good, owners.keys() - good.keys())
        self.entries = {name: entry for name, entry in sorted(good.items()) if name not in faults}
        self.shadowed = tuple(shadowed)
        self.problems = (
            *problems,
            *twins,
            *(problem for _, noted in self._read.values() for problem in noted),
            *(Problem(owners[name].path, *fault) for name, fault in faults.items()),
        )

    def _reading(self, file: File) -> tuple[T | None, tuple[Problem, ...]]:
        problems: list[Problem] = []

        def note(field: str | None, reason: str) -> None:
            if len(problems) < MOST_FAULTS:
                problems.append(Problem(file.path, field, reason))

        entry = None
        if not NAME.fullmatch(file.name):
            note(None, f"the name must be {NAME_RULE}")
        elif file.fault:
            note(None, file.fault)
        else:
            suffix = file.path.suffix.lower()
            content = _content(file.path, self._largest.get(suffix, LARGEST), note)
            if content is not None:
                entry = self._readers[suffix](file.name, content, note)
        if problems or entry is None:
            return None, tuple(problems)
        return entry, tuple(Problem(file.path, *fault) for fault in self._remarks(entry))


def _file(entry: os.DirEntry[str]) -> File | None:
    """The file of a directory entry, None when it has gone in the meantime."""
    path = Path(entry.path)
    try:
        found = entry.stat()
    except FileNotFoundError:
        return File(path, fault="is a link to nothing") if entry.is_symlink() else None
    except OSError as error:
        return File(path, fault=f"cannot be read: {error.strerror}")
    stamp = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
    # Opening a pipe would wait for whoever writes into it.
    return File(path, stamp, None if stat.S_ISREG(found.st_mode) else "is not a file")


def _content(path: Path, largest: int, note: Note) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        note(None, f"cannot be read: {error.strerror}")
        return None
    if len(content) > largest:
        note(None, f"is larger than {largest // MIB} MiB")
        return None
    if not content.strip():
        note(None, "is empty")
        return None
    return content
