"""What the package ships: loads without a problem, and is what the documentation promises."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from eai_mcp.calls import Samplers
from eai_mcp.catalog.catalog import Catalog, shipped
from eai_mcp.catalog.entries import Model

V3_FIELDS = {
    "name", "description", "personality", "scenario", "first_mes", "mes_example", "creator_notes",
    "system_prompt", "post_history_instructions", "alternate_greetings", "group_only_greetings", "tags",
    "creator", "character_version", "extensions",
}  # fmt: skip
TOOLS = {
    "execute_script", "get_task_result", "write_to_session", "reset_session", "list_pty_sessions",
    "call_subagent", "get_subagent_result", "read_media_file", "push_resource", "ask_user", "get_local_time",
}  # fmt: skip


@pytest.fixture(scope="module")
def ours():
    return Catalog(roots=(shipped(),))


def test_every_shipped_file_loads(ours):
    assert [str(problem) for problem in ours.problems()] == []
    assert ours.shadowed() == ()


def test_the_shipped_names(ours):
    assert [model.name for model in ours.models()] == [
        "claude_haiku", "claude_opus", "claude_sonnet", "deepseek", "gemini", "gpt4o", "gpt4o_mini", "groq",
        "llama_cpp", "lm_studio", "local", "mistral", "ollama", "openrouter",
    ]  # fmt: skip
    assert [prompt.name for prompt in ours.prompts()] == ["analyst", "coder", "momoka"]
    assert [card.name for card in ours.cards()] == [
        "backend_engineer", "code_reviewer", "data_analyst", "debate_partner", "frontend_dev",
        "product_manager", "security_auditor", "storyteller", "technical_writer", "test_author", "translator",
        "tutor",
    ]  # fmt: skip


def test_the_default_model_needs_no_key(ours):
    local = ours.model("local")

    assert replace(local, description="") == Model(
        name="local",
        provider="local",
        model="smollm2-135m",
        context_window=8192,
        samplers=Samplers(temperature=0.0, max_tokens=256),
    )
    assert "tiny" in local.description


def test_a_model_without_a_key_stays_on_this_machine(ours):
    for model in ours.models():
        at_home = model.base_url is None or model.base_url.startswith("http://127.0.0.1:")
        assert at_home == (model.api_key_env is None), model.name
        assert model.description, model.name


def test_models_that_refuse_samplers_are_shipped_without_any(ours):
    for name in ("claude_opus", "claude_sonnet", "claude_haiku"):
        assert ours.model(name).samplers == Samplers()


def test_every_prompt_says_what_it_is_for_and_is_short(ours):
    for prompt in ours.prompts():
        assert prompt.description, prompt.name
        assert 10 <= len(prompt.text.splitlines()) <= 40, prompt.name


@pytest.mark.parametrize("path", sorted((shipped() / "cards").iterdir()), ids=lambda path: path.stem)
def test_every_card_is_a_whole_card_of_the_third_version(path):
    """Character Card V3 lists the fields that `data` must have."""
    card = json.loads(path.read_text(encoding="utf-8"))

    assert (card["spec"], card["spec_version"]) == ("chara_card_v3", "3.0")
    assert card["data"].keys() >= V3_FIELDS
    for field in (
        "description",
        "personality",
        "scenario",
        "first_mes",
        "mes_example",
        "system_prompt",
        "tags",
    ):
        assert card["data"][field], field
    assert card["data"]["creator"] == "eai-mcp"


def test_cards_allow_only_tools_that_there_are(ours):
    for card in ours.cards():
        assert card.tools is not None, card.name
        assert set(card.tools) <= TOOLS, card.name


def test_the_standard_catalog_asks_the_given_folders_then_the_users_then_the_shipped_ones(tmp_path):
    for folder, text in (("given", "given"), ("config/prompts", "config")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "coder.md").write_text(text, encoding="utf-8")

    def coder(**folders):
        return Catalog.standard(**folders).prompt("coder").text

    assert coder(prompts=(tmp_path / "given",), config=tmp_path / "config") == "given"
    assert coder(config=tmp_path / "config") == "config"
    assert coder().startswith("You write and change code.")


def test_the_current_folder_is_never_looked_into(tmp_path):
    """A model file can send a key to another host."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "trap.toml").write_text('model = "m"', encoding="utf-8")
    names = (
        "from eai_mcp.catalog.catalog import Catalog; print([m.name for m in Catalog.standard().models()])"
    )

    run = subprocess.run(
        [sys.executable, "-c", names],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'local'" in run.stdout
    assert "trap" not in run.stdout
