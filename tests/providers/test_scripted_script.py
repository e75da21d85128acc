import json

import pytest

from eai_mcp import app
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.chat.values import Talk
from eai_mcp.errors import CallTimeout, ConfigError, EaiError
from eai_mcp.messages import ToolUseBlock
from eai_mcp.providers.scripted_script import script_of
from eai_mcp.settings import Settings
from tests.providers.scripting import answer, asking, call, call_of, failure, model, reply


def refused(**quirks) -> str:
    with pytest.raises(ConfigError) as caught:
        script_of(model(quirks=quirks))
    return str(caught.value)


SCRIPT = """
then = "again"
chunk = 4
[[replies]]
text = "from a file"
[[replies]]
tools = [{ name = "f", input = { day = 2026-11-21 } }]
"""


async def test_a_script_can_stand_in_a_file_of_its_own(tmp_path):
    (tmp_path / "s.toml").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "s.json").write_text(json.dumps({"replies": [{"text": "from JSON"}]}), encoding="utf-8-sig")

    toml = call(script=str(tmp_path / "s.toml"))
    assert await reply(toml, "x") == await reply(toml, "x", "y", "z") == "from a file"
    assert (await answer(toml, "x", "y")).message.content == (
        ToolUseBlock("call_2_1", "f", {"day": "2026-11-21"}),
    )
    assert await reply(call(script=str(tmp_path / "s.json")), "x") == "from JSON"


async def test_a_model_file_with_a_script_is_found_by_the_catalog(tmp_path):
    (tmp_path / "demo.toml").write_text(
        'provider = "scripted"\nmodel = "demo"\n'
        '[[quirks.replies]]\ntext = "hello"\nfail = { code = "timeout", times = 1 }\n'
        "[reliability]\nattempts = 1\n",
        encoding="utf-8",
    )
    ask = call_of(Catalog(models=(tmp_path,)).model("demo"))

    await failure(CallTimeout, ask, asking("x"))
    assert await reply(ask, "x") == "hello"


@pytest.mark.parametrize(
    ("quirks", "reason"),
    [
        ({"reply": []}, "quirks.reply: is not a known field"),
        ({"replies": "x"}, "quirks.replies: Input should be a valid array"),
        ({"replies": [{"txt": "x"}]}, "quirks.replies.0.txt: is not a known field"),
        ({"replies": [{"text": 1}]}, "quirks.replies.0.text: Input should be a valid string"),
        ({"replies": [{}, {"fail": {}}]}, "quirks.replies.1.fail.code: Field required"),
        (
            {"replies": [{"fail": {"code": "boom"}}]},
            "quirks.replies.0.fail.code: Input should be 'missing_api_key'",
        ),
        (
            {"replies": [{"when": {"regex": "(?=a)"}}]},
            "quirks.replies.0.when.regex: is no regular expression",
        ),
        (
            {"replies": [{"when": {}}]},
            "quirks.replies.0.when: needs one of exact, contains, regex, after_tool",
        ),
        (
            {"replies": [{"tools": [{"name": ""}]}]},
            "quirks.replies.0.tools.0.name: String should have at least 1",
        ),
        (
            {"replies": [{"usage": {"input": -1}}]},
            "quirks.replies.0.usage.input: Input should be greater than",
        ),
        ({"replies": [{"stop": "stop"}]}, "quirks.replies.0.stop: Input should be 'end'"),
        ({"then": "last"}, "quirks: then = 'last' needs a reply without `when`"),
        ({"delay_s": -1}, "quirks.delay_s: Input should be greater than or equal to 0"),
        ({"chunk": 0}, "quirks.chunk: Input should be greater than or equal to 1"),
        ({"script": "/x.toml", "chunk": 1}, "quirks.script: the file says everything; no other quirk"),
        ({"script": "x.toml"}, "quirks.script: must be a whole path"),
        ({"script": 1}, "quirks.script: must be a whole path"),
        ({"script": "/no/such.toml"}, "quirks.script: there is no file /no/such.toml"),
        ({"script": f"/{'x' * 5000}.toml"}, "quirks.script: /xxx"),
    ],
)
def test_a_field_that_cannot_work_is_named(quirks, reason):
    assert refused(**quirks).startswith(f"model 'm': {reason}")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("s.toml", b"replies = [", "s.toml: is not TOML: "),
        ("s.json", b'{"replies": ', "s.json: is not JSON: "),
        ("s.json", b"[" * 100_000, "s.json: is not JSON: nested too deep"),
        ("s.toml", b"\xff", "s.toml: is not TOML: "),
        ("s.json", b"[]", "s.json: must be a table of fields"),
        ("s.toml", b"delay_s = inf", "s.toml: a number that JSON cannot write"),
        ("s.toml", b"[[replies]]\ntexts = 'x'", "s.toml.replies.0.texts: is not a known field"),
        ("s.yaml", b"", "quirks.script: must end in .toml or .json, not '.yaml'"),
        ("s.toml", b"#" * (16 * 2**20 + 1), "s.toml is longer than 16777216 bytes"),
    ],
)
def test_a_script_file_that_cannot_work_is_named(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)

    assert reason in refused(script=str(tmp_path / name))


async def test_sessions_play_a_script_each_from_its_start_and_a_failed_turn_takes_no_place(tmp_path):
    """DESIGN section 4: a failed turn leaves no trace in what the model sees."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "demo.toml").write_text(
        'provider = "scripted"\nmodel = "demo"\n'
        '[[quirks.replies]]\ntext = "one"\n'
        '[[quirks.replies]]\ntext = "two"\nfail = { code = "timeout", times = 1 }\n'
        "[reliability]\nattempts = 1\n",
        encoding="utf-8",
    )
    settings = Settings(store=None, model="demo", config=tmp_path, cache=tmp_path / "cache", environ={})

    async with app.opened(settings) as opened:

        async def talk(session: str) -> str:
            turn = await opened.registry.begin("", Talk(content="x", session=session))
            return (await opened.registry.reply(turn, 5)).reply

        assert [await talk("a"), await talk("b")] == ["one", "one"]
        with pytest.raises(EaiError, match="fails with timeout, as its script says"):
            await talk("a")
        assert await talk("a") == "two"
