"""Which files are cards. What reads one is imported with the first, since many servers never look at any."""

from typing import Final

from eai_mcp.catalog.entries import Card
from eai_mcp.catalog.fields import Note
from eai_mcp.catalog.shelf import LARGEST, Fault, Reader

LARGEST_PACKED: Final = 8 * LARGEST
"""Bytes of a card with its picture; the text alone is held to `LARGEST`."""
LARGEST_FILES: Final = {".png": LARGEST_PACKED, ".charx": LARGEST_PACKED}


def remarks(card: Card) -> tuple[Fault, ...]:
    """What of a card cannot be used; the rest of it can."""
    left_out = card.book.left_out if card.book else ()
    if not left_out:
        return ()
    more = f"; and {len(left_out) - 1:,} more" if len(left_out) > 1 else ""
    return (("character_book", left_out[0] + more),)


def _json(name: str, content: bytes, note: Note) -> Card | None:
    from eai_mcp.catalog.cards import read_json_card

    return read_json_card(name, content, note)


def _png(name: str, content: bytes, note: Note) -> Card | None:
    from eai_mcp.catalog.cards import read_png_card

    return read_png_card(name, content, note)


def _packed(name: str, content: bytes, note: Note) -> Card | None:
    from eai_mcp.catalog.cards import read_packed_card

    return read_packed_card(name, content, note)


READERS: Final[dict[str, Reader[Card]]] = {".json": _json, ".png": _png, ".charx": _packed}
