"""What the package ships: loads without a problem, and is what the documentation promises."""

import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest

from eai_mcp.calls import Samplers, unheard
from eai_mcp.catalog.catalog import Catalog, shipped
from eai_mcp.catalog.entries import Model
from eai_mcp.errors import Unavailable
from eai_mcp.messages import assistant
from eai_mcp.providers import BUILT_IN, Parts, adapter
from tests.providers.answering import HELLO

V3_FIELDS = {
    "name", "description", "personality", "scenario", "first_mes", "mes_example", "creator_notes",
    "system_prompt", "post_history_instructions", "alternate_greetings", "group_only_greetings", "tags",
    "creator", "character_version", "extensions",
}  # fmt: skip
TOOLS = {
    "execute_script", "get_task_result", "write_to_session", "reset_session", "list_pty_sessions",
    "call_subagent", "get_subagent_result", "read_media_file", "push_resource", "ask_user",
    "export_chat_session_context", "replace_chat_session_context", "list_sessions", "list_cards",
    "get_local_time",
}  # fmt: skip


@pytest.fixture(scope="module")
def ours():
    return Catalog(roots=(shipped(),))


def test_every_shipped_file_loads(ours):
    assert [str(problem) for problem in ours.problems()] == []
    assert ours.shadowed() == ()


def test_the_shipped_names(ours):
    assert [model.name for model in ours.models()] == [
        "azure", "bedrock", "claude_haiku", "claude_opus", "claude_opus_balanced", "claude_sonnet",
        "deepseek", "echo", "gemini", "gemini_compatible", "gpt", "gpt4o", "gpt4o_mini", "gpt_mini", "groq",
        "llama3", "llama_cpp", "llava", "lm_studio", "local", "mistral", "ollama", "openrouter", "together",
        "vllm", "xai",
    ]  # fmt: skip
    assert [prompt.name for prompt in ours.prompts()] == ["analyst", "coder", "momoka"]
    assert [card.name for card in ours.cards()] == [
        "backend_engineer", "code_reviewer", "data_analyst", "debater", "frontend_dev", "momoka",
        "product_manager", "security_auditor", "storyteller", "sysadmin", "tech_writer", "test_writer",
        "translator", "tutor",
    ]  # fmt: skip


def test_the_default_model_needs_no_key(ours):
    local = ours.model("local")

    assert replace(local, description="") == Model(
        name="local",
        provider="local",
        model="smollm2-135m",
        context_window=8192,
        samplers=Samplers(temperature=0.0, max_tokens=256),
        context_policy="drop_oldest",
    )
    assert "tiny" in local.description


def test_every_adapter_has_a_model_that_shows_it(ours):
    """Issue 3: a current file for each provider."""
    assert {model.provider for model in ours.models()} == set(BUILT_IN)


def test_the_names_of_the_original_are_there(ours):
    """DESIGN section 7: shipped models keep the names of the original where they still exist."""
    for name in ("deepseek", "gpt4o", "gpt4o_mini", "claude_opus", "claude_opus_balanced", "claude_sonnet",
                 "llama3", "llava"):  # fmt: skip
        assert ours.model(name).name == name


def test_every_model_says_in_a_sentence_what_it_is_for(ours):
    """Issue 3: each with a sentence on what it is for."""
    for model in ours.models():
        assert 30 <= len(model.description) <= 200, model.name
        assert model.description.endswith("."), model.name


def test_a_model_without_a_key_stays_on_this_machine(ours):
    for model in ours.models():
        # AWS has its own ways to tell who asks.
        at_home = model.provider in ("local", "scripted") or str(model.base_url).startswith(
            "http://127.0.0.1:"
        )
        assert at_home or model.provider == "bedrock" or model.api_key_env, model.name
        assert not (at_home and model.api_key_env), model.name


def test_a_file_that_has_to_be_filled_in_says_so_first():
    for name in ("azure", "vllm"):
        text = (shipped() / "models" / f"{name}.toml").read_text(encoding="utf-8")
        assert text.startswith("# Fill in: "), name


def test_models_that_refuse_samplers_are_shipped_without_any(ours):
    """facts: Claude from 4.7 on takes neither temperature nor top_p nor top_k."""
    for model in ours.models():
        if model.provider == "anthropic":
            assert set(model.samplers.given()) <= {"reasoning_effort"}, model.name
            assert model.quirks["samplers"] == [], model.name


@pytest.mark.parametrize("name", [path.stem for path in sorted((shipped() / "models").iterdir())])
async def test_every_shipped_model_can_be_asked(ours, name):
    """Issue 3: each adapter takes every quirk of its files; keys are made up, and nothing is on a network."""
    model = ours.model(name)
    asked: list[httpx2.Request] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        raise httpx2.ConnectError("All connection attempts failed")

    environ = {
        "AWS_REGION": "eu-west-1",
        "AWS_BEARER_TOKEN_BEDROCK": "made-up",
        model.api_key_env or "NO_KEY": "made-up",
    }
    async with (
        httpx2.AsyncClient(transport=httpx2.MockTransport(refuse)) as client,
        AsyncExitStack() as closing,
    ):
        call = adapter(model, Parts(environ=environ, client=lambda: client, closing=closing, cache=Path()))
        if model.provider == "local":
            return  # its server would have to be started: tests/providers/test_local.py
        if model.provider == "scripted":
            assert (await call(HELLO, unheard)).message == assistant("hello")
            return
        with anyio.fail_after(5), pytest.raises(Unavailable):
            await call(HELLO, unheard)
    (request,) = asked
    is_keyed = any("made-up" in value for value in request.headers.values())
    assert is_keyed == (request.url.scheme == "https")
    assert is_keyed or request.url.host == "127.0.0.1"


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


def test_a_dozen_cards_of_real_use_are_shipped(ours):
    """Issue 7: a dozen shipped cards of real use (…), written for this project, with tool allow-lists."""
    wanted = {
        "backend_engineer", "frontend_dev", "code_reviewer", "test_writer", "data_analyst", "tech_writer",
        "security_auditor", "sysadmin", "debater", "translator", "tutor", "momoka",
    }  # fmt: skip
    assert wanted <= {card.name for card in ours.cards()}
    titles = [card.title for card in ours.cards()]
    assert len(set(titles)) == len(titles)


def test_what_a_card_names_is_there(ours):
    for card in ours.cards():
        assert card.prompt is None or ours.prompt(card.prompt).text, card.name
        assert card.model is None or ours.model(card.model).name, card.name
    assert ours.card("momoka").prompt == "momoka"


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
