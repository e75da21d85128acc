"""Fixtures for every test: each asynchronous one runs on asyncio and on trio."""

import json
import os
import signal

import pytest
from hypothesis import settings

from eai_mcp.catalog.catalog import Catalog

os.environ["EAI_MCP_STORE"] = "memory:"  # no test may touch the sessions of whoever runs it

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell that runs us aside has us ignore Ctrl-C, and all we start with us; the tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def catalog(tmp_path):
    """Models plain, other and hasty; prompts coder and analyst; cards pirate and clerk."""
    for kind, files in FILES.items():
        (tmp_path / kind).mkdir()
        for name, text in files.items():
            (tmp_path / kind / name).write_text(text, encoding="utf-8")
    return Catalog(roots=(tmp_path,))


FILES = {
    "models": {
        "plain.toml": 'provider = "openai_chat"\nmodel = "plain-1"\n',
        "other.toml": 'provider = "openai_chat"\nmodel = "other-1"\n',
        "hasty.toml": 'provider = "openai_chat"\nmodel = "hasty-1"\nturn_limit_s = 30\n',
    },
    "prompts": {"coder.md": "You write code.", "analyst.md": "You count things."},
    "cards": {
        "pirate.json": json.dumps(
            {
                "spec": "chara_card_v3",
                "spec_version": "3.0",
                "data": {
                    "name": "Pirate",
                    "description": "{{char}} sails with {{user}}.",
                    "personality": "gruff",
                    "system_prompt": "{{original}} Speak like a pirate.",
                    "post_history_instructions": "Say arr.",
                },
            }
        ),
        "clerk.json": json.dumps(
            {
                "spec": "chara_card_v2",
                "spec_version": "2.0",
                "data": {
                    "name": "Clerk",
                    "description": "A clerk.",
                    "extensions": {"eai": {"model": "other", "prompt": "analyst"}},
                },
            }
        ),
    },
}
