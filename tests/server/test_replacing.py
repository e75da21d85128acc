"""Histories put in place of others, as a client sees it."""

import gzip
import json
import os

import pytest

from eai_mcp.messages import decode, user
from tests.chat.taking import asks, uses
from tests.fakes import Held, said
from tests.server.calling import call, refused
from tests.server.learnt import LEARNT, kept, rows, says, told

EXPORT, REPLACE = "export_chat_session_context", "replace_history"
LOSSLESS = ("eai-mcp", "jsonl")
FOREIGN = ("converse", "openai", "openai-responses", "anthropic")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


@pytest.fixture
def moving(connected, folder):
    """The same as `connected`, with a folder for exports."""
    return lambda *steps, **fields: connected(*steps, exports=folder, **fields)


WAYS = {
    "a list": LEARNT,
    "an object": {"messages": LEARNT},
    "a list as text": json.dumps(LEARNT),
    "an object as text": json.dumps({"messages": LEARNT}, indent=2),
    "JSONL": "".join(json.dumps(message) + "\n" for message in LEARNT),
}


@pytest.mark.parametrize("content", WAYS.values(), ids=WAYS)
async def test_content_may_be_a_list_an_object_or_either_as_text(moving, content):
    """Issue 5: `replace_history` works with a path or with inline content (also given as a JSON string)."""
    async with moving() as (client, _):
        done = await told(client, REPLACE, chat_session="work", content=content)
        assert await kept(client, "work") == LEARNT
    assert done == {
        "chat_session": "work",
        "message_count": 4,
        "revision": 1,
        "format": "jsonl",
        "repairs": [],
    }


@pytest.mark.parametrize("form", [*LOSSLESS, *FOREIGN])
@pytest.mark.parametrize("named", [True, False])
async def test_what_was_exported_is_read_again_from_a_file_and_from_the_answer(moving, form, named):
    """Issue 5: Import from: all of these except Markdown, as JSON, JSONL or gzip of either, `format="auto"`
    by sniffing or named.
    """
    choice = {"format": form} if named else {}
    async with moving() as (client, _):
        await told(client, REPLACE, content=LEARNT)
        await told(client, EXPORT, file_path="a.gz", format=form)
        text = (await told(client, EXPORT, format=form))["content"]
        by_file = await told(client, REPLACE, chat_session="file", file_path="a.gz", **choice)
        by_text = await told(client, REPLACE, chat_session="text", content=text, **choice)
        by_value = await told(client, REPLACE, chat_session="value", content=_value(text), **choice)
        histories = [await kept(client, session) for session in ("file", "text", "value")]
    assert histories[0] == histories[1] == histories[2]
    assert [done["format"] for done in (by_file, by_text, by_value)] == [form] * 3
    texts = [block["text"] for message in histories[0] for block in message["content"] if "text" in block]
    assert [text for text in texts if text != "I should look."] == [
        "What is in here? Ünïcode 🙂",
        "Let me look.",
        "A d",
    ]
    if form in LOSSLESS:
        assert histories[0] == LEARNT


def _value(text):
    """The JSON itself, of lines as a list."""
    try:
        return json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"content": [], "revision": 1},
        {"content": "", "file_path": "a"},
        {"file_path": "a", "revision": 1},
        {"file_path": "a", "revision": 1, "content": []},
    ],
)
async def test_one_source_must_be_named(moving, given):
    async with moving() as (client, _):
        error = await refused(client, REPLACE, **given)
    assert error["code"] == "invalid_argument"
    assert "name one of file_path, content and revision" in error["message"]
    assert error["details"]["field"] in ("file_path", "content", "revision")


NEWER = {"format": "eai-mcp", "version": 2, "messages": [{"role": "user", "said": "hello"}]}
BAD = {
    "no JSON": ({"content": "hello"}, "import_invalid", "is not JSON"),
    "nothing": ({"content": ""}, "import_invalid", "is empty"),
    "a number": ({"content": "5"}, "import_invalid", "message 1 is no object"),
    "strings": ({"content": ["hello"]}, "invalid_argument", "content.0: input should be a valid dict"),
    "an empty object": ({"content": {}}, "import_invalid", "is an empty object"),
    "another object": ({"content": {"history": []}}, "import_invalid", "no list of messages"),
    "no role": ({"content": [*says("a"), {"content": "b"}]}, "import_invalid", "message 2"),
    "another role": ({"content": [{"role": "narrator", "content": "b"}]}, "import_invalid", "narrator"),
    "half": ({"content": json.dumps(LEARNT)[:-20]}, "import_invalid", "incomplete"),
    "deep": ({"content": "[" * 5000}, "import_invalid", "nested deeper"),
    "a surrogate": ({"content": "[\ud800]"}, "invalid_argument", "surrogate"),
    "NaN": ({"content": '[{"role":"user","content":NaN}]'}, "import_invalid", "NaN"),
    "a newer version": ({"content": {"format": "eai-mcp", "version": 2}}, "import_invalid", "update it"),
    "a newer message": ({"content": NEWER}, "import_invalid", "update it"),
    "two histories": ({"content": json.dumps(LEARNT) + "[]"}, "import_invalid", "more than one history"),
    "only a system": (
        {"content": [{"role": "system", "content": "Be kind."}]},
        "import_invalid",
        "no message",
    ),
    "no file": ({"file_path": "none"}, "not_found", "there is no file 'none'"),
    "a path outside": ({"file_path": "../a"}, "path_denied", "'..'"),
    "a transcript": ({"file_path": "a.md"}, "import_invalid", "is not JSON"),
    "half a gzip": ({"file_path": "half"}, "import_invalid", "damaged"),
    "a snapshot": ({"file_path": "all"}, "import_invalid", "`restore` reads it"),
    "an unknown format": ({"content": [], "format": "markdown"}, "invalid_argument", "'converse'"),
    "no Erlang": ({"content": [], "format": "eai"}, "import_invalid", "Erlang"),
    "no revision": ({"revision": 7}, "not_found", "no revision 7"),
    "revision 0": ({"revision": 0}, "invalid_argument", "revision"),
}


@pytest.mark.parametrize(("given", "code", "message"), BAD.values(), ids=BAD)
async def test_what_is_refused_leaves_everything_as_it_was(moving, folder, given, code, message):
    """Issue 5: `replace_history` checks before it touches anything."""
    async with moving() as (client, _):
        await told(client, REPLACE, content=LEARNT)
        await told(client, EXPORT, file_path="a.md")
        await told(client, EXPORT, file_path="half")
        await told(client, "snapshot", file_path="all")
        (folder / "half").write_bytes((folder / "half").read_bytes()[:-30])
        before = await rows(client)
        for session in ("default", "new"):
            error = await refused(client, REPLACE, chat_session=session, **given)
            if session == "default" or "revision" not in given:
                assert error["code"] == code
                assert message in error["message"]
        assert await rows(client) == before
        assert await kept(client) == LEARNT


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("eai-mcp", says("a")),
        ("eai-mcp", [{"role": "tool", "tool_call_id": "c", "content": "x"}]),
        ("jsonl", [{"role": "user", "content": [{"text": "a"}]}]),
        ("converse", [{"role": "user", "content": [{"type": "input_text", "text": {}}]}]),
        (
            "openai",
            [{"role": "user", "content": [{"toolUse": {"toolUseId": "a", "name": "b", "input": {}}}]}],
        ),
        ("anthropic", [{"role": "tool", "tool_call_id": "c", "content": "x"}]),
        ("openai", {"format": "eai-mcp", "version": 1, "messages": says("a"), "message_count": 1}),
    ],
)
async def test_a_format_that_is_named_must_be_the_one_that_it_is_in(moving, form, content):
    async with moving() as (client, _):
        error = await refused(client, REPLACE, content=content, format=form)
        assert await kept(client) == []
    assert error["code"] == "import_invalid"


async def test_what_was_changed_since_it_was_written_is_not_taken(moving, folder):
    """Issue 5: sha256 inside."""
    async with moving() as (client, _):
        await told(client, REPLACE, content=LEARNT)
        await told(client, EXPORT, file_path="a")
        data = (folder / "a").read_bytes()
        (folder / "a").write_bytes(
            gzip.compress(gzip.decompress(data).replace(b"Let me look", b"Let me pass"))
        )
        error = await refused(client, REPLACE, chat_session="new", file_path="a")
        assert (error["code"], "sha256 does not fit" in error["message"]) == ("import_invalid", True)
        (folder / "a").write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
        error = await refused(client, REPLACE, chat_session="new", file_path="a")
        assert error["code"] == "import_invalid"
        assert [row["name"] for row in await rows(client)] == ["default"]


async def test_our_export_may_have_been_written_anew_by_any_json_tool(moving):
    async with moving() as (client, _):
        await told(client, REPLACE, content=LEARNT)
        exported = json.loads((await told(client, EXPORT))["content"])
        content = json.dumps(exported, sort_keys=True, indent=4, ensure_ascii=False)
        done = await told(client, REPLACE, chat_session="new", content=content)
        assert (done["format"], done["repairs"]) == ("eai-mcp", [])
        assert await kept(client, "new") == LEARNT


async def test_what_was_mended_is_told_with_how_often_and_where(moving):
    """Issue 5: String contents, system messages, unknown block kinds, unpaired tool uses: repaired or
    refused, and the result reports which (`repairs`).
    """
    use = {"type": "tool_use", "id": "u1", "name": "look", "input": {}}
    content = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one", "at": 5},
        {"role": "assistant", "content": [{"type": "text", "text": "two"}, {"type": "hologram", "x": 1}]},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "text", "text": "four"}]},
    ]
    async with moving() as (client, _):
        done = await told(client, REPLACE, content=content, format="jsonl")
        assert await kept(client) == [
            *says("one", "two", "three"),
            {"role": "assistant", "content": [use]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "u1",
                        "content": [{"type": "text", "text": "no result was recorded"}],
                        "failed": True,
                    }
                ],
            },
            *says("four"),
        ]
    assert done["message_count"] == 6
    assert done["repairs"] == [
        "a system message was left out: talk's `system` sets it (message 1)",
        "string content was taken as text (2 times, first in message 2)",
        "a block of unknown kind 'hologram' was left out (message 3)",
        "a tool use without a result was given a failed one (message 5)",
    ]


async def test_repairs_of_endless_kinds_are_told_in_short(moving):
    """DESIGN section 5: no message above 8 MiB on the wire."""
    content = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": f"kind {n}", "x": 1}], "at": 1}
        for n in range(20_000)
    ]
    async with moving() as (client, _):
        result = await call(client, REPLACE, content=json.dumps(content))
    assert len(result.model_dump_json()) < 100_000
    assert "'kind 0'" in result.structured_content["repairs"][0]
    assert len(result.structured_content["repairs"]) < 200


async def test_a_busy_session_keeps_its_history_and_its_turn(moving, folder):
    """Issue 5: `replace_history` is refused while busy."""
    held = Held("half")
    async with moving(said("1"), held) as (client, _):
        await told(client, "talk", content="one")
        await told(client, EXPORT, file_path="a")
        turn = await told(client, "talk", content="two", timeout_ms=0)
        await held.reached.wait()
        for source in ({"content": LEARNT}, {"file_path": "a"}, {"revision": 1}):
            error = await refused(client, REPLACE, **source)
            assert (error["code"], error["retryable"]) == ("busy", True)
            assert error["details"]["turn_id"] == turn["turn_id"]
        held.let_go.set()
        assert (await told(client, "wait_for_reply"))["reply"] == "halfdone"
        assert await kept(client) == says("one", "1", "two", "halfdone")


async def test_a_former_history_comes_back_by_its_revision(moving):
    """Issue 5: `replace_history` keeps the former history restorable by revision."""
    async with moving(said("1"), said("2")) as (client, _):
        await told(client, "talk", content="one")
        second = await told(client, REPLACE, content=says("other"))
        assert second["revision"] == 2
        third = await told(client, REPLACE, revision=1)
        assert third == {"chat_session": "default", "message_count": 2, "revision": 3}
        assert await kept(client) == says("one", "1")
        await told(client, "talk", content="two")
        fourth = await told(client, REPLACE, revision=2)
        assert (await kept(client), fourth["revision"]) == (says("other"), 4)
        await told(client, REPLACE, revision=3)
        assert await kept(client) == says("one", "1", "two", "2")
        error = await refused(client, REPLACE, chat_session="nobody", revision=1)
        assert error["code"] == "not_found"


async def test_a_new_session_takes_the_choices_of_the_file_and_an_old_one_keeps_its_own(moving):
    """Issue 5: Our format: session choices."""
    async with moving(said("1"), said("2"), said("3"), said("4")) as (client, _):
        chosen = {"model": "other", "prompt": "coder", "chara_card": "pirate"}
        await told(client, "talk", content="one", chat_session="first", **chosen)
        await told(client, EXPORT, chat_session="first", file_path="a")
        await told(client, "talk", content="hi", chat_session="old", model="hasty")
        for session in ("new", "old"):
            await told(client, REPLACE, chat_session=session, file_path="a")
            assert await kept(client, session) == says("one", "1")
        new = await told(client, "talk", content="two", chat_session="new")
        old = await told(client, "talk", content="two", chat_session="old")
    assert new["effective"] == {"model": "other", "prompt": "coder", "card": "pirate"}
    assert old["effective"] == {"model": "hasty"}


async def test_what_get_history_shows_can_be_handed_back(moving):
    async with moving(said("1")) as (client, _):
        await told(client, REPLACE, content=LEARNT)
        await told(client, "talk", content="one")
        page = await told(client, "get_history")
        for content in (page["messages"], page):
            done = await told(client, REPLACE, chat_session="new", content=content)
            assert (done["message_count"], done["repairs"]) == (6, [])
            assert (await told(client, "get_history", chat_session="new"))["messages"] == page["messages"]


async def test_a_message_that_was_cut_is_not_taken_for_the_whole(moving):
    async with moving() as (client, _):
        await told(client, REPLACE, content=says("x" * 2_000_000))
        page = await told(client, "get_history")
        error = await refused(client, REPLACE, chat_session="new", content=page["messages"])
    assert error["code"] == "import_invalid"
    assert "was cut when it was read" in error["message"]


@pytest.mark.parametrize("content", [[], "[]", {"messages": []}])
async def test_an_empty_list_empties_the_session(moving, content):
    async with moving(said("1"), said("2")) as (client, model):
        await told(client, "talk", content="one")
        done = await told(client, REPLACE, content=content)
        assert (done["message_count"], done["revision"]) == (0, 2)
        assert await kept(client) == []
        await told(client, "talk", content="two")
    assert model.requests[-1].messages == (user("two"),)


async def test_the_next_talk_sends_exactly_what_was_imported(moving):
    async with moving(said("3")) as (client, model):
        await told(client, REPLACE, content=LEARNT)
        await told(client, "talk", content="And now?")
    assert [*model.requests[0].messages] == [*map(decode, LEARNT), user("And now?")]


async def test_a_question_that_waits_is_gone_with_its_history(moving):
    async with moving(uses(asks("Which one?")), said("2")) as (client, model):
        asked = await told(client, "talk", content="paint")
        assert asked["status"] == "awaiting_input"
        await told(client, REPLACE, content=says("a", "b"))
        (row,) = await rows(client)
        assert (row["status"], row["message_count"]) == ("idle", 2)
        assert (await told(client, "talk", content="next"))["status"] == "completed"
    assert [message.text for message in model.requests[-1].messages] == ["a", "b", "next"]


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
async def test_an_import_follows_no_link(moving, folder, tmp_path):
    """Issue 5: no symlink escape."""
    (tmp_path / "secret").write_text(json.dumps(says("secret")), encoding="utf-8")
    (folder / "a").symlink_to(tmp_path / "secret")
    async with moving() as (client, _):
        assert (await refused(client, REPLACE, file_path="a"))["code"] == "path_denied"
