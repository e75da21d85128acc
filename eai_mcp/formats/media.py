"""Pictures and documents on the wire: media types, data URLs, base64 that is looked at before it is taken."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.formats.vendors import Notes
from eai_mcp.messages import DocumentBlock, ImageBlock, TextBlock

Media: TypeAlias = ImageBlock | DocumentBlock
Kind: TypeAlias = Literal["image", "document"]

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
"""What Anthropic and Converse can look at."""

LONGEST_ADDRESS = 200
LONGEST_TYPE = 255

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+( *; *[\w.+-]+=[\w.+-]+)*", re.ASCII)


def essence(media_type: str) -> str:
    """A media type without its parameters, in its usual letters."""
    plain = media_type.partition(";")[0].strip().lower()
    return "image/jpeg" if plain == "image/jpg" else plain


def whole(block: Media) -> str | None:
    """The base64 in one line; None where nobody could read it, or say of what type it is."""
    return _base64(block.data) if _is_type(block.media_type) else None


def label(block: Media) -> str:
    """What stands in the place of a block that cannot be shown."""
    return f"[document: {wire.mended(block.name)}]" if isinstance(block, DocumentBlock) else "[image]"


def data_url(block: Media, data: str) -> str:
    """The block in an address."""
    return f"data:{block.media_type};base64,{data}"


def image(media_type: JsonValue, data: JsonValue, notes: Notes) -> Iterator[ImageBlock]:
    """A picture, if it is whole."""
    if checked := _checked("image", media_type, data, notes):
        yield ImageBlock(*checked)


def document(
    media_type: JsonValue, data: JsonValue, name: JsonValue, notes: Notes
) -> Iterator[DocumentBlock]:
    """A document, if it is whole."""
    if checked := _checked("document", media_type, data, notes):
        yield DocumentBlock(*checked, name=wire.mended(wire.string(name)) or "document")


def text_document(
    words: JsonValue, name: JsonValue, notes: Notes, *, media_type: str = "text/plain"
) -> Iterator[DocumentBlock]:
    """A document out of its words."""
    data = base64.b64encode(wire.mended(wire.string(words)).encode()).decode()
    yield from document(media_type, data, name, notes)


def in_url(url: str) -> tuple[str, str] | None:
    """The media type and the data of an address that holds them itself; None for any other."""
    if url[:5].lower() != "data:":
        return None
    head, _, data = url[5:].partition(",")
    return (head[:-7], data) if head[-7:].lower() == ";base64" else (head, "")


def elsewhere(kind: Kind, address: JsonValue, notes: Notes) -> Iterator[TextBlock]:
    """Words in the place of what stands at an address, which is never fetched."""
    where = wire.mended(wire.string(address))
    if not where:
        notes.note(f"{_a(kind)} without data was left out")
        return
    notes.note(f"{_a(kind)} was not fetched from its address, which is kept as text")
    yield TextBlock(f"[{kind}: {where[:LONGEST_ADDRESS]}]")


def _checked(kind: Kind, media_type: JsonValue, data: JsonValue, notes: Notes) -> tuple[str, str] | None:
    kept = wire.string(media_type)
    if not _is_type(kept):
        notes.note(f"{_a(kind)} without a media type was left out")
        return None
    checked = _base64(wire.string(data))
    if checked is None:
        notes.note(f"{_a(kind)} whose data is no base64 was left out")
        return None
    return kept, checked


def _is_type(media_type: str) -> bool:
    return len(media_type) <= LONGEST_TYPE and _TYPE.fullmatch(media_type) is not None


def _base64(text: str) -> str | None:
    # Not by `split`, for which each sign may be a piece of its own.
    data = text.replace("\n", "").replace("\r", "").replace(" ", "").replace("\t", "")
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        return None
    return data or None


def _a(kind: Kind) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"
