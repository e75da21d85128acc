"""The command line, run in this process; tests/e2e runs it as one of its own."""

import contextlib
import io
import os
import re
import socket
import sys
from dataclasses import replace

import pytest

from eai_mcp import cli
from eai_mcp.calls import ResourcePushed
from eai_mcp.cli import typed
from eai_mcp.messages import assistant


@pytest.fixture
def models(tmp_path, monkeypatch):
    for name in ["echo", "fail", "warn", "stopped-by-hand"]:
        text = f'provider = "tests.fakes:build"\nmodel = "{name}"\nreliability.attempts = 1\n'
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("EAI_MCP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EAI_MCP_CONFIG", str(tmp_path / "config"))
    return ["--models", str(tmp_path)]


@contextlib.contextmanager
def piped(data):
    """A standard input with these bytes in it."""
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    with os.fdopen(read, encoding="ascii") as stdin:
        yield stdin


def test_talk_streams_the_reply_to_standard_output_alone(models, capsys):
    assert cli.run(["talk", "hello there", "--model", "echo", *models]) == 0
    out, err = capsys.readouterr()
    assert out == "1: hello there\n"
    assert "Traceback" not in err


def test_several_contents_are_turns_of_one_session(models, capsys):
    """Issue 2: the second answer proves that history is sent."""
    assert cli.run(["talk", "one", "two", "--model", "echo", *models]) == 0
    assert capsys.readouterr().out == "> one\n1: one\n> two\n3: two\n"


def test_a_dash_reads_what_to_say_from_standard_input(models, capsys, monkeypatch):
    with piped("frøm a pipe".encode()) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.run(["talk", "-", "--model", "echo", *models]) == 0
    assert capsys.readouterr().out == "1: frøm a pipe\n"


def test_standard_input_that_is_not_utf_8_is_said_to_be_so(models, capsys, monkeypatch):
    """Issue 2, bad input: non-UTF-8."""
    with piped(b"h\xff") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.run(["talk", "-", "--model", "echo", *models]) == 2
    assert "standard input is not UTF-8: byte 0xff at 1" in capsys.readouterr().err


def test_standard_input_that_is_closed_is_named(models, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    for command in (["talk", "-"], ["chat"]):
        assert cli.run([*command, "--model", "echo", *models]) == 2
        assert "standard input is closed" in capsys.readouterr().err


@pytest.mark.parametrize("closed", [True, False])
def test_a_reply_that_nobody_reads_ends_the_command_quietly(models, capsys, monkeypatch, closed):
    read, write = os.pipe()
    os.close(read)
    with contextlib.suppress(BrokenPipeError), os.fdopen(write, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", None if closed else stdout)
        assert cli.run(["talk", "hi", "--model", "echo", *models]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_without_standard_error_only_the_reply_is_written(models, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.run(["talk", "hi", "--model", "warn", *models]) == 0
    assert capsys.readouterr().out == "1: hi\n"


def test_words_are_read_as_utf_8_whatever_the_locale_made_of_them():
    assert typed.argument("h\udcc3\udca9llo") == "héllo"
    assert typed.argument("\udcff") == "\udcff"


def test_warnings_and_a_cut_go_to_standard_error(models, capsys):
    assert cli.run(["talk", "hi", "--model", "warn", *models]) == 0
    err = capsys.readouterr().err
    assert "eai-mcp: top_k was not sent" in err
    assert "eai-mcp: the reply was cut at its limit of tokens; --max-tokens sets another" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["talk", "hi", "--model", "fail"], 1, "eai-mcp: nobody is there"),
        (
            ["talk", "hi", "--model", "ekho"],
            1,
            "no model named 'ekho'; nearest: echo; `eai-mcp models` shows all",
        ),
        (["talk", " ", "--model", "echo"], 2, "eai-mcp: content is empty"),
        (["talk", "\udcff", "--model", "echo"], 2, "content is not valid Unicode"),
        (["talk", "hi", "--model", "echo", "--session", "a b"], 2, "has a character that is not allowed"),
        (["serve", "--inline-wait", "-1"], 2, "--inline-wait must be 0 to 86400 seconds, not -1"),
        (["serve", "--inline-wait", "nan"], 2, "--inline-wait must be 0 to 86400 seconds, not nan"),
        (["serve", "--tools", "talk,tell"], 2, "--tools: no tool named 'tell' could be published; name all,"),
        (["serve", "--tools", ""], 2, "--tools: no tool would be published; name all, core, or some of"),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(models, capsys, arguments, code, message):
    assert cli.run([*arguments, *models]) == code
    out, err = capsys.readouterr()
    assert (out, message in err, err.count("\n")) == ("", True, err.count("[waking up]") + 1)


def test_ctrl_c_ends_the_turn_and_shows_what_was_said(models, capsys):
    assert cli.run(["talk", "hi", "--model", "stopped-by-hand", *models]) == 130
    assert capsys.readouterr().out == "half a\n"


def test_a_command_stopped_by_hand_says_so_by_its_exit_code(models, monkeypatch):
    class Stopped(io.StringIO):
        def fileno(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Stopped())
    assert cli.run(["talk", "-", "--model", "echo", *models]) == 130


def test_fetch_says_where_the_weights_are(models, capsys, tmp_path):
    assert cli.run(["fetch", "--offline", *models]) == 1
    assert "eai-mcp fetch" in capsys.readouterr().err


def test_the_doctor_says_what_is_there_and_what_is_missing(models, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("EAI_MCP_MODEL", "echo")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert cli.run(["doctor", *models]) == 0
    out = capsys.readouterr().out
    assert "ok       the default model is echo" in out
    assert "missing  claude_haiku, claude_opus, claude_opus_balanced, claude_sonnet: ANTHROPIC_API_KEY" in out
    assert "(--terminal)" in out

    (tmp_path / "bad.toml").write_text("model = 1", encoding="utf-8")
    assert cli.run(["doctor", *models]) == 1
    assert f"WRONG    {tmp_path}/bad.toml: model" in capsys.readouterr().out


def test_the_doctor_knocks_where_models_are_served_on_this_machine(models, capsys, monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as open_door, socket.socket() as closed_door:
        closed_door.bind(("127.0.0.1", 0))  # and does not listen
        ports = {"up": open_door.getsockname()[1], "down": closed_door.getsockname()[1]}
        for name, port in ports.items():
            text = f'model = "m"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
            (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        monkeypatch.setenv("EAI_MCP_MODEL", "down")
        assert cli.run(["doctor", *models]) == 1
    out = capsys.readouterr().out
    assert re.search(r"ok {7}models that can answer: .*\bup\b", out)
    reason = f"nothing answers at 127.0.0.1:{ports['down']}; is it running?"
    assert f"missing  down: {reason}" in out
    assert f"WRONG    the default model down cannot answer: {reason}" in out


def test_the_doctor_says_where_the_local_model_stands(models, capsys, tmp_path):
    assert cli.run(["doctor", *models]) == 0
    assert "the default model is local; the first call will fetch SmolLM2" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["deepseek", "nobody"])
def test_the_doctor_fails_when_the_default_model_cannot_answer(models, capsys, monkeypatch, tmp_path, model):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EAI_MCP_MODEL", model)
    monkeypatch.setenv("EAI_MCP_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    assert cli.run(["doctor", *models]) == 1
    out = capsys.readouterr().out
    assert f"WRONG    the default model {model} cannot answer" in out
    assert "WRONG    cache folder" in out


def test_chat_sends_gathered_lines_and_keeps_their_indentation(models, capsys, monkeypatch):
    """Issue 2: a plain-line `eai-mcp chat` (`/s` sends, `/c` cancels)."""
    typed = b"  first\nsecond\n/s\nforget this\n/c\n/s\nthird\r\n/s\n/q\nnever read\n/s\n"
    read, write = os.pipe()
    os.write(write, typed)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.run(["chat", "--model", "echo", *models]) == 0
    out, err = capsys.readouterr()
    assert out == "1:   first\nsecond\n3: third\n"
    assert "nothing to send yet" in err


def test_chat_goes_on_after_an_error_and_ends_with_its_input(models, capsys, tmp_path, monkeypatch):
    script = tmp_path / "typed"
    script.write_text("one\n/s\ntwo\n/s\nunsent", encoding="utf-8")
    with script.open(encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.run(["chat", "--model", "fail", *models]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("nobody is there")) == ("", 2)
    assert "1 lines were not sent" in err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--temperature", "nan"], "must be 0 to 2, not nan"),
        (["--temperature", "warm"], "invalid temperature value"),
        (["--max-tokens", "0"], "must be 1 to"),
        (["--max-tokens", "99999999999"], "must be 1 to"),
    ],
)
def test_a_sampler_out_of_range_is_refused_before_anything_is_sent(capsys, option, message):
    with pytest.raises(SystemExit) as caught:
        cli.run(["talk", "hi", *option])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_terminal_is_not_sent_what_it_would_obey(models, capsys, monkeypatch, tmp_path):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    (tmp_path / "evil.toml").write_text(
        'provider = "tests.fakes:build"\nmodel = "echo"\ndescription = "a\\u001b]0;owned\\u0007"\n',
        encoding="utf-8",
    )
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.run(["models", "evil", *models]) == 0
    assert "a\\x1b]0;owned\\x07" in terminal.getvalue()


@pytest.mark.parametrize("kind", ["models", "prompts", "cards"])
def test_the_catalog_is_listed(models, capsys, kind):
    assert cli.run([kind, *models]) == 0
    out = capsys.readouterr().out
    name = {"models": "echo", "prompts": "coder", "cards": "backend_engineer"}[kind]
    assert any(line[2:].startswith(name) for line in out.splitlines())


def test_a_list_can_be_narrowed_and_says_which_files_were_skipped(models, capsys, tmp_path):
    (tmp_path / "bad.toml").write_text("model = 1", encoding="utf-8")
    assert cli.run(["models", "ECHO", *models]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["echo"]
    assert err.startswith("eai-mcp: ")
    assert "bad.toml" in err


def test_without_a_command_the_commands_are_shown(capsys):
    assert cli.run([]) == 2
    assert "take a turn in the terminal" in capsys.readouterr().out


def test_main_exits_with_the_commands_code(models):
    with pytest.raises(SystemExit) as caught:
        cli.main(["talk", " ", "--model", "echo", *models])
    assert caught.value.code == 2


class Loud:
    """A middleware, as `tests.cli.test_cli:Loud`: it pushes something, and changes the reply."""

    async def turn(self, given, go_on):
        await given.emit(ResourcePushed(kind="note", uri="house://1"))
        response = await go_on(given)
        return replace(response, message=assistant(response.message.text.upper()))


def test_a_reply_that_middleware_made_is_shown_with_what_it_pushed(models, capsys):
    """Issue 6: middleware "by `module:attribute` in the settings"."""
    loud = ["--middleware", "tests.cli.test_cli:Loud"]
    assert cli.run(["talk", "hi there", "--model", "echo", *loud, *models]) == 0
    out, err = capsys.readouterr()
    assert out == "1: hi there\n1: HI THERE\n"
    assert "eai-mcp: pushed note house://1\n" in err
