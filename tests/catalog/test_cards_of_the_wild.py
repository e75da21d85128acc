"""Cards as the published specifications describe them, and as they should not be."""

import base64
import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.catalog.cards import read_json_card
from eai_mcp.catalog.entries import Book, Card, Keys, Lore
from tests.catalog.packing import read

ENTRY_V2 = {
    "keys": ["Harbour", "dock"],
    "content": "The harbour silted up.",
    "extensions": {"other": 1},
    "enabled": True,
    "insertion_order": 10,
    "case_sensitive": False,
    "name": "harbour",
    "priority": 5,
    "id": 1,
    "comment": "for the sequel",
    "selective": True,
    "secondary_keys": ["ship"],
    "constant": False,
    "position": "before_char",
}
V2: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Sailor",
        "description": "{{char}} sails.",
        "personality": "salty",
        "scenario": "a ship",
        "first_mes": "Ahoy.",
        "mes_example": "<START>\n{{user}}: hi",
        "creator_notes": "notes",
        "system_prompt": "{{original}}",
        "post_history_instructions": "Arr.",
        "alternate_greetings": ["Oi."],
        "character_book": {
            "name": "sea",
            "description": "about the sea",
            "scan_depth": 6,
            "token_budget": 500,
            "recursive_scanning": True,
            "extensions": {},
            "entries": [ENTRY_V2],
        },
        "tags": ["sea"],
        "creator": "somebody",
        "character_version": "1.2",
        "extensions": {"other": {}, "eai": {"model": "echo", "turn_limit_s": 60}},
    },
}
V3: dict[str, Any] = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": V2["data"]
    | {
        "assets": [{"type": "icon", "uri": "https://example.invalid/x.png", "name": "main", "ext": "png"}],
        "nickname": "Salt",
        "creator_notes_multilingual": {"en": "English notes", "de": "Notizen"},
        "source": ["https://example.invalid/"],
        "group_only_greetings": ["Hello all."],
        "creation_date": 1_700_000_000,
        "modification_date": 0,
        "character_book": V2["data"]["character_book"]
        | {
            "entries": [
                ENTRY_V2,
                ENTRY_V2 | {"use_regex": True, "keys": ["/dra(gon|ke)/i"], "id": "b", "insertion_order": 2.5},
            ]
        },
    },
}
HARBOUR = Lore(
    content="The harbour silted up.",
    keys=Keys(("harbour", "dock")),
    also=(Keys(("ship",)),),
    place="before_char",
    priority=5.0,
)
DRAGON = Lore(
    content="The harbour silted up.",
    keys=Keys((), ("(?i)dra(gon|ke)",)),
    also=(Keys(("ship",)),),
    place="before_char",
    priority=5.0,
)
SAILOR = Card(
    name="x",
    title="Sailor",
    description="{{char}} sails.",
    personality="salty",
    scenario="a ship",
    first_message="Ahoy.",
    example_messages="<START>\n{{user}}: hi",
    creator_notes="notes",
    system_prompt="{{original}}",
    post_history_instructions="Arr.",
    alternate_greetings=("Oi.",),
    tags=("sea",),
    creator="somebody",
    version="1.2",
    book=Book(entries=(HARBOUR,), scan_depth=6, token_budget=500, is_recursive=True),
    model="echo",
    turn_limit_s=60.0,
)
KEPT_OUT = {
    "assets", "source", "group_only_greetings", "creation_date", "modification_date",
}  # fmt: skip


def sailor_of_v3():
    told = {field.name: getattr(SAILOR, field.name) for field in fields(SAILOR)}
    book = Book(entries=(DRAGON, HARBOUR), scan_depth=6, token_budget=500, is_recursive=True)
    return Card(**told | {"nickname": "Salt", "creator_notes": "English notes", "book": book})


def test_every_field_of_v2_is_read():
    """Issue 7: generate V2 and V3 samples from the published specifications, every field."""
    assert read(read_json_card, json.dumps(V2).encode()) == (SAILOR, [])


def test_every_field_of_v3_is_read_save_those_that_no_model_reads():
    """Issue 7: generate V2 and V3 samples from the published specifications, every field."""
    assert read(read_json_card, json.dumps(V3).encode()) == (sailor_of_v3(), [])
    less = {name: value for name, value in V3["data"].items() if name not in KEPT_OUT}
    assert read(read_json_card, json.dumps(V3 | {"data": less}).encode())[0] == sailor_of_v3()


TEXT = st.text(max_size=20)
FILLED = st.text(min_size=1, max_size=20).filter(str.strip)
ANY = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT
TABLE = st.dictionaries(TEXT.filter(lambda name: name != "eai"), ANY, max_size=2)
ENTRY = st.fixed_dictionaries(
    {
        "keys": st.lists(TEXT, max_size=3),
        "content": TEXT | TEXT.map("@@depth 2\n@@@role user\n{}".format),
        "extensions": TABLE,
        "enabled": st.booleans(),
        "insertion_order": st.integers(-1000, 1000) | st.floats(-1000, 1000),
    },
    optional={
        "case_sensitive": st.booleans(),
        "name": TEXT,
        "priority": st.integers(-1000, 1000),
        "id": st.integers(0, 9) | TEXT,
        "comment": TEXT,
        "selective": st.booleans(),
        "secondary_keys": st.lists(TEXT, max_size=3),
        "constant": st.booleans(),
        "position": st.sampled_from(["before_char", "after_char"]),
        "use_regex": st.booleans(),
    },
)
BOOK = st.fixed_dictionaries(
    {"extensions": TABLE, "entries": st.lists(ENTRY, max_size=4)},
    optional={
        "name": TEXT,
        "description": TEXT,
        "scan_depth": st.integers(0, 1000),
        "token_budget": st.integers(0, 100_000),
        "recursive_scanning": st.booleans(),
    },
)
OF_V2 = {
    **dict.fromkeys(
        (
            "description", "personality", "scenario", "first_mes", "mes_example", "creator_notes",
            "system_prompt", "post_history_instructions", "creator", "character_version",
        ),
        TEXT,
    ),
    "name": FILLED,
    "alternate_greetings": st.lists(TEXT, max_size=2),
    "tags": st.lists(TEXT, max_size=2),
    "extensions": TABLE,
}  # fmt: skip
OF_V3 = OF_V2 | {"group_only_greetings": st.lists(TEXT, max_size=2)}
ONLY_V3 = {
    "assets": st.lists(
        st.fixed_dictionaries(dict.fromkeys(("type", "uri", "name", "ext"), TEXT)), max_size=2
    ),
    "nickname": TEXT,
    "creator_notes_multilingual": st.dictionaries(st.sampled_from(["en", "de", "ja"]), TEXT),
    "source": st.lists(TEXT, max_size=2),
    "creation_date": st.integers(0, 2**40),
    "modification_date": st.integers(0, 2**40),
}


def cards(version, needed, optional):
    data = st.fixed_dictionaries(needed, optional=optional | {"character_book": BOOK})
    spec = {"spec": st.just(f"chara_card_v{version}"), "spec_version": st.just(f"{version}.0")}
    return st.fixed_dictionaries(spec | {"data": data})


@given(cards(2, OF_V2, {}) | cards(3, OF_V3, ONLY_V3))
def test_whatever_the_specifications_allow_is_a_card(sample):
    """Issue 7: generate V2 and V3 samples from the published specifications, every field."""
    data = sample["data"]
    card, noted = read(read_json_card, json.dumps(sample).encode())
    assert noted == []
    assert card.title == data["name"]
    assert (card.description, card.scenario) == (data["description"], data["scenario"])
    assert card.alternate_greetings == tuple(filter(None, data["alternate_greetings"]))
    written = data.get("character_book", {}).get("entries", [])
    shown = [one for one in written if one["enabled"] and one["content"].strip()]
    kept = card.book.entries if card.book else ()
    assert len(kept) + (len(card.book.left_out) if card.book else 0) <= len(written)
    assert len(kept) <= len(shown)
    assert repr(card).encode()


@pytest.mark.parametrize(
    ("book", "said"),
    [
        ({"entries": [{}] * 5001}, ["entries: must have at most 5,000 items, not 5,001"]),
        ({"entries": {"0": {}}}, ["entries: must be a list, not a table"]),
        ({"entries": ["x"]}, ["entries.0: must be a table, not 'x'"]),
        ({"entries": [{"keys": ["k"] * 101}]}, ["entries.0.keys: must have at most 100 items, not 101"]),
        ({"entries": [{"keys": [1]}]}, ["entries.0.keys.0: must be text of at most 1,000 characters, not 1"]),
        ({"entries": [{"content": 1}]}, ["entries.0.content: must be text, not 1"]),
        ({"entries": [{"enabled": "yes"}]}, ["entries.0.enabled: must be true or false, not 'yes'"]),
        (
            {"entries": [{"insertion_order": "1"}]},
            [f"entries.0.insertion_order: must be a number from {-(10**15):,} to {10**15:,}, not '1'"],
        ),
        ({"scan_depth": -1}, ["scan_depth: must be a number from 0 to 1,000,000,000,000,000, not -1"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_type_in_a_book_spoils_the_card(book, said):
    card = json.dumps({"name": "S", "character_book": book}).encode()
    assert read(read_json_card, card)[1] == [f"character_book.{one}" for one in said]


@pytest.mark.parametrize(
    "text", ["\x00", "\u202e{{user}}", "\U0001f3f4" * 50, "e\u0301" * 50, "\ud7ff\ue000"]
)
def test_odd_unicode_is_text_like_any_other(text):
    """Issue 7: a hostile card (… odd Unicode …) is an error, not a hang."""
    card, noted = read(read_json_card, json.dumps({"name": text, "description": text}).encode())
    assert (card.title, card.description, noted) == (text, text, [])


def test_base64_in_a_card_is_checked_and_left_closed():
    closed = base64.b64encode(b"anything").decode()
    card, _ = read(
        read_json_card, json.dumps({"name": "S", "extensions": {"eai": {"pre_context": closed}}}).encode()
    )
    assert card.pre_context == closed
