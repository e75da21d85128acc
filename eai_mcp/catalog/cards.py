"""Card files: Character Card V2 and V3 as JSON, in a picture or packed with others, and the flat V1.

A card comes from anywhere: fields we do not know are left alone, save in `extensions.eai`, which is ours.
Macros stay as they are; nothing in a card is opened or run. V3 says that it drops fields of V2 that its own
interface lists, and that cards of V3 are full of: they are read.
"""

import base64
import binascii
import re
from typing import Final

from eai_mcp.catalog import card_book, card_png, card_zip, parse
from eai_mcp.catalog.entries import Book, Card
from eai_mcp.catalog.fields import NAME, Fields, Note
from eai_mcp.catalog.shelf import LARGEST

SPECS: Final = ("chara_card_v2", "chara_card_v3")
_ANY = re.compile(r".*", re.DOTALL)
_TOOL = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def read_json_card(name: str, content: bytes, note: Note) -> Card | None:
    """The card that a JSON file holds."""
    source = parse.text(content, note)
    fields = None if source is None else parse.json(source, note)
    return None if fields is None else card(name, fields)


def read_png_card(name: str, content: bytes, note: Note) -> Card | None:
    """The card that a PNG picture carries."""
    found = card_png.card_json(content, note, largest=LARGEST)
    return None if found is None else read_json_card(name, found, note)


def read_packed_card(name: str, content: bytes, note: Note) -> Card | None:
    """The card in a CHARX file."""
    found = card_zip.card_json(content, note, largest=LARGEST)
    return None if found is None else read_json_card(name, found, note)


def card(name: str, fields: Fields) -> Card:
    """The card of that JSON, wherever it was found."""
    spec = fields.choice("spec", SPECS)
    data = fields.table("data") if spec or "data" in fields else fields
    eai = data.table("extensions").table("eai")

    def text(field: str) -> str:
        return data.text(field, longest=LARGEST) or ""

    made = Card(
        name=name,
        title=data.required("name", longest=200),
        description=text("description"),
        personality=text("personality"),
        scenario=text("scenario"),
        first_message=text("first_mes"),
        example_messages=text("mes_example"),
        creator_notes=data.table("creator_notes_multilingual").text("en", longest=LARGEST)
        or text("creator_notes"),
        system_prompt=text("system_prompt"),
        post_history_instructions=text("post_history_instructions"),
        alternate_greetings=_filled(data, "alternate_greetings"),
        tags=_filled(data, "tags"),
        creator=text("creator"),
        version=text("character_version"),
        nickname=data.text("nickname", longest=200) or None,
        book=_book(data),
        model=eai.matching("model", NAME, "a model's name"),
        prompt=eai.matching("prompt", NAME, "a prompt's name"),
        tools=eai.texts("tools", _TOOL, "a tool's name", most=64),
        pre_context=_base64(eai, "pre_context"),
        turn_limit_s=eai.number("turn_limit_s", 1, 86_400),
    )
    eai.finish()
    return made


def _book(data: Fields) -> Book | None:
    table = data.table("character_book")
    return card_book.book(table) if "character_book" in data else None


def _filled(data: Fields, name: str) -> tuple[str, ...]:
    return tuple(text for text in data.texts(name, _ANY, "text", most=1000) or () if text)


def _base64(fields: Fields, name: str) -> str | None:
    value = fields.text(name, longest=LARGEST)
    try:
        base64.b64decode(value or "", validate=True)
    except (binascii.Error, ValueError):
        fields.refuse(name, "must be base64 of a session's export")
    return value or None
