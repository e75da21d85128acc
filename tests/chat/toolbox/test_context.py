"""A session's own history: exported with the turn that runs, and replaced as it ends."""

import json

import pytest

from eai_mcp.chat.toolbox import context
from eai_mcp.errors import Unavailable
from eai_mcp.formats import Tally
from eai_mcp.messages import Message, ToolResultBlock, ToolUseBlock, assistant, failed_result, user
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import asks, history, replaced, texts, uses
from tests.chat.toolbox.using import folders, step, tried, use, using
from tests.fakes import said
from tests.formats.folders import read
from tests.store.taking import unpaired

EXPORT, REPLACE = "export_chat_session_context", "replace_chat_session_context"
SHORT = [user("in short"), assistant("we talked")]


def contexts(store, tmp_path):
    return lambda registry: context.tools(store, folders(tmp_path))


def filled(tmp_path, content, name="short.json", space=""):
    """A file to replace a history by."""
    with folders(tmp_path)(space).draft(name) as draft:
        draft.write(content if isinstance(content, bytes) else json.dumps(content).encode())


def plain(*said):
    return [{"role": role, "content": text} for role, text in said]


async def said_before(talking, *messages):
    """What the session begins with."""
    await replaced(talking.registry, "boss", messages or (user("a"), assistant("b")))


async def test_an_export_holds_the_turn_that_runs_and_can_be_read_again(catalog, tmp_path):
    """Issue 7: export_chat_session_context."""
    store, ask = SqliteStore(None), use(EXPORT, file_path="all.json")
    scripts = {"boss": [uses(ask), said("done")]}
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await said_before(talking)
        await talking.ask()
        told = talking.said()
        data = read(folders(tmp_path)(""), "all.json")
        path = str(tmp_path / "exports" / "own" / "all.json")
        assert (told["file_path"], told["size_bytes"], told["message_count"]) == (path, len(data), 5)
        with_turn = [user("a"), assistant("b"), user("go"), Message("assistant", (ask,))]
        source = folders(tmp_path)("")
        await talking.registry.archive.replace("", "copy", lambda: source.reading("all.json"), tally=Tally())
        results = Message("user", (failed_result(ask.id, context.NOT_YET),))
        assert await history(talking.registry, "copy") == [*with_turn, results]


async def test_an_export_takes_its_format_from_the_name_or_as_it_is_told(catalog, tmp_path):
    store = SqliteStore(None)
    scripts = {
        "boss": [
            step(EXPORT, file_path="talk.md"),
            step(EXPORT, file_path="talk.eai"),
            *tried(EXPORT, file_path="talk.txt", format="openai"),
        ]
    }
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await said_before(talking)
        await talking.ask()
        folder = folders(tmp_path)("")
        assert read(folder, "talk.md").startswith(b"#")
        assert read(folder, "talk.eai").startswith(b"\x1f\x8b")
        assert json.loads(read(folder, "talk.txt"))[0] == {"role": "user", "content": "a"}


async def test_an_export_behind_a_replacement_holds_what_is_put_in_place(catalog, tmp_path):
    store = SqliteStore(None)
    filled(tmp_path, plain(("user", "in short"), ("assistant", "we talked")))
    scripts = {"boss": [step(REPLACE, file_path="short.json"), *tried(EXPORT, file_path="new.jsonl")]}
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await said_before(talking)
        await talking.ask()
        lines = [json.loads(line) for line in read(folders(tmp_path)(""), "new.jsonl").splitlines()]
    texts = [line["content"][0].get("text") for line in lines]
    assert texts[:3] == ["in short", "we talked", "go"]


async def test_a_replacement_holds_although_the_session_is_busy_from_the_next_turn_on(catalog, tmp_path):
    """Issue 7: "applied to the turn's own history as it settles"."""
    store, ask = SqliteStore(None), use(REPLACE, file_path="short.json")
    filled(tmp_path, plain(("user", "in short"), ("assistant", "we talked")))
    scripts = {"boss": [uses(ask), said("done"), said("next")]}
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await said_before(talking, user("long"), assistant("story"))
        before = (await talking.registry.session("", "boss")).revision
        await talking.ask()
        assert talking.said() == {"message_count": 2, "applied": "as this turn ends"}
        await talking.ask("more")
        shown = talking.voices["boss"].requests[-1].messages
        assert [one.text for one in shown[:3]] == ["in short", "we talked", "go"]
        assert [type(one.content[0]) for one in shown[3:5]] == [ToolUseBlock, ToolResultBlock]
        assert [one.text for one in shown[5:]] == ["done", "more"]
        assert unpaired(shown) == []
        assert (await talking.registry.session("", "boss")).revision == before + 1
        earlier = await store.load("", "boss", revision=before)
        assert [entry.message.text for entry in earlier] == ["long", "story"]


async def test_a_replacement_holds_with_a_question_in_between(catalog, tmp_path):
    """Issue 7: replace_chat_session_context, and ask_user."""
    store = SqliteStore(None)
    filled(tmp_path, plain(("user", "in short"), ("assistant", "we talked")))
    scripts = {
        "boss": [step(REPLACE, file_path="short.json"), uses(asks("sure?")), said("done"), said("next")]
    }
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await said_before(talking)
        assert (await talking.ask()).status == "awaiting_input"
        assert await history(talking.registry, "boss") == SHORT
        assert (await talking.ask("yes")).reply == "done"
        kept = await history(talking.registry, "boss")
        assert [one.text for one in kept[:3]] == ["in short", "we talked", "go"]
        assert unpaired(kept) == []
        await talking.ask("more")
        assert [*talking.voices["boss"].requests[-1].messages] == [*kept, user("more")]


async def test_a_turn_that_fails_behind_it_keeps_its_steps_and_the_replacement(catalog, tmp_path):
    store = SqliteStore(None)
    filled(tmp_path, [])
    scripts = {"boss": [step(REPLACE, file_path="short.json"), Unavailable("503"), said("next")]}
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await said_before(talking)
        turn = await talking.begin()
        await turn.done.wait()
        assert (await texts(talking.registry, "boss"))[0] == "go"
        assert unpaired(await history(talking.registry, "boss")) == []


async def test_what_cannot_be_read_changes_nothing_and_says_why(catalog, tmp_path):
    store = SqliteStore(None)
    filled(tmp_path, b"{", "bad.json")
    filled(tmp_path, plain(("user", "a")), "theirs.json", space="theirs")
    files = ("bad.json", "none.json", "../theirs/theirs.json", "/etc/passwd")
    scripts = {"boss": [*[step(REPLACE, file_path=path) for path in files], said("done")]}
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await said_before(talking)
        await talking.ask()
        codes = [talking.refused(request=number).partition(":")[0] for number in (1, 2, 3, 4)]
        assert codes == ["import_invalid", "not_found", "path_denied", "path_denied"]
        assert (await texts(talking.registry, "boss"))[:3] == ["a", "b", "go"]


async def test_a_history_that_is_too_long_to_hold_is_left_to_another_tool(catalog, tmp_path):
    store = SqliteStore(None)
    filled(
        tmp_path, b'{"role":"user","content":"a"}\n{"role":"assistant","content":"b"}\n' * 2501, "many.jsonl"
    )
    filled(tmp_path, plain(("user", "x" * context.MOST_BYTES), ("assistant", "b")), "large.json")
    scripts = {"boss": [step(REPLACE, file_path="many.jsonl"), *tried(REPLACE, file_path="large.json")]}
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await talking.ask()
        for request, limit in ((1, "5,000 messages"), (2, "16,777,216 bytes")):
            told = talking.refused(request=request)
            assert told.startswith("limit_exceeded")
            assert limit in told
            assert "replace_history takes more" in told


async def test_what_was_mended_is_told(catalog, tmp_path):
    store, lone = (
        SqliteStore(None),
        {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    )
    filled(tmp_path, [*plain(("user", "a")), {"role": "assistant", "content": "b", "tool_calls": [lone]}])
    async with using(
        catalog, contexts(store, tmp_path), {"boss": tried(REPLACE, file_path="short.json")}, store=store
    ) as talking:
        await talking.ask()
        assert talking.said()["repairs"]
        assert unpaired(await history(talking.registry, "boss")) == []


@pytest.mark.parametrize("name", ["h.json", "h.jsonl"])
async def test_an_export_that_is_put_back_in_its_own_turn_doubles_nothing(catalog, tmp_path, name):
    export = step("export_chat_session_context", file_path=name)
    back = step("replace_chat_session_context", file_path=name)
    scripts = {"boss": [said("one"), export, back, said("done"), said("next")]}
    store = SqliteStore(None)
    async with using(catalog, contexts(store, tmp_path), scripts, store=store) as talking:
        await talking.ask("first")
        await talking.ask("second")
        kept = [entry.message for entry in await talking.registry.history("", "boss", limit=None)]
        assert [one.text for one in kept if one.role == "user" and one.text] == ["first", "second"]
        ids = [block.id for one in kept for block in one.content if isinstance(block, ToolUseBlock)]
        assert len(ids) == len(set(ids)) == 2
        assert unpaired(kept) == []
