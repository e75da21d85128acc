import json
from itertools import count

import pytest

from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Book, Card, Keys, Lore

DATA = {
    "name": "Sailor",
    "description": "{{char}} meets {{user}}.",
    "personality": "salty",
    "scenario": "a ship",
    "first_mes": "Ahoy.",
    "mes_example": "<START>",
    "creator_notes": "notes",
    "system_prompt": "{{original}} Be salty.",
    "post_history_instructions": "Arr.",
    "alternate_greetings": ["Oi.", ""],
    "tags": ["sea"],
    "nickname": "Salt",
    "character_book": {"entries": [{"keys": ["x"], "content": "y"}]},
    "creator": "somebody",
    "character_version": "1.2",
    "extensions": {
        "other": {"depth": 1},
        "eai": {"model": "deepseek", "prompt": "coder", "tools": ["execute_script"], "pre_context": "QUJD"},
    },
}
WHOLE = Card(
    name="x",
    title="Sailor",
    description="{{char}} meets {{user}}.",
    personality="salty",
    scenario="a ship",
    first_message="Ahoy.",
    example_messages="<START>",
    creator_notes="notes",
    system_prompt="{{original}} Be salty.",
    post_history_instructions="Arr.",
    alternate_greetings=("Oi.",),
    tags=("sea",),
    creator="somebody",
    version="1.2",
    nickname="Salt",
    book=Book(entries=(Lore(content="y", keys=Keys(("x",))),)),
    model="deepseek",
    prompt="coder",
    tools=("execute_script",),
    pre_context="QUJD",
)


def catalog_of(tmp_path, content):
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "x.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return Catalog(cards=(folder,))


@pytest.mark.parametrize(
    "content",
    [
        {"spec": "chara_card_v2", "spec_version": "2.0", "data": DATA},
        {"spec": "chara_card_v3", "spec_version": "3.0", "data": DATA, "name": "beside"},
        {"data": DATA},
        DATA,
    ],
    ids=["V2", "V3", "no spec", "flat"],
)
def test_each_generation_of_cards_is_read_whole(tmp_path, content):
    catalog = catalog_of(tmp_path, content)

    assert catalog.problems() == ()
    assert catalog.card("x") == WHOLE


def test_null_and_empty_fields_are_as_good_as_absent_ones(tmp_path):
    silent = dict.fromkeys(DATA) | {"name": "Sailor", "nickname": "", "extensions": {"eai": {"model": None}}}
    catalog = catalog_of(tmp_path, {"spec": "chara_card_v2", "data": silent})

    assert catalog.card("x") == Card(name="x", title="Sailor")


def test_an_empty_list_of_tools_forbids_them_all(tmp_path):
    catalog = catalog_of(tmp_path, {"name": "Sailor", "extensions": {"eai": {"tools": []}}})

    assert catalog.card("x").tools == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "must be a JSON object"),
        (b"{", "is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'{"name": "\\ud800"}', "is not JSON that can be read: half of a surrogate pair"),
        (
            b'{"a": %s}' % (b"9" * 5000),
            "is not JSON that can be read: a number too long, or brackets too deep",
        ),
        (b"[" * 100_000, "is not JSON that can be read: a number too long, or brackets too deep"),
        (b"\xfe\xff", "is not UTF-8 text: byte 0"),
        ({}, "name: is missing"),
        ({"name": " "}, "name: must not be empty"),
        ({"name": "x" * 201}, "name: must have at most 200 characters, not 201"),
        ({"spec": "chara_card_v2"}, "data.name: is missing"),
        ({"spec": "chara_card_v2", "data": {}}, "data.name: is missing"),
        (
            {"spec": "chara_card_v9", "data": DATA},
            "spec: must be one of chara_card_v2, chara_card_v3, not 'chara_card_v9'",
        ),
        ({"data": {"name": "S", "description": 5}}, "data.description: must be text, not 5"),
        ({"data": {"name": "S", "tags": "sea"}}, "data.tags: must be a list, not 'sea'"),
        ({"data": {"name": "S", "tags": [1]}}, "data.tags.0: must be text, not 1"),
        ({"data": {"name": "S", "character_book": []}}, "data.character_book: must be a table, not a list"),
        (
            {"data": {"name": "S", "nickname": "x" * 201}},
            "data.nickname: must have at most 200 characters, not 201",
        ),
        (
            {"data": {"name": "S", "creator_notes_multilingual": {"en": 1}}},
            "data.creator_notes_multilingual.en: must be text, not 1",
        ),
        ({"data": {"name": "S", "extensions": 1}}, "data.extensions: must be a table, not 1"),
        (
            {"name": "S", "extensions": {"eai": {"model": "a b"}}},
            "extensions.eai.model: must be a model's name, not 'a b'",
        ),
        (
            {"name": "S", "extensions": {"eai": {"prompt": 1}}},
            "extensions.eai.prompt: must be a prompt's name, not 1",
        ),
        (
            {"name": "S", "extensions": {"eai": {"tools": ["rm -rf"]}}},
            "extensions.eai.tools.0: must be a tool's name, not 'rm -rf'",
        ),
        (
            {"name": "S", "extensions": {"eai": {"pre_context": "ä"}}},
            "extensions.eai.pre_context: must be base64 of a session's export",
        ),
        (
            {"name": "S", "extensions": {"eai": {"tool": []}}},
            "extensions.eai.tool: is not a known field; did you mean tools?",
        ),
    ],
    ids=count(1),
)
def test_a_file_that_is_no_card_is_reported(tmp_path, content, said):
    catalog = catalog_of(tmp_path, content)

    assert catalog.cards() == ()
    assert [str(problem) for problem in catalog.problems()] == [f"{tmp_path}/cards/x.json: {said}"]
