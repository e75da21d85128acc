"""Names offered while somebody types, in both protocol generations."""

import json

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from eai_mcp.calls import ResourcePushed
from eai_mcp.server.names import MOST_SESSIONS
from eai_mcp.server.pushed import TEMPLATE
from eai_mcp.store.sqlite import SqliteStore
from tests.fakes import Held, said
from tests.server.learnt import told

SESSION = "eai://sessions/{name}"


def of_prompt(name):
    return PromptReference(type="ref/prompt", name=name)


def of_template(template):
    return ResourceTemplateReference(type="ref/resource", uri=template)


async def offered(client, reference, argument, typed="", /, **stands):
    """What is offered, checked to be all of it."""
    found = (await client.complete(reference, {"name": argument, "value": typed}, stands)).completion
    assert (found.total, found.has_more) == (len(found.values), False)
    return found.values


@pytest.mark.parametrize(
    ("template", "typed", "names"),
    [
        ("eai://models/{name}", "", ["hasty", "other", "plain"]),
        ("eai://models/{name}", "PL", ["plain"]),
        ("eai://models/{name}", "t", ["hasty", "other"]),
        ("eai://models/{name}", "zz", []),
        ("eai://prompts/{name}", "c", ["coder"]),
        ("eai://cards/{name}", "r", ["clerk", "pirate"]),
        (SESSION, "w", ["w1", "w2"]),
        (TEMPLATE, "w1", ["w1"]),
        (SESSION, "", ["default", "w1", "w2"]),
        (SESSION, "W", ["w1", "w2"]),
        (SESSION, "2", ["w2"]),
        (SESSION, "x" * 200, []),
        (SESSION, "a/b", []),
    ],
)
async def test_each_template_offers_the_names_that_it_takes(connected, template, typed, names):
    """Issue 8: Completions for every name argument."""
    async with connected() as (client, _):
        for session in ("w2", "w1"):
            await told(client, "ensure_session", chat_session=session)
        assert await offered(client, of_template(template), "name", typed) == names


async def test_what_begins_like_the_word_comes_before_what_holds_it(connected, tmp_path):
    (tmp_path / "prompts" / "er.md").write_text("hi", encoding="utf-8")
    async with connected() as (client, _):
        assert await offered(client, of_template("eai://prompts/{name}"), "name", "er") == ["er", "coder"]


async def test_arguments_of_prompts_that_nobody_knows_before_are_offered_nothing(connected):
    async with connected() as (client, _):
        assert await offered(client, of_prompt("coder"), "message", "hi") == []
        assert await offered(client, of_prompt("card:pirate"), "user", "A") == []


async def test_the_greetings_of_a_card_are_offered_by_number(connected, tmp_path):
    """Issue 8: Completions for every name argument."""
    card = {"name": "Many", "alternate_greetings": ["x"] * 11}
    (tmp_path / "cards" / "many.json").write_text(json.dumps(card), encoding="utf-8")
    async with connected() as (client, _):
        assert await offered(client, of_prompt("card:many"), "greeting") == [str(n) for n in range(12)]
        assert await offered(client, of_prompt("card:many"), "greeting", "1") == ["1", "10", "11"]


async def test_at_most_a_hundred_are_offered(connected, tmp_path):
    for number in range(101):
        (tmp_path / "prompts" / f"p{number:03}.md").write_text("hi", encoding="utf-8")
    async with connected() as (client, _):
        template = of_template("eai://prompts/{name}")
        every = (await client.complete(template, {"name": "name", "value": "p"})).completion
        for number in range(101):
            await told(client, "ensure_session", chat_session=f"s{number:03}")
        sessions = (await client.complete(of_template(SESSION), {"name": "name", "value": "s"})).completion
    assert (len(every.values), every.total, every.has_more) == (100, 101, True)
    assert (len(sessions.values), sessions.total, sessions.has_more) == (100, None, True)


async def test_turns_are_those_of_the_session_that_was_chosen_the_latest_first(connected):
    """Issue 8: Completions for every name argument."""
    held = Held()
    async with connected(said("1"), said("2"), said("3"), held) as (client, _):
        first = await told(client, "talk", content="a", chat_session="w")
        await told(client, "talk", content="b")
        second = await told(client, "talk", content="c", chat_session="w")
        running = await told(client, "talk", content="d", chat_session="w", timeout_ms=0)
        template, turns = of_template(TEMPLATE), [one["turn_id"] for one in (running, second, first)]
        assert await offered(client, template, "turn_id", name="w") == turns
        assert await offered(client, template, "turn_id", turns[1][:-1], name="w") == turns[1:2]
        for stands in ({}, {"name": "nobody"}, {"name": "a/b"}):
            assert await offered(client, template, "turn_id", **stands) == []


async def test_what_a_turn_pushed_is_offered_by_number(connected):
    """Issue 8: Completions for every name argument."""

    async def pushing(request, emit):
        for uri in ("file:///a", "file:///b"):
            await emit(ResourcePushed(kind="file", uri=uri, mime_type="text/plain", payload="x"))
        return said("done")

    async with connected(pushing) as (client, _):
        turn = await told(client, "talk", content="hi")
        stands = {"name": "default", "turn_id": turn["turn_id"]}
        assert await offered(client, of_template(TEMPLATE), "number", **stands) == ["1", "2"]
        assert await offered(client, of_template(TEMPLATE), "number", name="default", turn_id="t") == []


@pytest.mark.parametrize(
    ("reference", "argument", "message"),
    [
        (of_prompt("codr"), "message", "no prompt named 'codr'; nearest: coder"),
        (of_prompt("coder"), "user", "'coder' has the arguments message, not 'user'"),
        (of_template("eai://nowhere/{name}"), "name", "no resource template eai://nowhere/{name}"),
        (of_template("eai://models"), "name", "no resource template eai://models"),
        (of_template("eai://models/{name}"), "model", "has the arguments name, not 'model'"),
    ],
)
async def test_what_there_is_not_is_a_protocol_error_that_tells_what_there_is(
    connected, reference, argument, message
):
    """Issue 8: unknown -> -32602."""
    async with connected() as (client, _):
        with pytest.raises(MCPError) as caught:
            await client.complete(reference, {"name": argument, "value": ""})
    assert caught.value.code == -32602
    assert message in caught.value.message
    assert caught.value.data["known"]


async def test_every_template_that_is_published_has_its_names_offered(connected):
    """Issue 8: Completions for every name argument."""
    async with connected() as (client, _):
        templates = (await client.list_resource_templates()).resource_templates
        for template in templates:
            for part in template.uri_template.split("{")[1:]:
                name = part.partition("}")[0]
                await client.complete(of_template(template.uri_template), {"name": name, "value": ""})
    assert len(templates) >= 5


async def test_of_very_many_sessions_those_that_begin_just_so_are_offered_wherever_they_are(connected):
    names = [f"a{number:04}" for number in range(MOST_SESSIONS)]
    store = SqliteStore(None)
    async with connected(store=store) as (client, _):
        for name in (*names, "zebra", "Zoo"):
            await store.ensure("", name)
        found = [
            (await client.complete(of_template(SESSION), {"name": "name", "value": typed})).completion
            for typed in ("z", "Z", "0999")
        ]
    assert [one.values for one in found] == [["zebra", "Zoo"], ["Zoo"], []]
    assert [(one.total, one.has_more) for one in found] == [(None, True)] * 3
