"""Sessions, cards and the time, as the chat model sees them."""

import json
from datetime import UTC, datetime, timedelta, timezone

from eai_mcp.chat.toolbox import looking
from tests.chat.toolbox.using import tried, using
from tests.fakes import Held, said

NOON = datetime(2024, 6, 1, 12, 0, 0, tzinfo=timezone(timedelta(hours=2), "CEST"))


def everything(catalog):
    return lambda registry: looking.tools(registry, catalog, now=lambda: NOON)


async def test_sessions_are_listed_by_name_with_how_they_stand(catalog):
    """Issue 7: list_sessions."""
    held = Held()
    scripts = {"boss": tried("list_sessions"), "work": [held], "other": [said("hi")]}
    async with using(catalog, everything(catalog), scripts) as talking:
        await talking.begin(session="work", model="other")
        await held.reached.wait()
        await talking.ask(session="other", space="")
        await talking.ask()
        held.let_go.set()
        rows = talking.said()["sessions"]
    assert [(row["name"], row["status"], row["model"], row["message_count"]) for row in rows] == [
        ("boss", "busy", "plain", 0),
        ("default", "idle", "plain", 0),
        ("other", "idle", "plain", 2),
        ("work", "busy", "plain", 0),
    ]
    assert all(datetime.fromisoformat(row["updated_at"]).tzinfo == UTC for row in rows)


async def test_no_more_sessions_are_listed_than_asked_for_and_none_of_another_space(catalog):
    scripts = {
        "boss": tried("list_sessions", limit=1, prefix="b") * 2,
        "b2": [said("hi")],
        "secret": [said("hi")],
    }
    async with using(catalog, everything(catalog), scripts) as talking:
        await talking.ask(session="b2")
        await talking.ask(session="secret", space="theirs")
        await talking.ask()
        told = talking.said()
        await talking.ask(space="theirs")
        theirs = talking.said()
    assert ([row["name"] for row in told["sessions"]], told["more"]) == (["b2"], True)
    assert [row["name"] for row in theirs["sessions"]] == ["boss"]


async def test_cards_are_found_by_words_in_them(catalog):
    """Issue 7: list_cards."""
    scripts = {
        "boss": [
            *tried("list_cards"),
            *tried("list_cards", filter="SAILS"),
            *tried("list_cards", filter="x9"),
        ]
    }
    async with using(catalog, everything(catalog), scripts) as talking:
        await talking.ask()
        assert talking.said() == {
            "count": 2,
            "cards": [
                {"name": "clerk", "title": "Clerk", "description": "A clerk.", "model": "other"},
                {"name": "pirate", "title": "Pirate", "description": "{{char}} sails with {{user}}."},
            ],
        }
        await talking.ask()
        assert [card["name"] for card in talking.said()["cards"]] == ["pirate"]
        await talking.ask()
        assert talking.said() == {"count": 0, "cards": []}


async def test_a_card_is_shown_with_the_start_of_what_it_says_and_its_tools(catalog, tmp_path):
    data = {"name": "Sys", "description": "d" * 300, "extensions": {"eai": {"tools": ["list_cards"]}}}
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
    (tmp_path / "cards" / "sys.json").write_text(json.dumps(card), encoding="utf-8")
    async with using(catalog, everything(catalog), {"boss": tried("list_cards", filter="sys")}) as talking:
        await talking.ask()
        (shown,) = talking.said()["cards"]
        assert shown == {
            "name": "sys",
            "title": "Sys",
            "description": "d" * 199 + "…",
            "tools": ["list_cards"],
        }


async def test_the_time_is_told_here_and_in_utc(catalog):
    """Issue 7: get_local_time; facts, eai.md 5.1: it told UTC despite its name."""
    async with using(catalog, everything(catalog), {"boss": tried("get_local_time")}) as talking:
        await talking.ask()
        assert talking.said() == {
            "local": "2024-06-01T12:00:00+02:00",
            "utc": "2024-06-01T10:00:00+00:00",
            "timezone": "CEST",
        }


def test_the_time_of_this_machine_has_its_offset():
    assert looking.here().tzinfo is not None
