"""Bytes to text, TOML and JSON. What cannot be parsed is noted, not raised."""

from eai_mcp.catalog.fields import Fields, Note


def text(content: bytes, note: Note) -> str | None:
    """UTF-8 without the mark that some editors put before it, its lines ended by a line feed alone."""
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError as error:
        note(None, f"is not UTF-8 text: byte {error.start}")
        return None
    return decoded.removeprefix("\ufeff").replace("\r\n", "\n")


def toml(source: str, note: Note) -> Fields | None:
    """The fields of a TOML document."""
    import tomllib  # not needed before the first look-up, and not by a server that never gets one

    try:
        return Fields(tomllib.loads(source), note)
    except tomllib.TOMLDecodeError as error:
        note(None, f"is not TOML: {error}")
    except (ValueError, RecursionError):
        # An integer of thousands of digits and brackets a thousand deep pass the grammar, not the parser.
        note(None, "is not TOML that can be read: a number too long, or brackets too deep")
    return None


def json(source: str, note: Note) -> Fields | None:
    """The fields of a JSON object."""
    from json import JSONDecodeError, dumps, loads

    try:
        value = loads(source)
        # An escaped half of a surrogate pair is a str that no encoder takes later.
        dumps(value, ensure_ascii=False).encode()
    except JSONDecodeError as error:
        note(None, f"is not JSON: {error}")
    except UnicodeEncodeError:
        note(None, "is not JSON that can be read: half of a surrogate pair")
    except (ValueError, RecursionError):
        note(None, "is not JSON that can be read: a number too long, or brackets too deep")
    else:
        if isinstance(value, dict):
            return Fields(value, note)
        note(None, "must be a JSON object")
    return None
