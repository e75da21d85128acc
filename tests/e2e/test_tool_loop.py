"""The loop of tools in a server process, with each wire format's own way to ask for them."""

import json

import pytest

from tests.e2e.aimock import ROOTS, aimock
from tests.e2e.silent_provider import told

pytestmark = pytest.mark.timeout(120)
SCRIPT = "echo sum $((20 + 22)); exit 7"
CALLS = [
    {"name": "execute_script", "arguments": {"script": SCRIPT}},
    {"name": "get_local_time", "arguments": {}},
    {"name": "no_such_tool", "arguments": {"a": 1}},
]
FIXTURES = [
    {"match": {"userMessage": "count", "hasToolResult": True}, "response": {"content": "It is 42."}},
    {"match": {"userMessage": "count"}, "response": {"toolCalls": CALLS}},
    {"match": {"userMessage": "and then"}, "response": {"content": "Nothing more."}},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with aimock(FIXTURES, tmp_path_factory.mktemp("aimock")) as url:
        yield url


@pytest.mark.parametrize("provider", ROOTS)
async def test_the_loop_runs_with_the_tool_calls_of_each_wire_format(house, base, work, provider):
    """Issue 7: "The tool loop runs over HTTP against tool calls of `@copilotkit/aimock` for each wire format,
    not only against `scripted`"."""
    quirks = 'quirks = { region = "us-east-1" }\n' if provider == "bedrock" else ""
    model = (
        f'provider = "{provider}"\nmodel = "wire-1"\nbase_url = "{base}{ROOTS[provider]}"\n'
        f'api_key_env = "MOCK_KEY"\nreliability.attempts = 1\n{quirks}'
    )
    (house.folder / "models" / "mock.toml").write_text(model, encoding="utf-8")
    options = ("--terminal", "--terminal-dir", str(work), "--toolbox", "execute_script,get_local_time")
    async with house.server(*options, MOCK_KEY="made-up") as wire:
        done = await told(wire, "talk", content="count", model="mock")
        assert (done["status"], done["reply"]) == ("completed", "It is 42.")
        page = await told(wire, "get_history")
        _, asked, results, _ = page["messages"]
        uses = [block for block in asked["content"] if block["type"] == "tool_use"]
        assert [use["name"] for use in uses] == [call["name"] for call in CALLS]
        ran, time, unknown = results["content"]
        assert [block["tool_use_id"] for block in (ran, time, unknown)] == [use["id"] for use in uses]
        outcome = json.loads(ran["content"][0]["text"])
        assert (outcome["exit_code"], outcome["output"]) == (7, "sum 42\n")
        assert "utc" in json.loads(time["content"][0]["text"])
        assert unknown["failed"]
        again = await told(wire, "talk", content="and then")
        assert again["reply"] == "Nothing more."
