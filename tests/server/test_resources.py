"""The catalog as resources, how all resources are listed, and for how long they hold; in both protocols."""

import json

import pytest
from mcp.shared.exceptions import MCPError

from eai_mcp.catalog.catalog import KINDS
from eai_mcp.server import resources
from tests.server.learnt import told

SECRET = "sk-secret"
MODEL = f"""
provider = "openai_chat"
model = "house-1"
base_url = "https://house.example/v1"
api_key_env = "HOUSE_KEY"
description = "The house's own."
headers = {{ "x-api-key" = "{SECRET}" }}
context_window = 32000
turn_limit_s = 60
[samplers]
temperature = 0.0
stop_sequences = ["END"]
[reliability]
attempts = 2
fallback = ["plain"]
[reliability.breaker]
failures = 3
[context]
policy = "drop_oldest"
"""
PROMPT = '+++\ndescription = "Writes code."\n+++\nYou write Ünïcode.\n'
CARD = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Keeper",
        "description": "{{char}} keeps.",
        "first_mes": "Hello.",
        "assets": [{"type": "icon", "uri": "data:image/png;base64,AAAA", "name": "main", "ext": "png"}],
        "character_book": {"entries": [{"keys": ["key"], "content": "A lock.", "enabled": True}]},
        "extensions": {"eai": {"model": "plain", "pre_context": "AAAA"}},
    },
}


@pytest.fixture
def house(catalog, tmp_path):
    (tmp_path / "models" / "house.toml").write_text(MODEL, encoding="utf-8")
    (tmp_path / "prompts" / "writer.md").write_text(PROMPT, encoding="utf-8")
    (tmp_path / "cards" / "keeper.json").write_text(json.dumps(CARD), encoding="utf-8")
    return tmp_path


async def read(client, uri):
    (contents,) = (await client.read_resource(uri)).contents
    assert contents.uri == uri
    return contents


async def test_everything_is_listed_by_source_and_name(connected, house):
    """Issue 8: models, prompts, cards, sessions and transcripts with templates, paging, sizes."""
    async with connected() as (client, _):
        listed = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        texts = {str(one.uri): (await client.read_resource(one.uri)).contents[0].text for one in listed}
    assert [str(one.uri) for one in listed] == [
        "eai://cards",
        "eai://models",
        "eai://prompts",
        "eai://providers",
        "eai://sessions",
        "eai://cards/clerk",
        "eai://cards/keeper",
        "eai://cards/pirate",
        "eai://models/hasty",
        "eai://models/house",
        "eai://models/other",
        "eai://models/plain",
        "eai://prompts/analyst",
        "eai://prompts/coder",
        "eai://prompts/writer",
        "eai://sessions/default",
    ]
    sized = {str(one.uri): one.size for one in listed if one.size is not None}
    assert sized == {uri: len(texts[uri].encode()) for uri in sized}
    assert {uri.split("/")[2] for uri in sized} == {"cards", "prompts"}
    assert all(one.title and one.mime_type for one in [*listed, *templates] if one.name != "pushed")
    assert [one.uri_template for one in templates] == [
        "eai://cards/{name}",
        "eai://models/{name}",
        "eai://prompts/{name}",
        "eai://sessions/{name}/pushed/{turn_id}/{number}",
        "eai://sessions/{name}",
    ]


async def test_the_pages_together_are_the_list(connected, tmp_path):
    for number in range(120):
        (tmp_path / "prompts" / f"p{number:03}.md").write_text("x", encoding="utf-8")
    async with connected() as (client, _):
        found, cursor, sizes = [], None, []
        while True:
            page = await client.list_resources(cursor=cursor)
            found += [str(one.uri) for one in page.resources]
            sizes.append(len(page.resources))
            if (cursor := page.next_cursor) is None:
                break
        for listing in (client.list_resources, client.list_resource_templates):
            with pytest.raises(MCPError, match="the cursor is not one that this server gave") as caught:
                await listing(cursor="zzzz")
            assert (caught.value.code, caught.value.data["code"]) == (-32602, "invalid_argument")
    assert sizes == [100, 33]
    assert len(set(found)) == 133


async def test_a_model_is_read_without_its_secrets(connected, house):
    """Issue 8, DESIGN section 7: header values and URL credentials are never shown."""
    async with connected() as (client, _):
        contents = await read(client, "eai://models/house")
        every = await read(client, "eai://models")
        listed = await client.list_resources()
    assert json.loads(contents.text) == {
        "name": "house",
        "description": "The house's own.",
        "provider": "openai_chat",
        "model": "house-1",
        "vision": False,
        "ready": False,
        "default": False,
        "needs": "HOUSE_KEY is not set",
        "context_window": 32000,
        "context_policy": "drop_oldest",
        "turn_limit_s": 60.0,
        "samplers": {"temperature": 0.0, "stop_sequences": ["END"]},
        "reliability": {"attempts": 2, "breaker": {"failures": 3}, "fallback": ["plain"]},
    }
    assert SECRET not in contents.text + every.text + listed.model_dump_json()


async def test_a_prompt_is_read_as_its_text(connected, house):
    async with connected() as (client, _):
        contents = await read(client, "eai://prompts/writer")
    assert (contents.mime_type, contents.text) == ("text/markdown", "You write Ünïcode.")
    assert contents.meta == {"eai-mcp/description": "Writes code."}


async def test_a_card_is_read_as_a_model_or_its_user_reads_it(connected, house):
    async with connected() as (client, _):
        contents = await read(client, "eai://cards/keeper")
    assert json.loads(contents.text) == {
        "name": "keeper",
        "title": "Keeper",
        "description": "{{char}} keeps.",
        "first_message": "Hello.",
        "book": {"entries": [{"content": "A lock.", "keys": {"texts": ["key"]}}]},
        "model": "plain",
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_every_entry_is_also_reachable_by_a_tool(connected, house, kind):
    """DESIGN section 6: all also reachable by a tool."""
    async with connected() as (client, _):
        told_of = await told(client, "list_catalog", kind=kind)
        every = json.loads((await read(client, f"eai://{kind}")).text)
        listed = [str(one.uri) for one in (await client.list_resources()).resources]
    assert every == told_of
    names = sorted(entry["name"] for entry in told_of["entries"])
    assert [f"eai://{kind}/{name}" for name in names] == [
        uri for uri in listed if uri.startswith(f"eai://{kind}/")
    ]


async def test_every_session_is_also_reachable_by_a_tool(connected):
    """DESIGN section 6: all also reachable by a tool."""
    async with connected() as (client, _):
        ours, _ = (await client.read_resource("eai://sessions/default")).contents
        exported = await told(client, "export_chat_session_context")
        history = await told(client, "get_history")
    assert ours.text == exported["content"]
    assert json.loads(ours.text)["message_count"] == history["message_count"]


async def test_names_may_be_escaped_without_need(connected, house):
    async with connected() as (client, _):
        assert (await read(client, "eai://prompts/%77riter")).text == "You write Ünïcode."


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("eai://models/plian", {"code": "unknown_model", "known": ["plain"]}),
        ("eai://prompts/codr", {"code": "unknown_prompt", "known": ["coder"]}),
        ("eai://cards/pyrate", {"code": "unknown_card", "known": ["pirate"]}),
        ("eai://models/..%2f..%2fetc%2fpasswd", {"code": "unknown_model"}),
        ("eai://prompts/..", {"code": "unknown_prompt"}),
        ("eai://cards/%00", {"code": "unknown_card"}),
        ("eai://cards/%ff", {"code": "unknown_card"}),
        ("eai://models/" + "x" * 10_000, {"code": "unknown_model"}),
        ("eai://models/", {}),
        ("eai://models//plain", {}),
        ("eai://models/plain?x=1", {}),
        ("eai://prompts/../models/plain", {}),
        ("eai://bad/plain", {}),
        ("EAI://models", {}),
        ("", {}),
    ],
)
async def test_what_there_is_not_is_a_protocol_error(connected, uri, data):
    """Issue 8: Unknown → -32602."""
    async with connected() as (client, _):
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
    assert (caught.value.code, caught.value.data["uri"]) == (-32602, uri)
    assert caught.value.data | data == caught.value.data
    assert len(caught.value.message) < 500


async def test_a_uri_without_end_is_not_told_back(connected):
    async with connected() as (client, _):
        with pytest.raises(MCPError) as caught:
            await client.read_resource("eai://models/" + "%41" * 1_000_000)
    assert len(caught.value.data["uri"]) == resources.LONGEST_URI


async def test_a_file_that_is_bad_says_so_instead_of_its_entry(connected, tmp_path):
    (tmp_path / "models" / "bad.toml").write_text("vision = 3", encoding="utf-8")
    async with connected() as (client, _):
        with pytest.raises(MCPError, match=r"bad\.toml: ") as caught:
            await client.read_resource("eai://models/bad")
    assert caught.value.data == {"code": "invalid_argument", "uri": "eai://models/bad"}


@pytest.mark.parametrize("era", ["2026-07-28"])
async def test_every_result_says_for_how_long_it_holds(connected):
    """Issue 8: cache hints. facts: tools 5 min, sessions 0, each its client's own."""
    async with connected() as (client, _):
        results = {
            "tools": await client.list_tools(),
            "templates": await client.list_resource_templates(),
            "prompts": await client.list_prompts(),
            "resources": await client.list_resources(),
            "model": await client.read_resource("eai://models/plain"),
            "models": await client.read_resource("eai://models"),
            "session": await client.read_resource("eai://sessions/default"),
            "sessions": await client.read_resource("eai://sessions"),
        }
    assert {name: result.ttl_ms for name, result in results.items()} == {
        "tools": 300_000,
        "templates": 300_000,
        "prompts": 5_000,
        "resources": 0,
        "model": 5_000,
        "models": 5_000,
        "session": 0,
        "sessions": 0,
    }
    assert {result.cache_scope for result in results.values()} == {"private"}
