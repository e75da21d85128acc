"""Histories written to files and into answers, as a client sees it."""

import gzip
import hashlib
import json
import os
import stat
from typing import get_args

import pytest

from eai_mcp.formats import Written
from tests.fakes import Held, said
from tests.server.calling import call, refused
from tests.server.learnt import LEARNT, says, told

WRITTEN = get_args(Written)
EXPORT = "export_chat_session_context"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "exports"


@pytest.fixture
def moving(connected, folder):
    """The same as `connected`, with a folder for exports."""
    return lambda *steps, **fields: connected(*steps, exports=folder, **fields)


def content_of(path):
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


async def whole(client, **arguments):
    """All parts of an inline export, checked to be parts of one text."""
    parts, offset = [], 0
    while True:
        part = await told(client, EXPORT, offset=offset, **arguments)
        parts.append(part)
        if "next_offset" not in part:
            break
        offset = part["next_offset"]
    text = "".join(part["content"] for part in parts)
    assert {part["sha256"] for part in parts} == {hashlib.sha256(text.encode()).hexdigest()}
    assert {part["size_bytes"] for part in parts} == {len(text.encode())}
    return text, parts


async def test_an_export_is_a_file_and_the_answer_tells_all_about_it(moving, folder):
    """Issue 5: To a file (atomic, size and count and sha256 returned)."""
    async with moving(said("Tokyo.")) as (client, _):
        await told(client, "talk", content="Capital of Japan?", chat_session="geo")
        result = await call(client, EXPORT, chat_session="geo", file_path="geo.json.gz")
    path = folder / "geo.json.gz"
    data = path.read_bytes()
    assert result.structured_content == {
        "chat_session": "geo",
        "format": "eai-mcp",
        "file_path": str(path),
        "size_bytes": len(data),
        "message_count": 2,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert json.loads(result.content[0].text) == result.structured_content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == ["geo.json.gz"]
    inside = json.loads(gzip.decompress(data))
    assert (inside["format"], inside["version"], inside["message_count"]) == ("eai-mcp", 1, 2)
    assert [m["content"][0]["text"] for m in inside["messages"]] == ["Capital of Japan?", "Tokyo."]


@pytest.mark.parametrize("form", WRITTEN)
async def test_each_format_is_the_same_in_a_file_and_in_the_answer(moving, folder, form):
    """Issue 5: Export to: ours, `converse`, `openai`, `openai-responses` items, `anthropic`, `markdown` (a
    transcript for people), JSONL. To a file or inline.
    """
    async with moving() as (client, _):
        await told(client, "replace_history", content=LEARNT)
        done = await told(client, EXPORT, file_path=f"deep/er/{form}.x", format=form)
        text, parts = await whole(client, format=form)
    data = (folder / "deep" / "er" / f"{form}.x").read_bytes()
    assert (done["format"], done["message_count"]) == (form, 4)
    assert [(part["format"], part["message_count"]) for part in parts] == [(form, 4)]
    assert data.startswith(b"\x1f\x8b") == (form == "eai-mcp")
    assert content_of(folder / "deep" / "er" / f"{form}.x") == text.encode()
    assert "A d" in text


@pytest.mark.parametrize(
    ("name", "form", "is_packed"),
    [
        ("a", "eai-mcp", True),
        ("a.json", "eai-mcp", False),
        ("a.json.gz", "eai-mcp", True),
        ("a.md", "markdown", False),
        ("a.Markdown", "markdown", False),
        ("a.jsonl", "jsonl", False),
        ("a.jsonl.gz", "jsonl", True),
        ("A.MD.GZ", "markdown", True),
    ],
)
async def test_the_name_of_the_file_chooses_the_format_unless_it_is_named(
    moving, folder, name, form, is_packed
):
    async with moving() as (client, _):
        await told(client, "replace_history", content=says("hello"))
        assert (await told(client, EXPORT, file_path=name))["format"] == form
        assert (folder / name).read_bytes().startswith(b"\x1f\x8b") == is_packed
        named = await told(client, EXPORT, file_path=name, format="openai")
        assert named["format"] == "openai"
    assert json.loads(content_of(folder / name)) == [{"role": "user", "content": "hello"}]


async def test_the_same_history_always_gives_the_same_bytes(moving, folder):
    """Issue 5: reproducible bytes (same history, same bytes)."""
    async with moving() as (client, _):
        await told(client, "replace_history", content=LEARNT)
        first = [await told(client, EXPORT, file_path=f"1.{form}", format=form) for form in WRITTEN]
        again = [await told(client, EXPORT, file_path=f"2.{form}", format=form) for form in WRITTEN]
    assert [each["sha256"] for each in first] == [each["sha256"] for each in again]
    for form in WRITTEN:
        assert (folder / f"1.{form}").read_bytes() == (folder / f"2.{form}").read_bytes()


async def test_a_former_export_of_that_name_is_written_over(moving, folder):
    async with moving() as (client, _):
        await told(client, "replace_history", content=says("one"))
        await told(client, EXPORT, file_path="a.md")
        (folder / "a.md").chmod(0o644)
        await told(client, "replace_history", content=says("two"))
        done = await told(client, EXPORT, file_path=str(folder / "a.md"))
    text = (folder / "a.md").read_text(encoding="utf-8")
    assert ("one" in text, "two" in text) == (False, True)
    assert stat.S_IMODE((folder / "a.md").stat().st_mode) == 0o600
    assert done["size_bytes"] == len(text.encode())
    assert [each.name for each in folder.iterdir()] == ["a.md"]


async def test_a_session_that_there_is_not_leaves_no_file(moving, folder):
    async with moving() as (client, _):
        for place in ({}, {"file_path": "a.json"}):
            error = await refused(client, EXPORT, chat_session="nobody", **place)
            assert (error["code"], error["details"]["name"]) == ("not_found", "nobody")
        assert (await refused(client, EXPORT, chat_session="a/b"))["code"] == "invalid_argument"
        assert [row["name"] for row in (await told(client, "list_sessions"))["sessions"]] == ["default"]
    assert not folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")
@pytest.mark.parametrize(
    "path",
    [
        "../out",
        "a/../../out",
        "..",
        "/etc/out",
        "link",
        "linked/out",
        "pipe",
        "/dev/null",
        "there",
        "",
        "a\0b",
    ],
)
async def test_no_path_leads_out_of_the_folder_for_exports(moving, folder, tmp_path, path):
    """Issue 5: paths confined to the export root (no `..`, no symlink escape, no device files)."""
    (folder / "there").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "secret").write_text("[]", encoding="utf-8")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "pipe")
    async with moving() as (client, _):
        for tool in (EXPORT, "snapshot", "replace_history", "restore"):
            error = await refused(client, tool, file_path=path)
            assert error["code"] == "path_denied", tool
            assert str(folder) in error["message"]
    assert (tmp_path / "secret").read_text(encoding="utf-8") == "[]"
    assert [*(tmp_path / "outside").iterdir()] == []
    assert sorted(each.name for each in folder.iterdir()) == ["link", "linked", "pipe", "there"]


async def test_a_format_that_cannot_be_written_is_told_with_those_that_can(moving, folder):
    async with moving() as (client, _):
        error = await refused(client, EXPORT, format="word", file_path="a")
        assert (await refused(client, EXPORT, format="eai"))["code"] == "invalid_argument"
    assert error["code"] == "invalid_argument"
    assert all(repr(form) in error["message"] for form in WRITTEN)
    assert not folder.exists()


async def test_a_file_is_written_whole_and_takes_no_offset(moving, folder):
    async with moving() as (client, _):
        error = await refused(client, EXPORT, file_path="a", offset=1)
    assert (error["code"], error["details"]["field"]) == ("invalid_argument", "offset")
    assert not folder.exists()


async def test_an_answer_has_the_export_and_a_link_to_all_of_it(moving):
    """Issue 5: inline (paged under clients' size limits, with a resource link)."""
    async with moving(said("Tokyo.")) as (client, _):
        await told(client, "talk", content="Capital of Japan?", chat_session="geo@1")
        result = await call(client, EXPORT, chat_session="geo@1")
        text, handle, link = result.content
        (ours, transcript) = (await client.read_resource(link.uri)).contents
    structured = result.structured_content
    assert json.loads(structured["content"])["message_count"] == 2
    assert text.text == structured["content"] == ours.text
    assert json.loads(handle.text) == {k: v for k, v in structured.items() if k != "content"}
    assert (link.type, link.name, link.mime_type) == ("resource_link", "geo@1", "application/json")
    assert transcript.text.startswith("# geo@1\n")


@pytest.mark.parametrize("form", ["eai-mcp", "markdown"])
async def test_an_answer_has_no_link_to_what_is_too_long_to_be_read_there(moving, form):
    """Issue 5: inline (paged under clients' size limits, with a resource link)."""
    image = [{"type": "image", "media_type": "image/png", "data": "QUJD" * 1_000_000}]
    async with moving() as (client, _):
        await told(client, "replace_history", content=[{"role": "user", "content": image}])
        result = await call(client, EXPORT, format=form)
    assert [one.type for one in result.content] == ["text", "text"]


@pytest.mark.parametrize("form", ["eai-mcp", "openai"])
async def test_a_long_export_comes_in_parts_that_joined_are_the_whole(moving, folder, form):
    """Issue 5: inline (paged under clients' size limits)."""
    history = says(*(f"{number} " + "naïve 🙂 " * 2_000 for number in range(20)))
    async with moving() as (client, _):
        await told(client, "replace_history", content=history)
        text, parts = await whole(client, format=form)
        await told(client, EXPORT, file_path="a", format=form)
        past_the_end = await told(client, EXPORT, format=form, offset=10**9)
    assert len(parts) > 3
    assert content_of(folder / "a") == text.encode()
    assert (past_the_end["content"], "next_offset" in past_the_end) == ("", False)
    assert past_the_end["sha256"] == parts[0]["sha256"]


async def test_no_answer_is_above_the_limit_of_a_message(moving):
    """DESIGN section 5: no message above 8 MiB on the wire."""
    async with moving() as (client, _):
        await told(client, "replace_history", content=says("\\" * 9_000_000))
        result = await call(client, EXPORT)
        assert len(result.model_dump_json()) < 8 * 1024 * 1024
        assert result.structured_content["next_offset"] < 1024 * 1024
        assert result.structured_content["size_bytes"] > 18_000_000


async def test_a_turn_that_runs_is_not_in_an_export_yet(moving):
    held = Held("half")
    async with moving(said("1"), held) as (client, _):
        await told(client, "talk", content="one")
        before = await told(client, EXPORT)
        await told(client, "talk", content="two", timeout_ms=0)
        await held.reached.wait()
        assert (await told(client, EXPORT))["message_count"] == before["message_count"] == 2
