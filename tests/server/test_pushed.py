"""Resources that are pushed in a turn, as a client gets them."""

import base64
import json

import pytest
from mcp.shared.exceptions import MCPError

from eai_mcp.calls import ResourcePushed
from eai_mcp.chat.values import Effective, TurnResult
from eai_mcp.messages import Message, ToolUseBlock
from eai_mcp.server import answers, pushed
from eai_mcp.server.room import WIDE
from tests.fakes import said
from tests.server.calling import call

SMALL = ResourcePushed(
    kind="table", uri="file:///out/t.csv", payload="a,b\n", mime_type="text/csv", metadata={"rows": 1}
)
PICTURE = ResourcePushed(kind="picture", uri="file:///out/p.png", payload=b"\x89PNG", mime_type="image/png")
LARGE = ResourcePushed(kind="log", uri="file:///out/long.log", payload="x" * 70_000)
ELSEWHERE = ResourcePushed(kind="page", uri="https://example.com/a/b")


def pushes(*resources, then=None):
    """A step of a model that pushes resources, and then answers."""

    async def step(request, emit):
        for resource in resources:
            await emit(resource)
        return then or said("Look.")

    return step


def result(*resources):
    return TurnResult(
        status="completed",
        reply="Look.",
        session="a@b",
        turn_id="t_1",
        effective=Effective(model="plain"),
        resources=resources,
    )


async def test_what_is_pushed_arrives_with_the_result_small_in_it_and_large_by_link(connected):
    """Issue 6: resources pushed during a turn arrive as resource links or embedded resources."""
    async with connected(pushes(SMALL, PICTURE, LARGE, ELSEWHERE)) as (client, _):
        got = await call(client, "talk", content="go", chat_session="a@b")
        turn_id = got.structured_content["turn_id"]
        there = f"eai://sessions/a@b/pushed/{turn_id}/"
        contents = (await client.read_resource(f"{there}3")).contents
    assert got.structured_content["resources"] == [
        {
            "kind": "table",
            "uri": "file:///out/t.csv",
            "mime_type": "text/csv",
            "size_bytes": 4,
            "read_at": f"{there}1",
            "metadata": {"rows": 1},
        },
        {
            "kind": "picture",
            "uri": "file:///out/p.png",
            "mime_type": "image/png",
            "size_bytes": 4,
            "read_at": f"{there}2",
        },
        {"kind": "log", "uri": "file:///out/long.log", "size_bytes": 70_000, "read_at": f"{there}3"},
        {"kind": "page", "uri": "https://example.com/a/b"},
    ]
    table, picture, log, page = got.content[2:]
    assert (table.resource.uri, table.resource.text) == ("file:///out/t.csv", "a,b\n")
    assert base64.b64decode(picture.resource.blob) == b"\x89PNG"
    assert (log.type, log.uri, log.name, log.size) == ("resource_link", f"{there}3", "long.log", 70_000)
    assert (page.type, page.uri, page.name) == ("resource_link", "https://example.com/a/b", "b")
    assert [each.text for each in contents] == ["x" * 70_000]


async def test_what_was_pushed_is_told_again_and_readable_as_long_as_its_turn_is_known(connected):
    """Issue 6: payload, uri, type and metadata."""
    async with connected(pushes(SMALL, PICTURE)) as (client, _):
        got = await call(client, "talk", content="go")
        again = await call(client, "wait_for_reply")
        assert again.structured_content["resources"] == got.structured_content["resources"]
        assert again.content[2:] == got.content[2:]
        uri = got.structured_content["resources"][1]["read_at"]
        (picture,) = (await client.read_resource(uri)).contents
    assert (picture.uri, picture.mime_type, base64.b64decode(picture.blob)) == (uri, "image/png", b"\x89PNG")


async def test_what_was_pushed_before_a_question_is_readable_behind_its_answer(connected):
    """Issue 6: resources pushed during a turn, which a question does not end."""
    use = ToolUseBlock("q1", "ask_user", {"question": "Which?"})
    asks = said("", message=Message("assistant", (use,)), stop="tools")
    async with connected(pushes(SMALL, then=asks), pushes(PICTURE, SMALL)) as (client, _):
        asked = (await call(client, "talk", content="go")).structured_content
        done = (await call(client, "talk", content="red")).structured_content
        there = asked["resources"][0]["read_at"]
        assert (await client.read_resource(there)).contents[0].text == SMALL.payload
    assert [one["uri"] for one in done["resources"]] == [SMALL.uri, PICTURE.uri]
    assert done["resources"][0]["read_at"] == there


async def test_what_there_is_not_says_so(connected):
    async with connected(pushes(ELSEWHERE)) as (client, _):
        turn_id = (await call(client, "talk", content="go")).structured_content["turn_id"]
        there = "eai://sessions/default/pushed"
        for uri, message in (
            (f"{there}/{turn_id}/1", "the content of this resource is at https://example.com/a/b"),
            (f"{there}/{turn_id}/2", f"turn {turn_id} in session 'default' has 1 pushed resources"),
            (f"{there}/t_none/1", "no finished turn t_none"),
            ("eai://sessions/none/pushed/t_1/1", "no session named 'none'"),
            (f"{there}/{turn_id}/0", "no resource"),
        ):
            with pytest.raises(MCPError, match=message) as caught:
                await client.read_resource(uri)
            assert caught.value.code == -32602


def beside(answer):
    """What is in an answer apart from its texts."""
    return [block for block in answer.content if not isinstance(block, str)]


def test_embedding_ends_where_a_message_would_become_too_large():
    """DESIGN section 5: no message above 8 MiB on the wire."""
    many = tuple(
        ResourcePushed(kind="log", uri=f"file:///{number}", payload="\x01" * 60_000) for number in range(60)
    )
    answer = answers.of_turn(result(*many), WIDE)
    assert [each.type for each in beside(answer)].count("resource") == 2
    assert sum(len(each.model_dump_json()) for each in beside(answer)) < 1_100_000


def test_what_is_told_of_resources_ends_where_a_message_would_become_too_large():
    """DESIGN section 5: no message above 8 MiB on the wire."""
    many = tuple(
        ResourcePushed(kind="log", uri=f"file:///{number}", metadata={"note": "\x01" * 1000})
        for number in range(100)
    )
    answer = answers.of_turn(result(*many), WIDE)
    shown = answer.structured["resources"]
    assert len(json.dumps(shown)) < 140_000
    assert len(beside(answer)) == len(shown) < 100
    (warning,) = answer.structured["warnings"]
    assert warning.startswith(f"{100 - len(shown)} more resources were pushed than are shown")
    assert f"eai://sessions/a@b/pushed/t_1/{len(shown) + 1}" in warning


def test_nothing_is_said_of_resources_where_there_are_none():
    answer = answers.of_turn(result(), WIDE)
    assert "resources" not in answer.structured
    assert beside(answer) == []
    assert pushed.told(result(), WIDE) == []
