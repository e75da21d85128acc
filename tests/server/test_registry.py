"""Arguments checked and errors told, whatever the tool."""

import inspect
import json
from contextlib import asynccontextmanager

import pytest
from mcp.client import Client
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from eai_mcp import errors
from eai_mcp.errors import EaiError, TurnFailed, UnknownName
from eai_mcp.server.arguments import Arguments
from eai_mcp.server.registry import Answer, ToolRegistry, ToolSpec
from tests.fakes import said
from tests.server.calling import refused
from tests.server.learnt import told

ALL = [
    found
    for found in vars(errors).values()
    if inspect.isclass(found) and issubclass(found, EaiError) and found not in (TurnFailed, UnknownName)
]
RAISED = [
    *(found("what, which one", retry_after_s=1.5, retryable=True, field="x") for found in ALL),
    *(UnknownName(kind, "x", known=("y",)) for kind in ("model", "prompt", "card")),
    TurnFailed("timeout", "too late", retryable=False, partial="so"),
]


class Free(Arguments):
    """What the tools below take."""

    number: int = 0
    names: list[str] | None = None
    table: dict[str, int] | None = None
    either: list[int] | str | None = None


@pytest.fixture
def serving(era):
    """A client of a server with one tool, `do`."""

    @asynccontextmanager
    async def serve(run):
        tool = ToolSpec(name="do", description="Do it.", arguments=Free, result=None, run=run)
        registry = ToolRegistry([tool])
        server = Server("test", on_list_tools=registry.on_list, on_call_tool=registry.on_call)
        async with Client(server, mode=era) as client:
            yield client

    return serve


async def echo(given, request):
    return Answer({"given": given.model_dump(exclude_unset=True)}, [])


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: f"{type(error).__name__}-{error.code}")
async def test_every_error_has_one_shape_in_both_forms(serving, raised):
    """DESIGN section 5: one envelope, `isError` with {code, message, retryable, retry_after_ms?, details}."""

    async def fail(given, request):
        raise raised

    async with serving(fail) as client:
        error = await refused(client, "do")
    assert list(error) == [
        *("code", "message", "retryable"),
        *(["retry_after_ms"] if raised.retry_after_s else []),
        "details",
    ]
    assert (error["code"], error["message"], error["retryable"]) == (
        raised.code,
        raised.message,
        raised.retryable,
    )
    assert error.get("retry_after_ms") == (1500 if raised.retry_after_s else None)
    assert error["details"] == json.loads(json.dumps(raised.details))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"names": '["a", "b"]'}, {"names": ["a", "b"]}),
        ({"names": "[]"}, {"names": []}),
        ({"names": ' ["a"] ', "table": '{"a": 1}'}, {"names": ["a"], "table": {"a": 1}}),
        ({"names": ["[]"]}, {"names": ["[]"]}),
        ({"names": "null"}, {"names": None}),
        ({"either": "[1]"}, {"either": "[1]"}),
        ({"number": "7"}, {"number": 7}),
    ],
)
async def test_json_in_a_string_is_read_where_only_a_list_or_an_object_fits(serving, given, taken):
    """Issue 8: JSON given as strings is parsed."""
    async with serving(echo) as client:
        assert (await told(client, "do", **given)) == {"given": taken}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": "a, b"}, 'names: input should be a valid list, not "a, b"'),
        ({"names": '{"a": 1}'}, 'names: input should be a valid list, not {"a": 1}'),
        ({"table": '["a"]'}, 'table: input should be a valid dictionary, not ["a"]'),
        ({"table": "[" * 100_000}, "table: input should be a valid dictionary, not"),
        ({"names": '["a", 1]'}, "names.1: input should be a valid string, not 1"),
        ({"names": '["a"]', "nams": 1}, "unknown argument 'nams'; did you mean names?"),
        ({"table": '{"a": NaN}'}, 'table: input should be a valid dictionary, not "{\\"a\\": NaN}"'),
        ({"table": '{"a": 1e999}'}, "table: input should be a valid dictionary"),
        ({"nothing": None}, "unknown argument 'nothing'; do takes number, names, table, either"),
        (
            {"x": 1, "nams": 3},
            "unknown argument 'x'; unknown argument 'nams'; did you mean names? do takes number, names",
        ),
        ({"names": '"\\\\ud800"'}, "names: "),
        ({"names": ["a"], "number": "x"}, "number: input should be a valid integer"),
    ],
)
async def test_json_in_a_string_that_does_not_fit_is_a_mistake_like_others(serving, given, message):
    """Issue 8: JSON given as strings is parsed."""
    async with serving(echo) as client:
        error = await refused(client, "do", **given)
    assert error["code"] == "invalid_argument"
    assert message in error["message"]


async def test_each_list_and_object_of_the_published_tools_may_come_as_a_string(connected):
    """Issue 8: JSON given as strings is parsed."""
    fields = {
        "stop_sequences": ["END"],
        "anthropic_beta": ["a"],
        "metadata": {"ticket": 7},
    }
    async with connected(said("ok")) as (client, model):
        tools = (await client.list_tools()).tools
        packed = {name: json.dumps(value) for name, value in fields.items()}
        done = await told(client, "talk", content="hi", **packed)
    assert {
        (tool.name, name)
        for tool in tools
        for name, field in tool.input_schema["properties"].items()
        if field.get("type") in ("array", "object")
    } == {("talk", name) for name in fields}
    samplers = model.requests[0].samplers
    assert (samplers.stop_sequences, samplers.anthropic_beta) == (("END",), ("a",))
    assert done["metadata"] == {"ticket": 7}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"number": None}, {}),
        ({"number": None, "names": '["a"]'}, {"names": ["a"]}),
        ({"names": None}, {"names": None}),
    ],
)
async def test_null_for_an_argument_is_as_if_it_were_not_said(serving, given, taken):
    """DESIGN section 4: null is absence."""
    async with serving(echo) as client:
        assert (await told(client, "do", **given)) == {"given": taken}


async def test_null_for_an_argument_that_is_needed_says_that_it_is_missing(connected):
    """DESIGN section 4: null is absence."""
    async with connected(said("ok")) as (client, _):
        error = await refused(client, "list_catalog", kind=None, filter=None)
        assert error["message"] == "kind is missing"
        done = await told(client, "talk", content="hi", if_busy=None, chat_session=None, mode=None)
    assert (done["chat_session"], done["reply"]) == ("default", "ok")


async def test_what_cannot_be_found_names_the_tool_that_shows_all_only_where_there_is_one(connected):
    for published, hint in ((("core",), "; list_sessions shows all"), (("get_history",), "")):
        async with connected(published=published) as (client, _):
            tool = "get_history" if "get_history" in published else "export_chat_session_context"
            error = await refused(client, tool, chat_session="nobody")
        assert error["message"].endswith(f"to make it{hint}")


@pytest.mark.parametrize("era", ["2026-07-28"])
async def test_the_list_of_tools_has_one_page(connected):
    async with connected() as (client, _):
        with pytest.raises(MCPError, match="the cursor is not one that this server gave") as caught:
            await client.list_tools(cursor="more")
    assert caught.value.code == -32602
