"""Folders of exports for the tests: written to, read from, and looked at from outside."""

import stat
import sys
from contextlib import contextmanager

import pytest

from eai_mcp.errors import PathDenied
from eai_mcp.formats.files import DESCRIPTORS

needs_descriptors = pytest.mark.skipif(not DESCRIPTORS, reason="names cannot be looked up in an open folder")
BOTH_WAYS = [pytest.param(True, marks=needs_descriptors, id="descriptors"), pytest.param(False, id="words")]


def write(folder, path, data=b"content"):
    with folder.draft(path) as draft:
        draft.write(data)
    return draft


def read(folder, path):
    with folder.reading(path) as pieces:
        return b"".join(pieces)


def denied(folder, path, match=""):
    """Neither writing nor reading is allowed; the error of writing."""
    with pytest.raises(PathDenied, match=match):
        read(folder, path)
    with pytest.raises(PathDenied, match=match) as failed:
        write(folder, path)
    return failed.value


def tree(top, *, but=None):
    """All that is in a folder, with contents, modes and times."""
    found = {}
    for path in sorted(top.rglob("*")):
        if but is None or not path.is_relative_to(but):
            about = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(about.st_mode) else None
            found[str(path)] = (about.st_mode, about.st_mtime_ns, content)
    return found


@contextmanager
def system_calls(hear):
    """`hear` is told the name of each call of the system just before it happens; its own are not heard."""

    def heard(_frame, event, called):
        if event == "c_call" and getattr(called, "__module__", "") == "posix":
            sys.setprofile(None)
            hear(called.__name__)
            sys.setprofile(heard)

    sys.setprofile(heard)
    try:
        yield
    finally:
        sys.setprofile(None)
