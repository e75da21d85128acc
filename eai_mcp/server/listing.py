"""What `list_catalog` shows."""

import re
from typing import assert_never

from eai_mcp.app import App
from eai_mcp.catalog.catalog import Kind
from eai_mcp.catalog.entries import Card, Model, Prompt
from eai_mcp.errors import EaiError
from eai_mcp.server.results import CatalogAnswer, EntryResult

LONGEST_DESCRIPTION = 300
_OPEN = re.compile(r"\{\{(char|user)\}\}", re.IGNORECASE)


def catalog(app: App, kind: Kind, wanted: str) -> CatalogAnswer:
    """The entries of one kind whose name or description holds `wanted`, in any case, by name.

    Of the models the default comes first, then those that are ready.
    """
    entries = [entry for entry in _entries(app, kind) if _matches(entry, wanted)]
    told: CatalogAnswer = {"kind": kind, "entries": entries}
    if problems := app.catalog.problems(kind):
        told["problems"] = [str(problem) for problem in problems]
    return told


def _entries(app: App, kind: Kind) -> list[EntryResult]:
    match kind:
        case "models":
            models = [model(app, one) for one in app.catalog.models()]
            return sorted(models, key=lambda entry: (not entry["default"], not entry["ready"]))
        case "prompts":
            return [_prompt(prompt) for prompt in app.catalog.prompts()]
        case "cards":
            return [_card(app, card) for card in app.catalog.cards()]
        case _:
            assert_never(kind)


def _matches(entry: EntryResult, wanted: str) -> bool:
    looked_at = " ".join((entry["name"], entry.get("title", ""), entry.get("description", "")))
    return wanted.casefold() in looked_at.casefold()


def model(app: App, entry: Model) -> EntryResult:
    """A model, whether it is ready, and what it needs if it is not."""
    missing = app.missing(entry)
    told: EntryResult = {
        "name": entry.name,
        "description": entry.description,
        "provider": entry.provider,
        "model": entry.model,
        "vision": entry.vision,
        "ready": missing is None,
        "default": entry.name == app.settings.model,
    }
    if missing is not None:
        told["needs"] = missing
    return told


def _prompt(prompt: Prompt) -> EntryResult:
    return {"name": prompt.name, "description": prompt.description, "ready": True}


def _card(app: App, card: Card) -> EntryResult:
    missing = _cards_needs(app, card)
    told: EntryResult = {
        "name": card.name,
        "title": card.title,
        "description": description(card),
        "ready": missing is None,
    }
    if missing is not None:
        told["needs"] = missing
    if card.model:
        told["model"] = card.model
    if card.prompt:
        told["prompt"] = card.prompt
    return told


def description(card: Card) -> str:
    """A card in a line."""
    return _short(card.creator_notes or _named(card))


def _cards_needs(app: App, card: Card) -> str | None:
    """What is missing before the model and the prompt that the card names can be used."""
    try:
        if card.prompt:
            app.catalog.prompt(card.prompt)
        return app.missing(app.catalog.model(card.model)) if card.model else None
    except EaiError as error:
        return error.message


def _named(card: Card) -> str:
    """The description with the two names that cards leave open, which may be written in any case."""
    names = {"char": card.nickname or card.title, "user": "the user"}
    return _OPEN.sub(lambda found: names[found[1].lower()], card.description)


def _short(text: str) -> str:
    """A description is a line; a card's may be a novel."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_DESCRIPTION else line[: LONGEST_DESCRIPTION - 1] + "…"
