from pathlib import Path

import pytest

from eai_mcp import settings
from eai_mcp.errors import ConfigError


def test_an_empty_environment_makes_the_defaults():
    made = settings.from_environ({})
    assert (made.model, made.offline, made.gguf, made.inline_wait_s) == ("local", False, None, 45.0)
    assert made.cache.name == made.config.name == "eai-mcp"


def test_the_environment_makes_choices(tmp_path):
    made = settings.from_environ(
        {
            "EAI_MCP_MODEL": "sonnet",
            "EAI_MCP_OFFLINE": "yes",
            "EAI_MCP_GGUF": "/w.gguf",
            "EAI_MCP_CACHE": str(tmp_path),
            "EAI_MCP_CONFIG": "~/mine",
        }
    )
    assert (made.model, made.offline, made.gguf, made.cache) == ("sonnet", True, Path("/w.gguf"), tmp_path)
    assert made.config == Path("~/mine").expanduser()


def test_a_switch_that_is_neither_on_nor_off_is_refused():
    with pytest.raises(ConfigError, match="EAI_MCP_OFFLINE must be 1 or 0, not 'maybe'"):
        settings.from_environ({"EAI_MCP_OFFLINE": "maybe"})


def test_settings_do_not_show_the_environment():
    assert "sk-made-up" not in repr(settings.from_environ({"OPENAI_API_KEY": "sk-made-up"}))
