"""Which model, prompt and card answer a turn.

From the first that says something: a card given in this call, an argument, the card the session
remembers, the session itself, the server's default. A card speaks only where it names a model or a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Card, Model, Prompt
from eai_mcp.chat.values import Effective, Talk
from eai_mcp.errors import InvalidArgument
from eai_mcp.store import Choices

T = TypeVar("T")
SHOWN_OF_SYSTEM = 80


@dataclass(frozen=True, slots=True)
class _Voice:
    """The system text, by the name of a prompt or as it is. Naming one drops the other."""

    prompt: str | None = None
    system: str | None = None

    def __bool__(self) -> bool:
        return bool(self.prompt or self.system)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What answers this turn, what the session will remember of it, and which arguments the card replaced."""

    model: Model
    prompt: Prompt | None = None
    system: str | None = None
    card: Card | None = None
    remembered: Choices
    pty_session_id: str | None = None
    overridden: tuple[str, ...] = ()

    @property
    def limit_s(self) -> float | None:
        """Seconds that the turn may take, None if neither the card nor the model says."""
        return (self.card.turn_limit_s if self.card else None) or self.model.turn_limit_s

    @property
    def effective(self) -> Effective:
        """The names, for the result."""
        return Effective(
            model=self.model.name,
            prompt=self.prompt.name if self.prompt else None,
            system=shorten(self.system) if self.system else None,
            card=self.card.name if self.card else None,
            pty_session_id=self.pty_session_id,
        )


def choose(talk: Talk, before: Choices, catalog: Catalog, default_model: str) -> Chosen:
    """Settle every choice of the turn, before anything of it is kept.

    Raises:
        UnknownName: A model, prompt or card is not in the catalog.
        ConfigError: Its file cannot be used.
        InvalidArgument: Both a prompt and raw system text were given.
    """
    if talk.prompt and talk.system:
        raise InvalidArgument("give either prompt or system, not both", field="system")
    card = _card(talk, before, catalog)
    card_first = bool(talk.card)
    asked = _Voice(talk.prompt, talk.system)
    kept = _Voice() if "" in (talk.prompt, talk.system) else _Voice(before.prompt, before.system)
    of_card = _Voice(card.prompt if card else None)
    voice = _first(of_card, asked, kept, card_first=card_first) or _Voice()
    model = _first(card.model if card else None, talk.model, before.model, card_first=card_first)
    lasting = asked or kept
    own = before.pty_session_id if talk.pty_session_id is None else talk.pty_session_id
    return Chosen(
        model=catalog.model(default_model if model is None else model),
        prompt=catalog.prompt(voice.prompt) if voice.prompt else None,
        system=voice.system or None,
        card=card,
        remembered=Choices(
            model=talk.model or before.model,
            prompt=lasting.prompt or None,
            system=lasting.system or None,
            card=card.name if card else None,
            pty_session_id=own or None,
        ),
        pty_session_id=own or None,
        overridden=_overridden(talk, card) if card and card_first else (),
    )


def shorten(text: str) -> str:
    """The start of a text, enough to know it by."""
    return text if len(text) <= SHOWN_OF_SYSTEM else text[: SHOWN_OF_SYSTEM - 1] + "…"


def _card(talk: Talk, before: Choices, catalog: Catalog) -> Card | None:
    name = before.card if talk.card is None else talk.card
    return catalog.card(name) if name else None


def _first(card: T | None, argument: T | None, session: T | None, *, card_first: bool) -> T | None:
    order: Sequence[T | None] = (card, argument, session) if card_first else (argument, card, session)
    return next((choice for choice in order if choice), None)


def _overridden(talk: Talk, card: Card) -> tuple[str, ...]:
    replaced = (
        ("model", talk.model, card.model),
        ("prompt", talk.prompt, card.prompt),
        ("system", talk.system, card.prompt),
    )
    return tuple(name for name, given, cards in replaced if given and cards and given != cards)
