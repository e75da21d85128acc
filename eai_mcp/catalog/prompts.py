"""Prompt files: `NAME.md`, TOML between two lines of `+++` if there is something to say, then the text."""

from eai_mcp.catalog import parse
from eai_mcp.catalog.entries import Prompt
from eai_mcp.catalog.fields import Fields, Note

FENCE = "+++"


def read_prompt(name: str, content: bytes, note: Note) -> Prompt | None:
    """The prompt that a Markdown file holds. Blank lines round the text are not part of it."""
    source = parse.text(content, note)
    if source is None:
        return None
    front, text = _split(source, note)
    fields = Fields({}, note) if front is None else parse.toml(front, note)
    if fields is None:
        return None
    prompt = Prompt(name=name, text=text.strip(), description=fields.text("description", longest=2000) or "")
    fields.finish()
    if not prompt.text:
        note(None, "has no text")
    return prompt


def _split(source: str, note: Note) -> tuple[str | None, str]:
    """The front matter, if there is any, and the text behind it."""
    first, *rest = source.split("\n")
    if first.rstrip() != FENCE:
        return None, source
    for at, line in enumerate(rest):
        if line.rstrip() == FENCE:
            # The empty lines stand for the fences, so that the parser counts lines as an editor does.
            return "\n".join(["", *rest[:at], ""]), "\n".join(rest[at + 1 :])
    note(None, f"the front matter lacks its closing {FENCE}")
    return None, source
