"""Words that are paths, by the rules of both kinds of system."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from eai_mcp.formats.paths import names_beneath

WINDOWS = (PureWindowsPath("C:\\Exports"), PureWindowsPath("D:\\Real"))
POSIX = (PurePosixPath("/exports"), PurePosixPath("/real/exports"))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a", ("a",)),
        ("./a//b/./c", ("a", "b", "c")),
        ("/exports/a", ("a",)),
        ("/real/exports/a/b", ("a", "b")),
        ("a\\b:c", ("a\\b:c",)),
        ("con", ("con",)),
    ],
)
def test_a_path_is_the_names_on_the_way(path, names):
    assert names_beneath(path, POSIX) == names


@pytest.mark.parametrize("path", ["/exportsx/a", "/real/a", "/", "/exports", "/exports/", "//exports/a"])
def test_an_absolute_path_must_begin_with_the_folder(path):
    with pytest.raises(ValueError, match="folder"):
        names_beneath(path, POSIX)


@pytest.mark.parametrize("path", ["a/b.json", "c:\\exports\\a\\b.json", "D:/Real/a/b.json"])
def test_windows_takes_slashes_and_its_own_absolute_paths(path):
    assert names_beneath(path, WINDOWS) == ("a", "b.json")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a\\b", "may not be in it"),
        ("..\\b", "'..' may not"),
        ("a\\", "ends in a folder"),
        ("C:a", "leads out"),
        ("\\a", "leads out"),
        ("/a", "leads out"),
        ("E:\\a", "leads out"),
        ("\\\\host\\share\\a", "leads out"),
        ("\\\\?\\C:\\Exports\\a", "leads out"),
        ("C:\\Exports\\a:stream", "Windows allows no file"),
        ("a:stream", "leads out"),
        ("ab:stream", "Windows allows no file"),
        ("nul", "Windows allows no file of the name 'nul'"),
        ("NUL.txt", "Windows allows no file"),
        ("con .txt", "Windows allows no file"),
        ("a/LPT1/b", "Windows allows no file"),
        ("com².log", "Windows allows no file"),
        ("CONOUT$", "Windows allows no file"),
        ("a.", "Windows allows no file"),
        ("a ", "Windows allows no file"),
        ("what?", "Windows allows no file"),
        ("tab\t", "Windows allows no file"),
    ],
)
def test_windows_refuses_what_is_not_just_a_file(path, why):
    with pytest.raises(ValueError, match=why):
        names_beneath(path, WINDOWS)


@pytest.mark.parametrize("path", ["console", "null.txt", "com10", "a.b.c", " a"])
def test_windows_takes_names_that_only_look_reserved(path):
    assert names_beneath(path, WINDOWS) == (path,)
