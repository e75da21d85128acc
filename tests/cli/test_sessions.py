"""Sessions that last, seen from the terminal."""

import re
import sqlite3

import pytest

from eai_mcp import cli
from eai_mcp.store import database


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "data" / "sessions.db"
    monkeypatch.setenv("EAI_MCP_STORE", str(path))
    return path


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    text = 'provider = "tests.fakes:build"\nmodel = "echo"\n'
    (folder / "echo.toml").write_text(text, encoding="utf-8")
    return ["--models", str(folder), "--model", "echo"]


def test_a_named_session_is_there_again_next_time(models, file, capsys):
    """Issue 4: sessions survive a restart."""
    assert cli.run(["talk", "--session", "work", "one", *models]) == 0
    assert cli.run(["talk", "--session", "work", "two", *models]) == 0
    assert cli.run(["talk", "--session", "other", "three", *models]) == 0
    assert capsys.readouterr().out == "1: one\n3: two\n1: three\n"


def test_without_a_name_nothing_is_kept(models, file, capsys):
    for _ in range(2):
        assert cli.run(["talk", "one", *models]) == 0
    assert capsys.readouterr().out == "1: one\n1: one\n"
    assert not file.exists()


def test_a_question_of_the_model_is_shown_and_the_next_content_answers_it(models, file, tmp_path, capsys):
    """Issue 4: a turn that yields, a restart, the answer: the turn completes."""
    text = 'provider = "tests.fakes:build"\nmodel = "ask"\n'
    (tmp_path / "models" / "asker.toml").write_text(text, encoding="utf-8")
    options = [*models[:2], "--model", "asker", "--session", "work"]
    assert cli.run(["talk", "paint", *options]) == 0
    assert capsys.readouterr().out == "Which colour?\n"
    assert cli.run(["talk", "red", *options]) == 0
    assert capsys.readouterr().out.startswith("3: ")


def test_an_option_names_another_file(models, file, tmp_path, capsys):
    other = tmp_path / "other.db"
    assert cli.run(["talk", "--session", "work", "one", "--store", str(other), *models]) == 0
    assert other.exists()
    assert not file.exists()
    assert cli.run(["talk", "--session", "work", "one", "--store", "memory:", *models]) == 0


@pytest.mark.parametrize(
    "option", ["--session-turns=0", "--session-usd=0", "--turn-limit=nan", "--orphan-limit=0"]
)
def test_a_limit_that_cannot_be_is_refused(option, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.run(["serve", option])
    assert caught.value.code == 2
    assert "must be" in capsys.readouterr().err


def test_the_doctor_says_where_the_sessions_are(file, capsys):
    cli.run(["doctor"])
    assert f"ok       folder of the sessions {file.parent} (not made yet)" in capsys.readouterr().out

    database.opened(_made(file)).close()
    cli.run(["doctor"])
    assert re.search(rf"ok {{7}}sessions in {re.escape(str(file))} \(\d\.\d MB\)", capsys.readouterr().out)


def test_the_doctor_says_that_sessions_are_forgotten(monkeypatch, capsys):
    monkeypatch.setenv("EAI_MCP_STORE", "memory:")
    cli.run(["doctor"])
    assert "note     sessions are forgotten at the end of the process" in capsys.readouterr().out


def test_the_doctor_names_a_file_that_cannot_be_used(file, capsys):
    _made(file).write_text("dear diary, " * 500, encoding="utf-8")
    assert cli.run(["doctor"]) == 1
    assert f"WRONG    the file with the sessions, {file}, is no SQLite database" in capsys.readouterr().out


@pytest.mark.parametrize("variable", ["EAI_MCP_STORE", "EAI_MCP_CACHE", "EAI_MCP_CONFIG"])
def test_the_doctor_names_what_has_a_name_that_cannot_be(variable, file, monkeypatch, tmp_path, capsys):
    wrong = tmp_path / ("x" * 300)
    monkeypatch.setenv(variable, str(wrong))
    assert cli.run(["doctor"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if str(wrong) in line]
    assert [line[:5] for line in lines[:1]] == ["WRONG"]
    assert variable in lines[0]


def test_the_doctor_names_a_sqlite_that_is_affected(file, capsys):
    """Issue 4: affected SQLite versions named in `doctor`."""
    cli.run(["doctor"])
    mark = "note     SQLite" if database.is_affected() else "ok       SQLite"
    assert f"{mark} {sqlite3.sqlite_version}" in capsys.readouterr().out


def _made(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
