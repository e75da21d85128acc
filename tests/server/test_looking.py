"""The tools that look at sessions and the catalog, as a client sees them."""

import json

import pytest

from tests.fakes import Held, said
from tests.server.calling import call


async def test_sessions_are_listed_in_pages(connected):
    async with connected(said("1"), said("2")) as (client, _):
        await call(client, "talk", content="hi", chat_session="b", model="other")
        await call(client, "talk", content="hi", chat_session="a")
        first = (await call(client, "list_sessions", limit=2)).structured_content
        rest = (await call(client, "list_sessions", cursor=first["next_cursor"])).structured_content

    assert [row["name"] for row in first["sessions"]] == ["a", "b"]
    row = first["sessions"][1]
    assert (row["message_count"], row["status"], row["model"], row["usage"]["output"]) == (
        2,
        "idle",
        "other",
        3,
    )
    assert [row["name"] for row in rest["sessions"]] == ["default"]
    assert "next_cursor" not in rest


async def test_a_busy_session_shows_its_turn(connected):
    async with connected(Held()) as (client, _):
        turn = (await call(client, "talk", content="hi", timeout_ms=0)).structured_content
        row = (await call(client, "list_sessions")).structured_content["sessions"][0]
    assert (row["status"], row["turn_id"]) == ("busy", turn["turn_id"])


async def test_history_is_read_in_pages(connected):
    async with connected(said("1"), said("2")) as (client, _):
        await call(client, "talk", content="a")
        await call(client, "talk", content="b")
        first = (await call(client, "get_history", limit=3)).structured_content
        rest = (await call(client, "get_history", after=first["next_after"])).structured_content

    assert first["message_count"] == 4
    assert [message["content"] for message in first["messages"]] == [
        [{"type": "text", "text": "a"}],
        [{"type": "text", "text": "1"}],
        [{"type": "text", "text": "b"}],
    ]
    assert [(m["seq"], m["role"], m["content"][0]["text"]) for m in rest["messages"]] == [
        (4, "assistant", "2")
    ]
    assert "next_after" not in rest


async def test_a_reply_above_the_limit_of_clients_is_cut_and_read_on(connected):
    long = "é" * 1_500_000
    async with connected(said(long)) as (client, _):
        result = await call(client, "talk", content="hi")
        structured = result.structured_content
        assert structured["reply"] == result.content[0].text == long[: len(structured["reply"])]
        assert len(structured["reply"]) < len(long)
        assert "get_history(offset=" in structured["warnings"][0]

        read, offset = "", 0
        while len(read) < len(long):
            page = (await call(client, "get_history", after=1, offset=offset)).structured_content
            text = page["messages"][0]["content"][0]["text"]
            assert text
            read, offset = read + text, offset + len(text)
    assert read == long


@pytest.mark.parametrize(("kind", "names"), [
    ("models", ["plain", "other", "hasty"]), ("prompts", ["analyst", "coder"]), ("cards", ["clerk", "pirate"])
])  # fmt: skip
async def test_the_catalog_is_listed_and_what_can_be_used_comes_first(connected, tmp_path, kind, names):
    hasty = 'provider = "openai_chat"\nmodel = "hasty-1"\napi_key_env = "NO_SUCH_KEY"\n'
    (tmp_path / "models" / "hasty.toml").write_text(hasty, encoding="utf-8")
    async with connected() as (client, _):
        told = (await call(client, "list_catalog", kind=kind)).structured_content
        some = (await call(client, "list_catalog", kind=kind, filter=names[0].upper())).structured_content
    assert [entry["name"] for entry in told["entries"]] == names
    assert names[0] in [entry["name"] for entry in some["entries"]]
    assert "problems" not in told


async def test_a_cards_description_names_those_whom_the_card_leaves_open(connected):
    async with connected() as (client, _):
        told = (await call(client, "list_catalog", kind="cards", filter="pirate")).structured_content
    assert told["entries"][0]["description"] == "Pirate sails with the user."


async def test_a_card_is_ready_when_what_it_names_is(connected, tmp_path):
    """DESIGN section 5: what each needs and whether it is ready."""
    other = 'provider = "openai_chat"\nmodel = "other-1"\napi_key_env = "NO_SUCH_KEY"\n'
    (tmp_path / "models" / "other.toml").write_text(other, encoding="utf-8")
    lost = {"name": "Lost", "extensions": {"eai": {"prompt": "nowhere"}}}
    (tmp_path / "cards" / "lost.json").write_text(json.dumps(lost), encoding="utf-8")
    async with connected() as (client, _):
        told = (await call(client, "list_catalog", kind="cards")).structured_content
    assert {entry["name"]: (entry["ready"], entry.get("needs", "")[:29]) for entry in told["entries"]} == {
        "clerk": (False, "NO_SUCH_KEY is not set"),
        "lost": (False, "no prompt named 'nowhere'; ne"),
        "pirate": (True, ""),
    }


async def test_a_bad_catalog_file_is_reported_and_the_rest_stays(connected, tmp_path):
    """Issue 2: one bad file reported and skipped."""
    (tmp_path / "models" / "broken.toml").write_text("model = 5", encoding="utf-8")
    async with connected() as (client, _):
        told = (await call(client, "list_catalog", kind="models")).structured_content
    assert [entry["name"] for entry in told["entries"]] == ["plain", "hasty", "other"]
    assert len(told["problems"]) == 1
    assert "broken.toml" in told["problems"][0]
