"""How a card is played: which of its texts are system text, and which stand among the messages.

The system text is the same from turn to turn as long as no lore comes or goes, and no chance is in it; so are
the messages but for the newest. Nothing of this is stored.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from eai_mcp.catalog.entries import Lore, Place
from eai_mcp.chat import fitting, lorebook, opening
from eai_mcp.chat.macros import LARGEST, Macros, with_names
from eai_mcp.errors import ConfigError
from eai_mcp.messages import Message, TextBlock


def played(
    macros: Macros, prompt: str, messages: Sequence[Message]
) -> tuple[str | None, tuple[Message, ...]]:
    """The system text, with the operator's `prompt` in it, and what to show of the messages.

    Raises:
        ConfigError: The card brings messages that cannot be read, or grows beyond all reason.
    """
    card = macros.card
    whole = (*opening.messages(card), *messages)
    lore = _lore(macros, whole)
    after = macros.filled(card.post_history_instructions, "post_history_instructions").strip()
    deep = [(one.depth, text) for one, text in lore if one.depth is not None]
    if after:
        deep.append((0, after))
    return _system_text(macros, prompt, lore) or None, _with_deep(whole, deep)


def greeting(macros: Macros) -> str:
    """What the card says first: in every turn of a session the same, as it was shown when that began.

    Raises:
        ConfigError: It grows beyond all reason.
    """
    return replace(macros, turn="").filled(macros.card.first_message, "first_mes")


def _lore(macros: Macros, messages: Sequence[Message]) -> tuple[tuple[Lore, str], ...]:
    book = macros.card.book
    if book is None:
        return ()
    return lorebook.shown(
        book,
        messages,
        filled=lambda at, lore: macros.filled(lore.content, f"entry {at}"),
        revealed=lambda at, lore: macros.filled(lore.content, f"entry {at}", reveals=True),
    )


def _system_text(macros: Macros, prompt: str, lore: Iterable[tuple[Lore, str]]) -> str:
    """The card's own system prompt stands in the prompt's place; `{{original}}` in it is where that goes."""
    card = macros.card
    placed: Mapping[Place, list[str]] = defaultdict(list)
    for entry, text in lore:
        if entry.depth is None:
            placed[entry.place].append(text)
    lead = (
        macros.filled(card.system_prompt, "system_prompt", original=prompt)
        if card.system_prompt
        else with_names(prompt, macros.names)
    )
    parts = [
        lead,
        *placed["before_char"],
        macros.filled(card.description, "description"),
        *placed["after_desc"],
        *_section("Personality", macros.filled(card.personality, "personality"), placed["personality"]),
        *_section("Scenario", macros.filled(card.scenario, "scenario"), placed["scenario"]),
        *placed["after_char"],
        *_section("Examples", macros.filled(card.example_messages, "mes_example")),
        *_section("Greeting", greeting(macros)),
    ]
    said = [part.strip() for part in parts if part.strip()]
    if sum(map(len, said)) > LARGEST:
        raise ConfigError(
            f"card {card.name!r} has more than {LARGEST:,} characters with its macros filled in; shorten it",
            card=card.name,
        )
    return "\n\n".join(said)


def _section(label: str, text: str, more: Iterable[str] = ()) -> list[str]:
    said = [part for part in (text, *more) if part.strip()]
    return [f"{label}: {said[0]}", *said[1:]] if said else []


def _with_deep(messages: tuple[Message, ...], deep: Sequence[tuple[int, str]]) -> tuple[Message, ...]:
    """The messages with texts put that many of them from the end.

    A text is part of what a user said nearby, since a message of its own would break the order in which most
    providers want them. Between a tool use and its result nothing may stand.
    """
    places = fitting.places(messages)
    if messages and messages[-1].role == "user":
        places = places or [len(messages) - 1]
    if not deep or not places:
        return messages
    before: dict[int, list[str]] = defaultdict(list)
    behind: dict[int, list[str]] = defaultdict(list)
    for depth, text in deep:
        at = len(messages) - depth
        place = max((place for place in places if place <= at), default=None)
        if depth == 0 and messages[-1].role == "user":
            behind[len(messages) - 1].append(text)
        elif place is None:
            before[places[0]].append(text)
        else:
            (before if place == at else behind)[place].append(text)
    changed = list(messages)
    for at in before.keys() | behind.keys():
        first, last = (tuple(map(TextBlock, texts[at])) for texts in (before, behind))
        changed[at] = replace(changed[at], content=(*first, *changed[at].content, *last))
    return tuple(changed)
