"""Which words are the path of a file beneath a folder. No disk is looked at: `files` does that."""

import re
from collections.abc import Sequence
from pathlib import PurePath, PureWindowsPath
from typing import Final

LONGEST_PATH: Final = 4000
LONGEST_NAME: Final = 255
DEEPEST: Final = 32

PART: Final = re.compile(r"\..*\.[0-9a-f]{16}\.part", re.DOTALL)
"""The name of a file that is not whole yet."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL
)
_NOT_ON_WINDOWS: Final = re.compile(r'[\x00-\x1f<>:"/\\|?*]|[. ]\Z')


def names_beneath(path: str, roots: Sequence[PurePath]) -> Sequence[str]:
    """The names on the way from one folder, which `roots` are several paths of, to the file at `path`.

    Only the words are looked at, never a disk; the rules are Windows' if the roots are paths of Windows.

    Raises:
        ValueError: It is no such path; the message says why.
    """
    windows = isinstance(roots[0], PureWindowsPath)
    if not path:
        raise ValueError("it is empty")
    if "\0" in path or _SURROGATE.search(path):
        raise ValueError("it holds a character that no name can have")
    if len(path.encode()) > LONGEST_PATH:
        raise ValueError(f"it is longer than {LONGEST_PATH} bytes")
    if (path.replace("\\", "/") if windows else path).rpartition("/")[2] in ("", "."):
        raise ValueError("it ends in a folder, not a file")
    names = _relative(type(roots[0])(path), path, roots)
    if len(names) > DEEPEST:
        raise ValueError(f"it is more than {DEEPEST} names long")
    for name in names:
        _check_name(name, windows=windows)
    if not names or PART.fullmatch(names[-1]):
        raise ValueError("that is the name of a folder or of an unfinished file")
    return names


def _relative(pure: PurePath, path: str, roots: Sequence[PurePath]) -> tuple[str, ...]:
    if ".." in pure.parts:
        raise ValueError("'..' may not be in it")
    if not pure.anchor:
        if isinstance(pure, PureWindowsPath) and "\\" in path:
            raise ValueError("'\\' may not be in it; write '/'")
        return pure.parts
    for root in roots:
        if pure.is_relative_to(root):
            return pure.relative_to(root).parts
    raise ValueError("it leads out of the folder")


def _check_name(name: str, *, windows: bool) -> None:
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"a name in it is longer than {LONGEST_NAME} bytes")
    if windows and (_DEVICE.fullmatch(name) or _NOT_ON_WINDOWS.search(name)):
        raise ValueError(f"Windows allows no file of the name {name!r}")
