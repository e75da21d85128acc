"""The parts of a content, as Chat Completions and Responses name them; either's are read by both."""

from collections.abc import Iterator

from pydantic import JsonValue

from eai_mcp import wire
from eai_mcp.formats import media, vendors
from eai_mcp.formats.vendors import Notes, Shown
from eai_mcp.messages import JsonObject

FAILED = "Error:"
"""Before the words of a tool that failed, for which there is no field."""

_PDF = "JVBERi"
"""How every PDF begins, in base64."""


def shown(part: JsonObject, notes: Notes) -> Iterator[Shown]:
    """The block that a part is."""
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            yield from vendors.text(part.get("text"), notes)
        case "refusal":
            yield from vendors.text(part.get("refusal"), notes)
        case "image_url" | "input_image":
            yield from _image(part, notes)
        case "file" | "input_file":
            yield from _file(part, notes)
        case kind:
            notes.unknown("a part", kind)


def _image(part: JsonObject, notes: Notes) -> Iterator[Shown]:
    given = part.get("image_url")
    url = wire.string(given.get("url") if isinstance(given, dict) else given)
    if held := media.in_url(url):
        yield from media.image(*held, notes)
    else:
        yield from media.elsewhere("image", url or part.get("file_id"), notes)


def _file(part: JsonObject, notes: Notes) -> Iterator[Shown]:
    given = part.get("file")
    file = given if isinstance(given, dict) else part
    data: JsonValue = file.get("file_data")
    if wire.string(data):
        yield from media.document(*_held(wire.string(data)), file.get("filename"), notes)
    else:
        yield from media.elsewhere("document", file.get("file_url") or file.get("file_id"), notes)


def _held(data: str) -> tuple[str, str]:
    """The media type and the data, which many send without the former."""
    plain = "application/pdf" if data.startswith(_PDF) else "application/octet-stream"
    return media.in_url(data) or (plain, data)
