"""The options about the chat model's own tools."""

from pathlib import Path

import pytest

from eai_mcp import settings
from eai_mcp.cli import parser
from eai_mcp.errors import ConfigError
from eai_mcp.settings import Settings
from eai_mcp.terminal import Limits
from eai_mcp.terminal.sandbox import Confinement, Mount


def chosen(*options: str) -> Settings:
    return parser.chosen_settings(parser.build().parse_args(["serve", *options]))


def test_nothing_that_touches_the_machine_is_on_by_default():
    """Issue 7: "off unless the operator turns terminals on (`--terminal`)"."""
    made = chosen()
    assert (made.terminal, made.toolbox, made.tools, made.approvals) == (None, None, (), {})


def test_what_the_operator_says_of_terminals(tmp_path):
    made = chosen(
        *("--terminal", "--sandbox", "required", "--terminal-dir", str(tmp_path), "--terminal-network"),
        *("--terminal-mount", "/src", "--terminal-mount", "/out:rw", "--terminal-env", "TZ"),
        *("--terminal-limit", "memory_mb=512", "--terminal-limit", "processes=32"),
    )
    assert made.terminal == Confinement(
        folder=tmp_path,
        mode="required",
        network=True,
        mounts=(Mount(path=Path("/src")), Mount(path=Path("/out"), writable=True)),
        passed=("TZ",),
    )
    assert made.terminal_limits == Limits(memory_mb=512, processes=32)


def test_what_the_operator_says_of_tools():
    made = chosen(
        *("--toolbox", "ask_user, get_local_time", "--tool", "a:b", "--tool", "c:d"),
        *("--approval", "execute_script=ask", "--approval", "reset_session=never"),
    )
    assert made.toolbox == ("ask_user", "get_local_time")
    assert made.tools == ("a:b", "c:d")
    assert made.approvals == {"execute_script": "ask", "reset_session": "never"}
    assert chosen("--toolbox", "none").toolbox == ()


def test_the_environment_says_it_too(monkeypatch, tmp_path):
    for name, value in {
        "EAI_MCP_TERMINAL": "1",
        "EAI_MCP_TERMINAL_DIR": str(tmp_path),
        "EAI_MCP_SANDBOX": "off",
        "EAI_MCP_TOOLBOX": "ask_user",
        "EAI_MCP_TOOLS": "a:b, c:d",
        "EAI_MCP_APPROVAL": "execute_script=ask",
    }.items():
        monkeypatch.setenv(name, value)
    made = chosen("--tool", "e:f", "--approval", "execute_script=always")
    assert made.terminal == Confinement(folder=tmp_path, mode="off")
    assert made.toolbox == ("ask_user",)
    assert made.tools == ("a:b", "c:d", "e:f")
    assert made.approvals == {"execute_script": "always"}
    monkeypatch.setenv("EAI_MCP_SANDBOX", "perhaps")
    with pytest.raises(ConfigError, match="must be auto, required or off, not 'perhaps'"):
        chosen()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--terminal-network"], "--terminal-network says nothing without --terminal"),
        (["--sandbox", "required"], "--sandbox says nothing without --terminal"),
        (["--approval", "execute_script"], "should be like execute_script=ask"),
        (["--approval", "execute_script=maybe"], "never, ask or always, not 'execute_script=maybe'"),
        (["--terminal", "--terminal-limit", "speed=1"], "knows cpu_s, memory_mb"),
        (["--terminal", "--terminal-limit", "cpu_s=0"], "must be a whole number from 1, not '0'"),
        (["--terminal", "--terminal-limit", "cpu_s=x"], "must be a whole number from 1, not 'x'"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        chosen(*options)


def test_roots_work_directories_are_where_other_users_can_go():
    made = settings.terminal_folder()
    assert made.name == "terminals"
    assert made.is_absolute()
