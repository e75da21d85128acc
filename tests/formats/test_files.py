"""A folder for exports: what is in it can be written and read, and nothing else is touched."""

import os
import socket
from contextlib import chdir, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eai_mcp.errors import NotFound, PathDenied
from eai_mcp.formats.files import DESCRIPTORS, Folder, anywhere
from tests.formats.folders import BOTH_WAYS, denied, needs_descriptors, read, system_calls, tree, write


@pytest.fixture(params=BOTH_WAYS)
def folder(request, tmp_path):
    """The folder `exports`, beside `outside` with a file `secret`; names are looked up in both ways."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return Folder(tmp_path / "exports", descriptors=request.param)


@pytest.fixture
def outside(tmp_path):
    return tmp_path / "outside"


@pytest.mark.parametrize(
    "path",
    ["history", "~", "~/x", "-", "a b.json", "x.part", ".hidden", "...", "a//b", "./a", "new\nline", "C:x",
     "back\\slash", "nul", "é" * 127, "\u200b", "a\u202etxt.exe", "e\u0301", "\u00e9", "%2e%2e", "🙂"],
)  # fmt: skip
def test_a_name_is_taken_as_it_is(folder, path):
    draft = write(folder, path, path.encode())

    assert draft.path == folder.root / path
    assert read(folder, path) == path.encode()
    assert [one for one in folder.root.rglob("*") if one.is_file()] == [draft.path]


def test_a_missing_file_is_named_with_its_folder(folder):
    for path in ("none.json", "a/none.json", str(folder.root / "none.json")):
        with pytest.raises(NotFound) as failed:
            read(folder, path)
        assert failed.value.message == f"there is no file {path!r} in {folder.root}"
        assert failed.value.details == {"path": path, "folder": str(folder.root)}
    assert not folder.root.exists()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "it is empty"),
        ("a\0b", "it holds a character that no name can have"),
        ("\ud800", "it holds a character that no name can have"),
        ("a/\udc80", "it holds a character that no name can have"),
        ("../outside/secret", "'..' may not be in it"),
        ("a/../b", "'..' may not be in it"),
        ("..", "'..' may not be in it"),
        ("a/", "it ends in a folder"),
        (".", "it ends in a folder"),
        ("a/.", "it ends in a folder"),
        ("/", "it ends in a folder"),
        ("/etc/passwd", "it leads out of the folder"),
        ("/dev/zero", "it leads out of the folder"),
        ("//etc/passwd", "it leads out of the folder"),
        ("x" * 256, "a name in it is longer than 255 bytes"),
        ("é" * 128, "a name in it is longer than 255 bytes"),
        ("x" * 5000, "it is longer than 4000 bytes"),
        ("a/" * 32 + "b", "it is more than 32 names long"),
        (".x.0123456789abcdef.part", "of an unfinished file"),
    ],
)
def test_words_that_are_no_path_of_a_file_in_here_are_refused(folder, path, why):
    """Issue 5: **Safety**: paths confined to the export root (no `..`, no symlink escape, no device files)"""
    error = denied(folder, path, why)

    assert f"name a file in {folder.root}, such as {folder.root}/history.json" in error.message
    assert error.details["folder"] == str(folder.root)
    assert len(error.message.encode()) < 1500
    assert len(str(error.details["path"]).encode()) <= 400
    assert not folder.root.exists()


def test_absolute_paths_are_held_to_the_folder_by_their_words(folder, tmp_path, outside):
    real = folder.root
    link = tmp_path / "link"
    link.symlink_to(real)
    linked = Folder(link, descriptors=folder.descriptors)
    real.mkdir()

    assert write(linked, str(link / "a")).path == link / "a"
    assert read(linked, str(real / "a")) == b"content"
    assert denied(folder, str(link / "a"), "it leads out").details["path"] == str(link / "a")
    denied(folder, str(outside / "secret"), "it leads out")
    denied(folder, f"{real}-more/x", "it leads out")
    denied(folder, f"{real}/../outside/secret", r"'\.\.' may not")
    denied(folder, str(real), "the name of a folder")


def test_no_symbolic_link_is_followed(folder, outside):
    """Issue 5: **Safety**: paths confined to the export root (no `..`, no symlink escape, no device files)"""
    write(folder, "real/x")
    links = {
        "out": outside,
        "in": folder.root / "real",
        "file": outside / "secret",
        "inner": folder.root / "real" / "x",
        "nowhere": outside / "new",
        "zero": Path("/dev/zero"),
        "round": folder.root / "round",
    }
    for name, target in links.items():
        (folder.root / name).symlink_to(target)
    before = tree(folder.root.parent)

    for path in (*links, "out/secret", "out/new", "in/x", "nowhere/x", "round/x"):
        denied(folder, path, "it leads over a symbolic link")
    assert tree(folder.root.parent) == before


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(folder):
    """Issue 5: **Safety**: paths confined to the export root (no `..`, no symlink escape, no device files)"""
    write(folder, "folder/file")
    os.mkfifo(folder.root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener, chdir(folder.root):
        listener.bind("socket")

    denied(folder, "pipe", "it is a device, a pipe or a socket")
    denied(folder, "socket", "it is a device, a pipe or a socket")
    denied(folder, "folder", "it is a folder")
    denied(folder, "folder/file/x", "should be a folder")
    denied(folder, "pipe/x", "should be a folder")


def test_a_device_is_not_even_opened():
    devices = Folder(Path("/dev"))
    calls: list[str] = []
    with system_calls(calls.append), pytest.raises(PathDenied, match="it is a device"):
        read(devices, "zero")
    assert calls.count("open") == (1 if DESCRIPTORS else 0)
    with pytest.raises(PathDenied, match="it is a device"):
        write(devices, "null")


def test_a_file_that_became_a_link_or_a_folder_while_it_was_written_is_refused(folder, outside):
    for name, make in (("x", lambda one: one.symlink_to(outside / "secret")), ("y", Path.mkdir)):
        before = tree(outside)
        with pytest.raises(PathDenied), folder.draft(name) as draft:
            make(draft.path)
        assert tree(outside) == before
    assert sorted(one.name for one in folder.root.iterdir()) == ["x", "y"]


def test_a_folder_that_became_a_link_since_the_last_call_is_refused(folder, outside):
    write(folder, "a/x")
    (folder.root / "a").rename(folder.root / "b")
    (folder.root / "a").symlink_to(outside)

    denied(folder, "a/x", "symbolic link")
    denied(folder, "a/secret", "symbolic link")


@needs_descriptors
def test_a_folder_that_becomes_a_link_during_a_draft_leads_nowhere_else(tmp_path, outside):
    folder = Folder(tmp_path / "exports")
    outside.mkdir()
    with folder.draft("a/x") as draft:
        draft.write(b"content")
        (folder.root / "a").rename(folder.root / "b")
        (folder.root / "a").symlink_to(outside)

    assert tree(outside) == {}
    assert read(folder, "b/x") == b"content"


@contextmanager
def before_call(number, act):
    """`act` happens just before system call `number`; what is given stays empty if there are not as many."""
    calls, happened = count(), []

    def heard(name):
        if next(calls) == number:
            act()
            happened.append(name)

    with system_calls(heard):
        yield happened


def linked_folder(root, outside):
    (root / "a").rename(root / "b")
    (root / "a").symlink_to(outside)


def linked_file(root, outside):
    (root / "a" / "x").unlink()
    (root / "a" / "x").symlink_to(outside / "x")


def pipe(root, _outside):
    (root / "a" / "x").unlink()
    os.mkfifo(root / "a" / "x")


@pytest.mark.parametrize("use", [read, write])
@pytest.mark.parametrize(
    ("swap", "descriptors"),
    [
        pytest.param(linked_folder, True, marks=needs_descriptors),
        pytest.param(linked_file, True, marks=needs_descriptors),
        pytest.param(pipe, True, marks=needs_descriptors),
        (linked_file, False),
        (pipe, False),
    ],
)
def test_no_moment_is_good_for_swapping_something_in(tmp_path, use, swap, descriptors):
    """Issue 5: **Safety**: paths confined to the export root (no `..`, no symlink escape, no device files)"""
    for number in count():
        outside = tmp_path / str(number) / "outside"
        outside.mkdir(parents=True)
        (outside / "x").write_bytes(b"secret")
        before = tree(outside)
        folder = Folder(tmp_path / str(number) / "exports", descriptors=descriptors)
        write(folder, "a/x")
        seen = None
        swapped = before_call(number, partial(swap, folder.root, outside))
        with swapped as happened, suppress(NotFound, PathDenied):
            seen = use(folder, "a/x")
        assert tree(outside) == before
        assert use is write or seen in (None, b"content")
        if not happened:
            break
    assert number > 8


words = st.sampled_from(
    ["..", ".", "/", "//", "\\", "~", "\0", "link", "file", "dangling", "pipe", "secret", "outside",
     "exports", "C:", "\ud800", "a", " ", "{top}", "{top}/outside/secret", "{root}", "{root}/",
     "é", "x" * 300]
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.lists(words | st.text(max_size=4), max_size=7).map("".join) | st.text(max_size=30))
def test_whatever_the_path_is_nothing_outside_is_read_or_changed(folder, path):
    """Issue 5: **Safety**: paths confined to the export root (no `..`, no symlink escape, no device files)"""
    root, top = folder.root, folder.root.parent
    if not root.exists():
        root.mkdir()
        (root / "link").symlink_to(top / "outside")
        (root / "file").symlink_to(top / "outside" / "secret")
        (root / "dangling").symlink_to(top / "outside" / "new")
        os.mkfifo(root / "pipe")
    path = path.replace("{top}", str(top)).replace("{root}", str(root))
    before = tree(top, but=root)

    with chdir(top / "outside"):
        with suppress(PathDenied, NotFound):
            assert read(folder, path) == b"mine"
        with suppress(PathDenied):
            assert write(folder, path, b"mine").path.is_relative_to(root)
            assert read(folder, path) == b"mine"
    assert tree(top, but=root) == before
    assert not [one for one in root.rglob("*") if one.name.endswith(".part") and len(one.name) > 20]


def test_a_person_may_name_any_file_and_a_link_to_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real").mkdir()
    write(*anywhere(tmp_path / "link" / "x"))
    (tmp_path / "shortcut").symlink_to(tmp_path / "link" / "x")
    draft = write(*anywhere(tmp_path / "shortcut"), b"through it")

    assert draft.path == tmp_path / "real" / "x"
    assert (tmp_path / "shortcut").is_symlink()
    assert read(*anywhere(tmp_path / "shortcut")) == b"through it"
    with chdir(tmp_path):
        assert read(*anywhere(Path("real/x"))) == b"through it"
        assert write(*anywhere(Path("y"))).path == tmp_path / "y"


def test_what_a_person_names_must_be_a_file_too(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    for path in (
        tmp_path,
        tmp_path / "dangling",
        tmp_path / "..",
        Path("/"),
        Path("/dev/zero"),
        Path("x" * 300),
    ):
        with pytest.raises(PathDenied):
            write(*anywhere(path))
        with pytest.raises(PathDenied):
            read(*anywhere(path))
    with pytest.raises(NotFound):
        read(*anywhere(tmp_path / "none"))
