"""Prompts and cards in a client's menu, in both protocol generations."""

import base64
import json

import mcp_types as types
import pytest
from mcp.client import Client
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from eai_mcp.server.completions import Completions
from eai_mcp.server.prompts import Prompts
from tests.server.learnt import LEARNT

CAPTAIN = {
    "name": "Captain",
    "creator_notes": "For tests.",
    "nickname": "Cap",
    "description": "{{char}} leads {{user}}.",
    "first_mes": "Welcome, {{user}}.",
    "alternate_greetings": ["Again, {{user}}?", "{{char}} is asleep."],
    "system_prompt": "{{original}} Stay calm.",
    "post_history_instructions": "Answer {{user}} briefly.",
    "character_book": {"entries": [{"keys": ["storm"], "content": "Storms pass.", "extensions": {}}]},
    "extensions": {"eai": {"prompt": "coder"}},
}


@pytest.fixture
def captain(tmp_path):
    """Writes the card `captain`, with other fields if they are given."""

    def write(**fields):
        card = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {**CAPTAIN, **fields}}
        (tmp_path / "cards").mkdir(exist_ok=True)
        (tmp_path / "cards" / "captain.json").write_text(json.dumps(card), encoding="utf-8")

    return write


def said(result):
    return [(message.role, message.content.text) for message in result.messages]


async def refusal(client, name, arguments):
    with pytest.raises(MCPError) as caught:
        await client.get_prompt(name, arguments)
    assert caught.value.code == -32602
    return caught.value


async def test_each_prompt_and_each_card_is_in_the_menu(connected, captain):
    """Issue 8: each prompt and card. DESIGN section 6: lists are sorted."""
    captain()
    async with connected() as (client, _):
        listed = (await client.list_prompts()).prompts
    assert [(one.name, one.title, one.description) for one in listed] == [
        ("analyst", None, None),
        ("card:captain", "Captain", "For tests."),
        ("card:clerk", "Clerk", "A clerk."),
        ("card:pirate", "Pirate", "Pirate sails with the user."),
        ("coder", None, None),
    ]
    assert [[argument.name for argument in one.arguments] for one in listed] == [
        ["message"],
        ["message", "user", "greeting"],
        ["message", "user"],
        ["message", "user"],
        ["message"],
    ]
    assert not any(argument.required for one in listed for argument in one.arguments)


async def test_a_prompt_is_what_a_user_says_first(connected):
    """Issue 8: each prompt and card; arguments."""
    async with connected() as (client, _):
        assert said(await client.get_prompt("coder")) == [("user", "You write code.")]
        asked = await client.get_prompt("coder", {"message": "A {{user}} in C."})
    assert said(asked) == [("user", "You write code."), ("user", "A {{user}} in C.")]


async def test_a_card_is_its_text_then_its_greeting_then_what_is_said_to_it(connected, captain):
    """Issue 8: each prompt and card; arguments."""
    captain()
    async with connected() as (client, _):
        result = await client.get_prompt("card:captain", {"message": "a storm!", "user": "Ann"})
    assert said(result) == [
        ("user", "You write code. Stay calm.\n\nCap leads Ann.\n\nStorms pass."),
        ("assistant", "Welcome, Ann."),
        ("user", "a storm!"),
        ("user", "Answer Ann briefly."),
    ]
    assert result.description == "For tests."


async def test_what_a_card_wants_said_last_is_not_lost_where_nothing_is_said(connected, captain):
    captain(character_book=None)
    async with connected() as (client, _):
        (text, greeting) = said(await client.get_prompt("card:captain"))
    assert text == ("user", "You write code. Stay calm.\n\nCap leads User.\n\nAnswer User briefly.")
    assert greeting == ("assistant", "Welcome, User.")


@pytest.mark.parametrize(
    ("number", "greeting"),
    [("0", "Welcome, User."), ("1", "Again, User?"), (" 2 ", "Cap is asleep."), ("", "Welcome, User.")],
)
async def test_a_card_may_begin_with_another_greeting(connected, captain, number, greeting):
    captain()
    async with connected() as (client, _):
        result = await client.get_prompt("card:captain", {"greeting": number})
    assert said(result)[1:] == [("assistant", greeting)]
    assert "Welcome" not in said(result)[0][1], "the text of the card does not greet too"


async def test_chance_in_a_card_falls_otherwise_each_time(connected, captain):
    captain(first_mes="{{roll:999999999}} {{random:a,b}}")
    async with connected() as (client, _):
        greetings = {said(await client.get_prompt("card:captain"))[-1] for _ in range(3)}
    assert len(greetings) == 3


async def test_what_a_card_brings_along_is_told_as_far_as_the_protocol_has_words_for_it(connected, captain):
    export = json.dumps(LEARNT).encode()
    captain(extensions={"eai": {"pre_context": base64.b64encode(export).decode()}})
    async with connected() as (client, _):
        messages = (await client.get_prompt("card:captain", {"message": "hm"})).messages
    assert [(one.role, getattr(one.content, "text", one.content.type)) for one in messages[1:]] == [
        ("user", "What is in here? Ünïcode 🙂"),
        ("assistant", "Let me look."),
        ("user", "image"),
        ("assistant", "A d"),
        ("assistant", "Welcome, User."),
        ("user", "hm"),
        ("user", "Answer User briefly."),
    ]


async def test_a_card_that_says_nothing_is_only_what_is_said_to_it(connected, tmp_path):
    (tmp_path / "cards" / "mute.json").write_text('{"name": "Mute"}', encoding="utf-8")
    async with connected() as (client, _):
        assert said(await client.get_prompt("card:mute")) == []
        assert said(await client.get_prompt("card:mute", {"message": "hi"})) == [("user", "hi")]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("codr", {}, "no prompt named 'codr'; nearest: coder"),
        ("card:", {}, "no prompt named 'card:'"),
        ("pirate", {}, "nearest: card:pirate"),
        ("x" * 100_000, {}, "known: analyst, card:captain, card:clerk, card:pirate, coder"),
        ("coder", {"user": "Ann"}, "prompt coder takes message, not 'user'"),
        ("card:pirate", {"greeting": "0"}, "prompt card:pirate takes message, user, not 'greeting'"),
        ("card:captain", {"greeting": "3"}, "greeting must be 0 to 2, not '3'"),
        ("card:captain", {"greeting": "-1"}, "greeting must be 0 to 2, not '-1'"),
        ("card:captain", {"greeting": "²"}, "greeting must be 0 to 2"),
        ("card:captain", {"greeting": "9" * 100_000}, "greeting must be 0 to 2"),
        ("card:captain", {"user": "x" * 129}, "user must have at most 128 characters"),
    ],
)
async def test_what_there_is_not_is_a_protocol_error_that_tells_what_there_is(
    connected, captain, name, arguments, told
):
    """Issue 8: unknown -> -32602."""
    captain()
    async with connected() as (client, _):
        error = await refusal(client, name, arguments)
    assert told in error.message
    assert len(error.message) < 300
    assert error.data["code"] in ("unknown_prompt", "invalid_argument")
    if name == "codr":
        assert error.data["known"] == ["coder"]


async def test_a_card_whose_prompt_is_gone_is_listed_and_says_so(connected, captain):
    captain(extensions={"eai": {"prompt": "codr"}})
    async with connected() as (client, _):
        assert "card:captain" in [one.name for one in (await client.list_prompts()).prompts]
        error = await refusal(client, "card:captain", {})
    assert (error.data["code"], error.message) == ("unknown_prompt", "no prompt named 'codr'; nearest: coder")


async def test_a_bad_file_is_not_in_the_menu_and_the_rest_is(connected, tmp_path):
    (tmp_path / "cards" / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "prompts" / "broken.md").write_text("", encoding="utf-8")
    async with connected() as (client, _):
        names = [one.name for one in (await client.list_prompts()).prompts]
        assert names == ["analyst", "card:clerk", "card:pirate", "coder"]
        await refusal(client, "card:broken", {})


async def test_a_card_that_is_too_long_for_an_answer_says_how_to_use_it(connected, captain):
    """DESIGN section 5: no message above 8 MiB on the wire."""
    captain(description="{{user}}" * 32_000)
    async with connected() as (client, _):
        error = await refusal(client, "card:captain", {"user": "é" * 120})
    assert error.data["code"] == "limit_exceeded"
    assert "talk takes it by name" in error.message


async def test_a_long_menu_comes_in_pages(connected, tmp_path):
    for number in range(150):
        (tmp_path / "prompts" / f"p{number:03}.md").write_text("hi", encoding="utf-8")
    async with connected() as (client, _):
        first = await client.list_prompts()
        second = await client.list_prompts(cursor=first.next_cursor)
        for cursor in ("zzzz", first.prompts[-1].name, "cards/x"):
            with pytest.raises(MCPError, match="the cursor is not one that this server gave") as caught:
                await client.list_prompts(cursor=cursor)
            assert (caught.value.code, caught.value.data["code"]) == (-32602, "invalid_argument")
    names = [one.name for one in (*first.prompts, *second.prompts)]
    assert (len(first.prompts), len(names), second.next_cursor) == (100, 154, None)
    assert names == sorted(names)


class Odd:
    """A source whose only prompt requires something, and has a bug."""

    def prompts(self):
        return [types.Prompt(name="odd", arguments=[types.PromptArgument(name="what", required=True)])]

    async def get(self, space, name, given):
        if given["what"] != "gone":
            raise ZeroDivisionError("secret")


async def bug(typed):
    raise ZeroDivisionError("secret")


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({}, "invalid_argument", "prompt odd takes what; what is missing"),
        ({"what": "x"}, "internal", "internal error"),
        ({"what": "gone"}, "unknown_prompt", "no prompt named 'odd'"),
    ],
)
async def test_what_cannot_be_had_is_told_without_what_is_inside(era, given, code, message):
    """Issue 8: no traceback to a client."""
    prompts = Prompts([Odd()])
    completions = Completions(prompts, of_prompts={"what": bug}, of_resources={})
    server = Server(
        "test",
        on_list_prompts=prompts.on_list,
        on_get_prompt=prompts.on_get,
        on_completion=completions.on_complete,
    )
    async with Client(server, mode=era) as client:
        error = await refusal(client, "odd", given)
        reference = types.PromptReference(type="ref/prompt", name="odd")
        with pytest.raises(MCPError, match="internal error") as caught:
            await client.complete(reference, {"name": "what", "value": ""})
    assert (error.data["code"], message in error.message) == (code, True)
    assert "secret" not in f"{error} {caught.value}"
