"""Histories into files and back, from the terminal."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import sqlite3
import stat
import sys
import threading
from typing import get_args

import pytest

from eai_mcp import cli
from eai_mcp.formats import Written

FOREIGN = ("converse", "openai", "openai-responses", "anthropic")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """The file with the sessions; in the folder where the command runs there is nothing."""
    monkeypatch.setenv("EAI_MCP_STORE", str(tmp_path / "data" / "sessions.db"))
    monkeypatch.setenv("EAI_MCP_CONFIG", str(tmp_path / "config"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "data" / "sessions.db"


@pytest.fixture
def here(tmp_path):
    return tmp_path / "here"


@pytest.fixture
def heard(capfdbinary):
    """What was said on standard output and standard error since one last asked; see `raw`."""

    def read():
        out, err = capfdbinary.readouterr()
        return out.decode(errors="surrogateescape"), err.decode()

    return read


def raw(out):
    return out.encode(errors="surrogateescape")


@pytest.fixture
def talk(tmp_path, heard):
    """Takes a turn in a session."""
    models = tmp_path / "models"
    models.mkdir()
    for name in ("echo", "ask"):
        text = f'provider = "tests.fakes:build"\nmodel = "{name}"\n'
        (models / f"{name}.toml").write_text(text, encoding="utf-8")

    def take(content, session="work", model="echo"):
        options = ["--models", str(models), "--model", model, "--session", session]
        assert cli.run(["talk", content, *options]) == 0
        heard()

    return take


@pytest.fixture
def told(heard):
    """Runs a command that works, and returns what it says on standard output and standard error."""

    def run(*words):
        code = cli.run([*words])
        out, err = heard()
        assert code == 0, err
        return out, err

    return run


@contextlib.contextmanager
def given(monkeypatch, path):
    """A standard input that is a file."""
    with path.open(encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield


def lines(count, text="hello"):
    message = {"role": "user", "content": [{"type": "text", "text": text}], "at": 1.0}
    return f"{json.dumps(message)}\n" * count


def test_a_session_goes_into_a_file_and_into_another_session(talk, told, here):
    """Issue 5: Command line twins: `eai-mcp export|import`."""
    talk("hello")
    out, err = told("export", "work", "work.json.gz")
    data = (here / "work.json.gz").read_bytes()
    assert out == (
        f"2 messages of work as eai-mcp: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()},"
        f" in {here / 'work.json.gz'}\n"
    )
    assert err == ""
    assert stat.S_IMODE((here / "work.json.gz").stat().st_mode) == 0o600
    assert told("import", "copy", "work.json.gz")[0] == "copy: 2 messages, read as eai-mcp; revision 1\n"
    assert told("import", "copy", "work.json.gz")[0] == "copy: 2 messages, read as eai-mcp; revision 2\n"
    talk("again", session="copy")
    told("export", "copy", "copy.md")
    text = (here / "copy.md").read_text(encoding="utf-8")
    assert re.findall(r"^(?:\d: )?\w+$", text, re.MULTILINE) == ["hello", "1: hello", "again", "3: again"]


@pytest.mark.parametrize("form", get_args(Written))
def test_each_format_is_written_and_read_again(talk, told, here, form):
    """Issue 5: Export to, Import from: all of these except Markdown."""
    talk("hello")
    told("export", "work", "file", "--format", form)
    if form == "markdown":
        assert cli.run(["import", "copy", "file"]) == 1
        return
    assert told("import", "copy", "file")[0].startswith("copy: 2 messages, read as ")
    out, _ = told("import", "copy", "file", "--format", form)
    assert out == f"copy: 2 messages, read as {form}; revision 2\n"
    told("export", "copy", "again", "--format", form)
    if form in FOREIGN:  # the others hold when each message was said and the session's name
        assert (here / "file").read_bytes() == (here / "again").read_bytes()


@pytest.mark.parametrize("form", ["eai-mcp", "jsonl", "markdown", "openai"])
def test_a_dash_is_standard_output_and_standard_input(talk, told, here, monkeypatch, form):
    talk("hello")
    out, err = told("export", "work", "-", "--format", form)
    told("export", "work", "file.gz", "--format", form)
    assert gzip.decompress((here / "file.gz").read_bytes()) == raw(out)
    sha256 = hashlib.sha256(raw(out)).hexdigest()
    assert err == f"2 messages of work as {form}: {len(raw(out))} bytes, sha256 {sha256}\n"
    if form != "markdown":
        (here / "plain").write_bytes(raw(out))
        for file in ("plain", "file.gz"):
            with given(monkeypatch, here / file):
                assert f"2 messages, read as {form}" in told("import", "copy", "-")[0]


def test_all_sessions_go_into_one_file_and_come_back(talk, told, here, monkeypatch):
    """Issue 5: `eai-mcp snapshot|restore`; `--merge` and `--replace`."""
    talk("one", session="a")
    talk("two", session="b")
    out, _ = told("snapshot", "all.gz")
    data = (here / "all.gz").read_bytes()
    assert out.startswith(f"3 sessions, 4 messages: {len(data)} bytes, sha256 ")
    assert raw(told("snapshot", "-")[0]) == data

    talk("more", session="a")
    talk("three", session="c")
    assert told("restore", "all.gz")[0] == "3 sessions, 4 messages restored\n"
    assert told("snapshot", "with-c.gz")[0].startswith("4 sessions, 6 messages")
    with given(monkeypatch, here / "all.gz"):
        told("restore", "-", "--replace")
    told("snapshot", "again.gz")
    assert (here / "again.gz").read_bytes() == data


def test_what_was_mended_and_what_was_left_out_goes_to_standard_error(talk, told, here):
    """Issue 5: the result reports which (`repairs`)."""
    (here / "a.json").write_text('[{"role": "user", "content": "a"}]', encoding="utf-8")
    _, err = told("import", "work", "a.json", "--format", "jsonl")
    assert err == "eai-mcp: string content was taken as text (message 1)\n"
    talk("paint", session="asked", model="ask")
    _, err = told("snapshot", "all.gz")
    assert err == "eai-mcp: session 'asked': the question that waits in it was left out\n"


FAILING = [
    (["export", "nobody", "out"], 1, "no session named 'nobody'"),
    (["export", "a b", "out"], 2, "has a character that is not allowed"),
    (["export", "work", "folder"], 1, "'folder' is a folder; name a file in it"),
    (["export", "work", "dangling"], 1, "symbolic link"),
    (["export", "work", ""], 1, "'' is a folder"),
    (["export", "work", "gone/out"], 1, "there is no folder 'gone'"),
    (["import", "work", "."], 1, "'.' is a folder"),
    (["export", "work", "text/out"], 1, "there is no folder 'text'"),
    (["import", "work", "none"], 1, "there is no file 'none'"),
    (["import", "work", "folder"], 1, "'folder' is a folder; name a file in it"),
    (["import", "work", "text"], 1, "is not JSON"),
    (["import", "work", "text", "--format", "eai-mcp"], 1, "is not JSON"),
    (["import", "work", "text", "--format", "eai"], 1, "Erlang"),
    (["import", "work", "all.gz"], 1, "`restore` reads it"),
    (["restore", "one.gz"], 1, "`replace_history` (`eai-mcp import`) reads"),
    (["restore", "text"], 1, "is not JSON"),
    (["restore", "none"], 1, "there is no file 'none'"),
    (["snapshot", "folder"], 1, "'folder' is a folder; name a file in it"),
    (["snapshot", "--store", "text", "out"], 1, "is no SQLite database"),
]


@pytest.mark.parametrize(("words", "code", "message"), FAILING)
def test_a_failure_is_one_sentence_an_exit_code_and_no_file(talk, told, here, heard, words, code, message):
    talk("hello")
    told("export", "work", "one.gz")
    told("snapshot", "all.gz")
    (here / "folder").mkdir()
    (here / "text").write_text("dear diary, " * 200, encoding="utf-8")
    (here / "dangling").symlink_to(here / "nothing")
    before = sorted(path.name for path in here.rglob("*"))
    assert cli.run(words) == code
    out, err = heard()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("eai-mcp: ")
    assert message in err
    assert sorted(path.name for path in here.rglob("*")) == before
    told("snapshot", "again.gz")
    assert (here / "again.gz").read_bytes() == (here / "all.gz").read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["export", "work"],
        ["export", "work", "out", "--format", "eai"],
        ["import", "work", "in", "--format", "markdown"],
        ["restore", "in", "--merge", "--replace"],
        ["snapshot"],
    ],
)
def test_a_command_that_is_asked_wrongly_does_nothing(here, heard, words):
    with pytest.raises(SystemExit) as caught:
        cli.run(words)
    assert caught.value.code == 2
    assert f"usage: eai-mcp {words[0]}" in heard()[1]
    assert [*here.iterdir()] == []


def test_a_file_that_was_there_stays_if_the_export_fails(talk, told, here, store, heard):
    """Issue 5: atomic."""
    talk("hello")
    told("export", "work", "out")
    before = (here / "out").read_bytes()
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE message SET body = 'x' WHERE body LIKE '%1: hello%'")
    for words in (["export", "work"], ["export", "work", "--format", "openai"], ["snapshot"]):
        assert cli.run([*words, "out"]) == 1
        assert "is damaged" in heard()[1]
    assert (here / "out").read_bytes() == before
    assert [path.name for path in here.iterdir()] == ["out"]


def test_a_link_is_the_choice_of_whoever_made_it(talk, told, here, tmp_path):
    talk("hello")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (here / "folder").symlink_to(tmp_path / "elsewhere")
    (here / "link").symlink_to(tmp_path / "elsewhere" / "file")
    for name in ("link", "folder/other"):
        told("export", "work", name)
        assert "2 messages" in told("import", "copy", name)[0]
    assert (here / "link").is_symlink()
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["file", "other"]


def test_standard_input_that_is_closed_is_named(heard, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    for words in (["import", "work", "-"], ["restore", "-"]):
        assert cli.run(words) == 2
        assert "standard input is closed" in heard()[1]


@pytest.mark.parametrize("closed", [True, False])
def test_an_export_that_nobody_reads_ends_the_command_quietly(talk, told, here, heard, monkeypatch, closed):
    (here / "long").write_text(lines(2_000, "hello " * 50), encoding="utf-8")
    told("import", "work", "long")
    for words in (["export", "work", "-"], ["snapshot", "-"]):
        read, write = os.pipe()
        os.close(read)
        with (
            contextlib.suppress(BrokenPipeError),
            os.fdopen(write, "w", encoding="utf-8") as stdout,
            monkeypatch.context() as patched,
        ):
            patched.setattr(sys, "stdout", None if closed else stdout)
            assert cli.run(words) == 1
        assert "Traceback" not in heard()[1]


class Listening(io.StringIO):
    """A standard error; `heard` is set once it tells how far the work is."""

    def __init__(self):
        super().__init__()
        self.heard = threading.Event()

    def write(self, text):
        if "messages so far" in text:
            self.heard.set()
        return super().write(text)


def test_long_work_tells_how_far_it_is(monkeypatch, heard):
    """Issue 5: with progress on long work."""
    stderr = Listening()
    monkeypatch.setattr(sys, "stderr", stderr)
    read, write = os.pipe()

    def feed():
        with os.fdopen(write, "w", encoding="utf-8") as pipe:
            pipe.write(lines(1_000))
            pipe.flush()
            assert stderr.heard.wait(10)
            pipe.write(lines(1))

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(read, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.run(["import", "work", "-"]) == 0
    feeder.join()
    assert re.match(r"(\d,)?\d+ messages so far\n", stderr.getvalue())
    assert "1,001 messages" in heard()[0]
