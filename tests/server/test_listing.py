"""The list of tools, as a client and its model see it, in both protocol generations."""

import json

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import SERVER_INFO_META_KEY, Implementation

from eai_mcp import __version__
from eai_mcp.app import opened
from eai_mcp.errors import ConfigError
from eai_mcp.server import face
from eai_mcp.settings import Settings
from tests.fakes import Held, said
from tests.server.calling import call, refused

CORE = [
    "export_chat_session_context",
    "interrupt",
    "list_sessions",
    "replace_history",
    "talk",
    "wait_for_reply",
]


async def listed(client):
    return (await client.list_tools()).tools


async def greeted(client, era):
    """What the server tells of itself, and how to use it, when a client comes."""
    if era == "legacy":
        return client.server_info, client.instructions
    found = await client.session.send_discover(era)
    return Implementation.model_validate(found["_meta"][SERVER_INFO_META_KEY]), found["instructions"]


def size(tools):
    """Bytes of the whole list."""
    return len(json.dumps([tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]))


def walk(schema):
    """Every schema in a schema."""
    yield schema
    for inner in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
        yield from walk(inner)
    if "items" in schema:
        yield from walk(schema["items"])


async def test_what_a_model_is_shown_stays_small(connected):
    """DESIGN section 5: what a model is shown of all tools is at most 6 KB, the whole list at most 11 KB."""
    async with connected() as (client, _):
        tools = (await client.list_tools()).tools
    shown = [{"name": t.name, "description": t.description, "schema": t.input_schema} for t in tools]
    whole = [tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]
    assert len(json.dumps(shown)) < 6_000
    assert len(json.dumps(whole)) < 11_000
    assert "$ref" not in json.dumps(whole)
    assert '"title": "' not in json.dumps(whole)


async def test_the_core_is_small_and_names_no_tool_beyond_it(connected, era):
    """DESIGN section 5: `--tools core` at most 7 KB."""
    async with connected() as (client, _):
        every = {tool.name for tool in await listed(client)}
    async with connected(published=("core",)) as (client, _):
        tools, (_, instructions) = await listed(client), await greeted(client, era)
    assert [tool.name for tool in tools] == CORE
    assert size(tools) < 7_000
    for name in every - {*CORE}:
        assert name not in json.dumps([tool.description for tool in tools])
        assert name not in instructions


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("talk",), ["talk"]),
        (("core", "get_history"), sorted([*CORE, "get_history"])),
        (("snapshot", "restore", "snapshot"), ["restore", "snapshot"]),
    ],
)
async def test_only_those_tools_are_published_that_were_named(connected, words, names):
    """Issue 8: `--tools core|all|a,b,c`."""
    async with connected(published=words) as (client, _):
        assert [tool.name for tool in await listed(client)] == names
        with pytest.raises(MCPError, match="unknown tool 'list_catalog'") as caught:
            await client.call_tool("list_catalog", {"kind": "models"})
    assert (caught.value.code, caught.value.data) == (-32602, {"known": names})


async def test_all_are_published_unless_somebody_says_otherwise(connected, era):
    """Issue 8: `--tools core|all|a,b,c`."""
    async with connected() as (client, _):
        tools, (_, instructions) = await listed(client), await greeted(client, era)
    async with connected(published=("all", "core")) as (client, _):
        assert await listed(client) == tools
    assert len(tools) == 13
    (talk,) = [tool.description for tool in tools if tool.name == "talk"]
    for said_of in (talk, instructions):
        assert "list_catalog" in said_of
        assert "wait_for_reply" in said_of


@pytest.mark.parametrize(
    ("words", "told"),
    [(("tell",), "no tool named 'tell'"), (("core", "al"), "no tool named 'al'"), ((), "no tool would")],
)
async def test_a_tool_that_there_is_not_keeps_the_server_from_starting(words, told):
    """Issue 8: `--tools core|all|a,b,c`."""
    async with opened(Settings(store=None, published=words)) as app:
        with pytest.raises(ConfigError, match=told) as caught:
            face.build(app)
    assert "name all, core, or some of close_session, ensure_session," in caught.value.message


async def test_an_error_names_only_tools_that_are_published(connected):
    async with connected(Held(), published=("talk",)) as (client, _):
        unknown = await refused(client, "talk", content="hi", model="plane")
        await call(client, "talk", content="hi", timeout_ms=0)
        busy = await refused(client, "talk", content="hi")
    async with connected(Held()) as (client, _):
        assert (await refused(client, "talk", content="hi", model="plane"))["message"] != unknown["message"]
    assert unknown["message"] == "no model named 'plane'; nearest: plain"
    assert "wait_for_reply" not in busy["message"]


async def test_schemas_are_such_that_every_client_reads_them(connected):
    """Issue 8: schemas without `$ref` and titles."""
    async with connected() as (client, _):
        tools = await listed(client)
    for tool in tools:
        taken, told = tool.input_schema, tool.output_schema
        assert taken["type"] == told["type"] == "object"
        assert "required" not in told
        for node in (*walk(taken), *walk(told)):
            assert node.get("type") in ("object", "array", "string", "integer", "number", "boolean", None)
            assert "type" in node or "anyOf" in node
            assert not {"$ref", "$defs", "title", "additionalProperties"} & node.keys()
        for node in walk(taken):
            assert "items" in node or node.get("type") != "array"


async def test_a_tool_says_of_itself_what_the_protocol_would_not_assume(connected):
    """DESIGN section 5: annotations only where they differ from the protocol's default."""
    async with connected() as (client, _):
        tools = await listed(client)
    local = {"openWorldHint": False}
    adding = {**local, "destructiveHint": False}
    reading = {**local, "readOnlyHint": True}
    assert {tool.name: tool.annotations.model_dump(by_alias=True, exclude_none=True) for tool in tools} == {
        "talk": {"destructiveHint": False},
        "wait_for_reply": reading,
        "interrupt": {**adding, "idempotentHint": True},
        "list_sessions": reading,
        "get_history": reading,
        "list_catalog": reading,
        "ensure_session": {**adding, "idempotentHint": True},
        "close_session": {**local, "idempotentHint": True},
        "fork_session": adding,
        "export_chat_session_context": {**local, "idempotentHint": True},
        "snapshot": {**local, "idempotentHint": True},
        "replace_history": local,
        "restore": local,
    }


async def test_the_icon_is_told_once_and_with_no_result(connected, era):
    """Issue 8: icons off the hot path."""
    async with connected(said("ok")) as (client, _):
        server, _ = await greeted(client, era)
        result = await call(client, "talk", content="hi")
    (icon,) = server.icons
    assert (server.name, server.title, server.version) == ("eai-mcp", "eai-mcp", __version__)
    assert icon.src.startswith("data:image/svg+xml;base64,")
    assert len(icon.src) < 400
    assert "icons" not in result.model_dump_json()


async def test_the_published_tools_are_these(connected):
    async with connected() as (client, _):
        tools = (await client.list_tools()).tools
    assert {tool.name: " ".join(tool.input_schema["properties"]) for tool in tools} == {
        "close_session": "chat_session",
        "ensure_session": "chat_session",
        "export_chat_session_context": "chat_session file_path format offset",
        "fork_session": "chat_session new_session after",
        "get_history": "chat_session after limit offset format",
        "interrupt": "chat_session turn_id",
        "list_catalog": "kind filter",
        "list_sessions": "prefix cursor limit",
        "replace_history": "chat_session file_path content revision format",
        "restore": "file_path mode",
        "snapshot": "file_path timeout_ms",
        "talk": "content chat_session mode model prompt system chara_card metadata pty_session_id timeout_ms "
        "on_timeout if_busy request_id turn_id temperature top_p top_k min_p max_tokens repetition_penalty "
        "frequency_penalty presence_penalty stop_sequences seed anthropic_beta reasoning_effort",
        "wait_for_reply": "chat_session turn_id timeout_ms",
    }
