"""Pages of a history as Markdown, a section a message, as in an exported transcript."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from eai_mcp.server import answers
from eai_mcp.server.registry import Answer
from eai_mcp.server.results import HistoryAnswer
from eai_mcp.server.room import PAGE
from eai_mcp.store import Entry


@dataclass(frozen=True, slots=True)
class Page:
    """A text; the next page begins behind message `after`, and `offset` characters into what follows it."""

    text: str
    after: int
    offset: int = 0


def page(entries: Sequence[Entry], *, after: int, offset: int) -> Page:
    """As many messages behind position `after` as fit; `offset` characters of the first one are skipped.

    One that fits on no page is cut. Joined, the pages are the whole.
    """
    from eai_mcp.formats import markdown  # few ask for it

    shown: list[str] = []
    left = PAGE
    for entry in entries:
        section = markdown.section(entry.at, entry.message) + "\n\n"
        text, is_cut = answers.fitted(section if shown else section[offset:], left)
        if is_cut and not shown:
            return Page(text, after, offset + len(text))
        if is_cut:
            break
        shown.append(text)
        left -= len(json.dumps(text))
        after = entry.seq
    return Page("".join(shown), after)


def answer(told: HistoryAnswer, shown: Page) -> Answer:
    """The text by itself, then what is `told` beside it and how to read on."""
    handle: HistoryAnswer = {**told}
    if shown.offset or (shown.text and shown.after < told["message_count"]):
        handle["next_after"] = shown.after
    if shown.offset:
        handle["next_offset"] = shown.offset
    whole: HistoryAnswer = {**handle, "text": shown.text}
    return Answer(whole, [shown.text, answers.compact(handle)] if shown.text else [answers.compact(handle)])
