from pathlib import Path

import platformdirs
import pytest

from eai_mcp import settings
from eai_mcp.catalog.entries import Breaker, Reliability
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


def test_the_tools_that_are_published_are_named_with_commas():
    """Issue 8: `--tools core|all|a,b,c`."""
    assert settings.from_environ({}).published == ("all",)
    assert settings.from_environ({"EAI_MCP_PUBLISHED": "core, get_history"}).published == (
        "core",
        "get_history",
    )


def test_a_switch_that_is_neither_on_nor_off_is_refused():
    with pytest.raises(ConfigError, match="EAI_MCP_OFFLINE must be 1 or 0, not 'maybe'"):
        settings.from_environ({"EAI_MCP_OFFLINE": "maybe"})


def test_settings_do_not_show_the_environment():
    assert "sk-made-up" not in repr(settings.from_environ({"OPENAI_API_KEY": "sk-made-up"}))


def test_keys_may_stand_in_a_file_and_the_environment_goes_over_it(tmp_path):
    """Issue 3: keys only from the environment or a file named in the settings."""
    file = tmp_path / "keys.env"
    file.write_text(
        "# mine\n\nA_KEY=from-file\nexport B_KEY='quoted = twice'\nC_KEY=\"x\"\nD_KEY=\n",
        encoding="utf-8-sig",
    )
    for chosen in (
        settings.from_environ({"A_KEY": "from-environ", "EAI_MCP_KEYS": str(file)}),
        settings.from_environ({"A_KEY": "from-environ"}, keys=file),
    ):
        keys = {name: chosen.environ[name] for name in ("A_KEY", "B_KEY", "C_KEY", "D_KEY")}
        assert keys == {"A_KEY": "from-environ", "B_KEY": "quoted = twice", "C_KEY": "x", "D_KEY": ""}
    assert "quoted" not in repr(chosen)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A_KEY=1\nsk-secret\n", "line 2 should be like NAME=value"),
        (b"my key=sk-secret\n", "line 1 should be like NAME=value"),
        (b"A=\xff\n", "it is not UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_file_of_keys_that_cannot_be_read_is_named_without_its_words(tmp_path, content, message):
    file = tmp_path / "keys.env"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        settings.from_environ({}, keys=file)
    assert (message in str(caught.value), str(file) in str(caught.value)) == (True, True)
    assert "sk-secret" not in str(caught.value)


def test_the_sessions_are_in_a_file_of_the_users_own_unless_told_otherwise(tmp_path):
    """Issue 4: default file in the user's data directory."""
    assert (
        settings.from_environ({}).store
        == platformdirs.user_data_path("eai-mcp", appauthor=False) / "sessions.db"
    )
    assert settings.from_environ({"EAI_MCP_STORE": "memory:"}).store is None
    assert settings.from_environ({"EAI_MCP_STORE": str(tmp_path / "s.db")}).store == tmp_path / "s.db"


def test_a_store_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="postgresql is not supported"):
        settings.from_environ({"EAI_MCP_STORE": "postgresql://db/sessions"})


def test_middleware_observers_and_numbers_are_named_in_the_environment(tmp_path):
    """Issue 6: "by `module:attribute` in the settings"; "configuration per model file and globally"."""
    file = tmp_path / "guards.toml"
    file.write_text("attempts = 5\nrate = 2\nbreaker.failures = 9\n", encoding="utf-8")
    made = settings.from_environ(
        {
            "EAI_MCP_MIDDLEWARE": "house.rules:Redact, house.rules:confirm",
            "EAI_MCP_OBSERVERS": "house.log:hear,",
            "EAI_MCP_RELIABILITY": str(file),
        }
    )
    assert made.middleware == ("house.rules:Redact", "house.rules:confirm")
    assert made.observers == ("house.log:hear",)
    assert made.reliability == Reliability(attempts=5, rate=2.0, breaker=Breaker(failures=9))
    assert settings.from_environ({}).reliability == Reliability()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("attempts = 0", "attempts must be a whole number from 1 to 20, not 0"),
        ('fallback = ["x"]', "fallback belongs into the file of a model"),
        ("tries = 3", "tries is not a known field"),
        ("rate = ", "is not TOML"),
        (None, "No such file or directory"),
    ],
)
def test_numbers_that_cannot_work_are_refused(tmp_path, content, message):
    file = tmp_path / "guards.toml"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        settings.reliability_in(file)
    assert str(file) in caught.value.message
