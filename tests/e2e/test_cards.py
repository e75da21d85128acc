"""Cards at work in a server process: where their parts stand in what the model is shown."""

import base64
import json

import pytest

from tests.e2e.silent_provider import told

pytestmark = pytest.mark.timeout(60)
BOOK = {
    "scan_depth": 4,
    "entries": [
        {"keys": ["harbour"], "content": "The harbour is closed.", "enabled": True, "insertion_order": 1},
        {"keys": ["moon"], "content": "The moon is full.", "enabled": True, "insertion_order": 2},
    ],
}


def card(house, **fields):
    data = {"name": "Anna", "first_mes": "Ahoy.", "post_history_instructions": "Be brief.", **fields}
    content = {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
    (house.folder / "cards" / "anna.json").write_text(json.dumps(content), encoding="utf-8")


async def test_the_parts_of_a_card_stand_in_their_places(house):
    """Issue 7: "lorebook with keys, scan depth and budget, `post_history_instructions` in its place;
    `pre_context` applied once"."""
    before = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Anna."}]
    packed = base64.b64encode(json.dumps(before).encode()).decode()
    card(house, character_book=BOOK, extensions={"eai": {"pre_context": packed}})
    async with house.server() as wire:
        await told(wire, "talk", content="To the harbour!", model="echo", chara_card="anna")
        await told(wire, "talk", content="And now?", model="echo")
        first, second = (asked.messages for asked in house.provider.asked)
        assert [role for role, _ in first] == ["system", "user", "assistant", "user"]
        assert "The harbour is closed." in first[0][1]
        assert "The moon" not in first[0][1]
        assert "Ahoy." in first[0][1]
        assert first[1:3] == [("user", "Who?"), ("assistant", "Anna.")]
        assert first[3] == ("user", "To the harbour!\n\nBe brief.")
        assert [text for _, text in second[1:]] == [
            "Who?",
            "Anna.",
            "To the harbour!",
            "messages=4 last=To the harbour!\n\nBe brief.",
            "And now?\n\nBe brief.",
        ]


async def test_a_card_that_cannot_be_played_costs_no_turn(house):
    packed = base64.b64encode(b"no history").decode()
    card(house, extensions={"eai": {"pre_context": packed}})
    async with house.server() as wire:
        error = await wire.error("talk", content="hi", model="echo", chara_card="anna")
        assert error["code"] == "invalid_argument"
        assert "card 'anna': extensions.eai.pre_context cannot be used" in error["message"]
        assert (await told(wire, "talk", content="hi", model="echo"))["status"] == "completed"
        assert len(house.provider.asked) == 1
