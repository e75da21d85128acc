"""The catalog as resources: `eai://models`, `eai://models/{name}`, and the same for prompts and cards.

Nothing secret is in them: of a model neither headers nor URL nor quirks are told.
"""

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import mcp_types as types

from eai_mcp.app import App
from eai_mcp.catalog.catalog import KINDS, Kind
from eai_mcp.catalog.entries import Card, Model, Prompt
from eai_mcp.server import listing, resources
from eai_mcp.server.documents import Document, described

TTL_MS = 5_000
"""A changed file is seen after a second, and who wants to know at once subscribes."""
LONGEST_NAME = 80
"""Characters of a name that is looked up; one that is longer is no entry's."""
DESCRIPTION = "eai-mcp/description"
_OF_MODELS = ("context_window", "context_policy", "turn_limit_s", "samplers", "reliability")
_NOT_OF_CARDS = ("name", "pre_context")
_LISTS: Mapping[Kind, tuple[str, str]] = {
    "models": ("Models", "The models that can answer, and what each needs"),
    "prompts": ("Prompts", "The system prompts"),
    "cards": ("Cards", "The character cards, and what each needs"),
}

E = TypeVar("E", Model, Prompt, Card)


def documents(app: App) -> list[Document]:
    """What `list_catalog` tells, a document for each kind."""
    return [_document(app, kind) for kind in KINDS]


def sources(app: App) -> "list[Models | Prompts | Cards]":
    """The entries themselves."""
    return [Models(app), Prompts(app), Cards(app)]


def _document(app: App, kind: Kind) -> Document:
    async def told(space: str) -> Mapping[str, Any]:
        return listing.catalog(app, kind, "")

    return Document(resource=described(resources.every(kind), *_LISTS[kind]), told=told, ttl_ms=TTL_MS)


class _Entries(ABC, Generic[E]):
    """The entries of one kind, listed and read."""

    name: Kind
    label: str
    about: str
    mime_type = "application/json"

    def __init__(self, app: App) -> None:
        self._app = app
        self._sizes: dict[str, tuple[E, int]] = {}
        self.templates: Sequence[types.ResourceTemplate] = (
            types.ResourceTemplate(
                uri_template=f"{resources.every(self.name)}/{{name}}",
                name=self.label.lower(),
                title=self.label,
                description=self.about,
                mime_type=self.mime_type,
            ),
        )

    def has_place(self, uri: str) -> bool:
        """Whether that is how one is named."""
        found = resources.parts(uri)
        return found is not None and found[0] == self.name

    async def after(self, space: str, name: str, limit: int) -> Sequence[types.Resource]:
        """As many by name."""
        behind = [entry for entry in self._all() if entry.name > name]
        return [self._listed(entry) for entry in behind[:limit]]

    async def read(self, space: str, uri: str) -> types.ReadResourceResult | None:
        """The one of that name.

        Raises:
            UnknownName: There is none.
            ConfigError: There is one, and its file is bad.
        """
        found = resources.parts(uri)
        if found is None or found[0] != self.name:
            return None
        name = found[1]
        entry = self._one(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")
        contents = types.TextResourceContents(
            uri=uri, mime_type=self.mime_type, text=self._text(entry), _meta=self._meta(entry)
        )
        return types.ReadResourceResult(contents=[contents], ttl_ms=TTL_MS)

    def _listed(self, entry: E) -> types.Resource:
        return types.Resource(
            uri=resources.uri(self.name, entry.name),
            name=entry.name,
            title=self._title(entry),
            description=self._description(entry) or None,
            mime_type=self.mime_type,
            size=self._size(entry),
        )

    def _size(self, entry: E) -> int | None:
        """Bytes of the text; counted once, for a card may be long."""
        known = self._sizes.get(entry.name)
        if known is None or known[0] is not entry:
            known = self._sizes[entry.name] = (entry, len(self._text(entry).encode()))
        return known[1]

    @abstractmethod
    def _all(self) -> Sequence[E]: ...

    @abstractmethod
    def _one(self, name: str) -> E: ...

    @abstractmethod
    def _text(self, entry: E) -> str: ...

    @abstractmethod
    def _description(self, entry: E) -> str: ...

    def _title(self, entry: E) -> str:
        return f"{self.label} {entry.name}"

    def _meta(self, entry: E) -> dict[str, Any] | None:
        return None


class Models(_Entries[Model]):
    """A model as `list_catalog` shows it, with its window, samplers and reliability."""

    name = "models"
    label = "Model"
    about = "A model: who serves it, what it needs, its samplers and guards"

    def _all(self) -> Sequence[Model]:
        return self._app.catalog.models()

    def _one(self, name: str) -> Model:
        return self._app.catalog.model(name)

    def _text(self, entry: Model) -> str:
        told = _told(entry)
        more = {name: told[name] for name in _OF_MODELS if told.get(name)}
        return _json({**listing.model(self._app, entry), **more})

    def _description(self, entry: Model) -> str:
        return entry.description

    def _size(self, entry: Model) -> None:
        return None  # it changes with what the model needs


class Prompts(_Entries[Prompt]):
    """A prompt as its text."""

    name = "prompts"
    label = "Prompt"
    about = "A system prompt"
    mime_type = "text/markdown"

    def _all(self) -> Sequence[Prompt]:
        return self._app.catalog.prompts()

    def _one(self, name: str) -> Prompt:
        return self._app.catalog.prompt(name)

    def _text(self, entry: Prompt) -> str:
        return entry.text

    def _description(self, entry: Prompt) -> str:
        return entry.description

    def _meta(self, entry: Prompt) -> dict[str, Any] | None:
        return {DESCRIPTION: entry.description} if entry.description else None


class Cards(_Entries[Card]):
    """A card as a model or its user reads it, without pictures and without the history that it brings."""

    name = "cards"
    label = "Card"
    about = "A character card"

    def _all(self) -> Sequence[Card]:
        return self._app.catalog.cards()

    def _one(self, name: str) -> Card:
        return self._app.catalog.card(name)

    def _text(self, entry: Card) -> str:
        told = {name: value for name, value in _told(entry).items() if name not in _NOT_OF_CARDS}
        return _json({"name": entry.name, **told})

    def _description(self, entry: Card) -> str:
        return listing.description(entry)

    def _title(self, entry: Card) -> str:
        return entry.title


def _json(told: Mapping[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=False)


def _told(value: Any) -> Any:
    """Values of the catalog as JSON; what is as if nothing had been said is left out."""
    if dataclasses.is_dataclass(value):
        said = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: _told(one) for field, one in said if one != field.default}
    if isinstance(value, tuple):
        return [_told(one) for one in value]
    return value
