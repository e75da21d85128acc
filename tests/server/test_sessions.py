"""Sessions as resources, in both protocol generations."""

import json

import pytest
from mcp.shared.exceptions import MCPError

from eai_mcp.server.sessions import MOST_LISTED
from tests.fakes import Held, said
from tests.server.learnt import LEARNT, says, told

REPLACE = "replace_history"


async def listed(client):
    """The sessions of all pages of the list."""
    found, cursor = [], None
    while True:
        page = await client.list_resources(cursor=cursor)
        assert len(page.resources) == 100 or page.next_cursor is None
        found += [one.name for one in page.resources if str(one.uri).startswith("eai://sessions/")]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_each_session_is_a_resource(connected):
    """DESIGN section 6: `eai://sessions/{name}` (transcript, JSON and Markdown); lists are sorted."""
    async with connected(said("1"), said("2")) as (client, _):
        await told(client, "talk", content="hi", chat_session="work:b@c+d-e_f.g")
        await told(client, "talk", content="hi", chat_session="a")
        listed = (await client.list_resources()).resources
        found = [one for one in listed if str(one.uri).startswith("eai://sessions/")]
        row, *_ = (await told(client, "list_sessions"))["sessions"]
    assert [(str(each.uri), each.name, each.mime_type) for each in found] == [
        ("eai://sessions/a", "a", "application/json"),
        ("eai://sessions/default", "default", "application/json"),
        ("eai://sessions/work:b@c+d-e_f.g", "work:b@c+d-e_f.g", "application/json"),
    ]
    assert (found[0].title, found[0].description) == ("Session a", "A chat session with 2 messages")
    assert found[0].annotations.last_modified == row["updated_at"]


async def test_the_list_comes_in_pages(connected):
    async with connected() as (client, _):
        names = sorted(["default", *(f"s{number:03}" for number in range(100))])
        for name in names:
            await told(client, "ensure_session", chat_session=name)
        assert await listed(client) == names
        for name in ("s001", "s050"):
            await told(client, "close_session", chat_session=name)
        assert await listed(client) == [name for name in names if name not in ("s001", "s050")]


@pytest.mark.parametrize("cursor", ["x", "sessions/" + "x" * 129, "\ud800", "sessions/\ud800"])
async def test_a_cursor_that_was_never_given_is_refused(connected, cursor):
    async with connected() as (client, _):
        with pytest.raises(MCPError, match="cursor") as caught:
            await client.list_resources(cursor=cursor)
    assert (caught.value.code, caught.value.data["code"]) == (-32602, "invalid_argument")


@pytest.mark.parametrize("name", ["a@b", "a%40b", "%61@b"])
async def test_a_session_is_read_as_json_and_as_a_transcript(connected, name):
    """DESIGN section 6: transcript, JSON and Markdown. A client may escape what need not be escaped."""
    async with connected(said("1")) as (client, _):
        await told(client, REPLACE, chat_session="a@b", content=LEARNT)
        inline = await told(client, "export_chat_session_context", chat_session="a@b")
        ours, transcript = (await client.read_resource(f"eai://sessions/{name}")).contents
    assert (ours.mime_type, transcript.mime_type) == ("application/json", "text/markdown")
    assert ours.text == inline["content"]
    exported = json.loads(ours.text)
    assert (exported["session"], exported["message_count"]) == ("a@b", 4)
    assert "What is in here? Ünïcode 🙂" in transcript.text
    assert "## Assistant" in transcript.text


async def test_what_was_read_can_be_handed_to_replace_history(connected):
    async with connected() as (client, _):
        await told(client, REPLACE, content=LEARNT)
        contents = (await client.read_resource("eai://sessions/default")).contents
        done = await told(client, REPLACE, chat_session="copy", content=contents[0].text)
    assert (done["format"], done["message_count"], done["repairs"]) == ("eai-mcp", 4, [])


async def test_the_default_session_can_be_read_before_anything_was_said(connected):
    async with connected() as (client, _):
        contents = (await client.read_resource("eai://sessions/default")).contents
    assert json.loads(contents[0].text)["messages"] == []


async def test_a_running_turn_is_not_in_it_yet(connected):
    held = Held("half")
    async with connected(said("1"), held) as (client, _):
        await told(client, "talk", content="one")
        await told(client, "talk", content="two", timeout_ms=0)
        await held.reached.wait()
        contents = (await client.read_resource("eai://sessions/default")).contents
    assert json.loads(contents[0].text)["message_count"] == 2


@pytest.mark.parametrize(
    ("uri", "code", "message"),
    [
        ("eai://sessions/nobody", "not_found", "no session named 'nobody'"),
        ("eai://sessions/a%2Fb", "invalid_argument", "not allowed"),
        ("eai://sessions/%00", "invalid_argument", "not allowed"),
        ("eai://sessions/%ff", "invalid_argument", "not allowed"),
        ("eai://sessions/" + "x" * 129, "invalid_argument", "1 to 128 characters"),
        ("eai://sessions/", None, "no resource eai://sessions"),
        ("eai://sessions/a/b", None, "no resource eai://sessions/a/b"),
        ("eai://sessions/default?x=1", None, "no resource"),
        ("file:///etc/passwd", None, "no resource file:///etc/passwd"),
    ],
)
async def test_what_there_is_not_is_a_protocol_error(connected, uri, code, message):
    async with connected() as (client, _):
        with pytest.raises(MCPError, match=message) as caught:
            await client.read_resource(uri)
        assert (await client.list_resources()).resources
    assert caught.value.code == -32602
    assert caught.value.data.get("code") == code


async def test_the_list_of_all_tells_what_list_sessions_does(connected):
    """Issue 8: sessions and transcripts. DESIGN section 6: all also reachable by a tool."""
    async with connected(said("1")) as (client, _):
        await told(client, "talk", content="hi", chat_session="work")
        (contents,) = (await client.read_resource("eai://sessions")).contents
        rows = await told(client, "list_sessions")
    assert (contents.mime_type, json.loads(contents.text)) == ("application/json", rows)
    assert [row["name"] for row in rows["sessions"]] == ["default", "work"]


async def test_the_list_of_all_ends_where_list_sessions_goes_on(connected):
    async with connected() as (client, _):
        for number in range(MOST_LISTED):
            await told(client, "ensure_session", chat_session=f"s{number:03}")
        (contents,) = (await client.read_resource("eai://sessions")).contents
        shown = json.loads(contents.text)
        rest = await told(client, "list_sessions", cursor=shown["next_cursor"])
    assert len(shown["sessions"]) == MOST_LISTED
    assert [row["name"] for row in rest["sessions"]] == [f"s{MOST_LISTED - 1:03}"]


@pytest.mark.parametrize("text", ["x" * 4_000_000, "\\" * 1_500_000, "\x01" * 600_000, "🙂" * 1_000_000])
async def test_a_session_that_is_too_long_for_an_answer_says_how_to_read_it(connected, text):
    """DESIGN section 5: no message above 8 MiB on the wire."""
    async with connected() as (client, _):
        await told(client, REPLACE, content=says(text))
        with pytest.raises(MCPError, match="export_chat_session_context") as caught:
            await client.read_resource("eai://sessions/default")
        assert caught.value.data == {"code": "limit_exceeded", "uri": "eai://sessions/default"}


@pytest.mark.parametrize("text", ["x" * 3_000_000, "\\" * 700_000, "\x01" * 400_000, "🙂" * 200_000])
async def test_a_session_that_just_fits_is_within_the_limit_of_a_message(connected, text):
    """DESIGN section 5: no message above 8 MiB on the wire."""
    async with connected() as (client, _):
        await told(client, REPLACE, content=says(text))
        result = await client.read_resource("eai://sessions/default")
    assert len(result.model_dump_json().encode()) < 8 * 1024 * 1024
