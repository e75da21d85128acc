"""Each prompt and each card of the catalog, as something to choose from a menu.

Clients make commands of the names, as in `/eai-mcp:coder`, so these have no blanks. A prompt keeps its name;
a card's begins with `card:`, which no name in the catalog can, so that both may be called the same.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import mcp_types as types

from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Card
from eai_mcp.errors import InvalidArgument, LimitExceeded, UnknownName
from eai_mcp.messages import ImageBlock, Message, TextBlock, assistant, user
from eai_mcp.server import listing

CARD: Final = "card:"
USER: Final = "User"
LONGEST = 7 * 1024 * 1024
"""Bytes of all messages of one prompt, as JSON writes them; clients refuse a message above 10 MiB."""
LONGEST_NAME = 128
MESSAGE = types.PromptArgument(name="message", description="What you say to it")


class PromptMenu:
    """The prompts. One is its text as what a user says, since there is no role for a system here."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def prompts(self) -> Sequence[types.Prompt]:
        """Every one of them."""
        return [
            types.Prompt(name=one.name, description=one.description or None, arguments=[MESSAGE])
            for one in self._catalog.prompts()
        ]

    async def get(self, space: str, name: str, given: Mapping[str, str]) -> types.GetPromptResult | None:
        """Its text, and what was given to be said."""
        try:
            prompt = self._catalog.prompt(name)
        except UnknownName:
            return None
        return _result(prompt.description, [user(prompt.text), *_said(given)])


class CardMenu:
    """The cards. One is what a model would be shown of it, then its greeting as what the character said."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def prompts(self) -> Sequence[types.Prompt]:
        """Every one of them; a greeting can be chosen where there are several."""
        return [
            types.Prompt(
                name=CARD + card.name,
                title=card.title,
                description=listing.description(card) or None,
                arguments=[
                    MESSAGE,
                    types.PromptArgument(name="user", description=f"Your name (default {USER})"),
                    *_greeting_argument(card),
                ],
            )
            for card in self._catalog.cards()
        ]

    async def get(self, space: str, name: str, given: Mapping[str, str]) -> types.GetPromptResult | None:
        """The card with its macros filled in.

        Raises:
            InvalidArgument: There is no such greeting, or the user's name is too long.
            UnknownName, ConfigError: The card, or the prompt that it names, cannot be used.
            LimitExceeded: It is too long for an answer.
        """
        if not name.startswith(CARD):
            return None
        card = self._catalog.card(name.removeprefix(CARD))
        prompt = self._catalog.prompt(card.prompt).text if card.prompt else ""
        return _result(listing.description(card), _played(card, prompt, given))


def _played(card: Card, prompt: str, given: Mapping[str, str]) -> list[Message]:
    # Many servers never play one.
    from eai_mcp.chat import playing
    from eai_mcp.chat.macros import Macros

    # Nobody tells it again, so chance may fall otherwise each time.
    macros = Macros(card=card, user=_user(given), turn=secrets.token_hex(8))
    number, said = _greeting_number(card, given.get("greeting", "")), _said(given)
    greeting = macros.filled(greetings(card)[number], f"greeting {number}" if number else "first_mes")
    # Without a message, what the card wants said last has none to stand behind.
    last = "" if said else macros.filled(card.post_history_instructions, "post_history_instructions").strip()
    shown = replace(
        card, first_message="", post_history_instructions="" if last else card.post_history_instructions
    )
    begun = [assistant(greeting)] if greeting.strip() else []
    text, messages = playing.played(replace(macros, card=shown), prompt, [*begun, *said])
    lead = "\n\n".join(filter(None, (text, last)))
    return [*([user(lead)] if lead else []), *messages]


def greetings(card: Card) -> tuple[str, ...]:
    """What a card may begin with, the usual greeting first."""
    return (card.first_message, *card.alternate_greetings)


def _greeting_argument(card: Card) -> list[types.PromptArgument]:
    if not card.alternate_greetings:
        return []
    told = f"0 to {len(card.alternate_greetings)}: which of its greetings (default 0, the usual one)"
    return [types.PromptArgument(name="greeting", description=told)]


def _greeting_number(card: Card, given: str) -> int:
    last = len(card.alternate_greetings)
    text = given.strip() or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(last)) and int(text) <= last):
        raise InvalidArgument(f"greeting must be 0 to {last}, not {given[:80]!r}", field="greeting")
    return int(text)


def _user(given: Mapping[str, str]) -> str:
    name = given.get("user", "").strip() or USER
    if len(name) > LONGEST_NAME:
        raise InvalidArgument(f"user must have at most {LONGEST_NAME} characters", field="user")
    return name


def _said(given: Mapping[str, str]) -> list[Message]:
    text = given.get("message", "")
    return [user(text)] if text.strip() else []


def _result(description: str, messages: Sequence[Message]) -> types.GetPromptResult:
    """The messages in the protocol's words, which has no tools and no documents in them."""
    shown = [
        types.PromptMessage(role=message.role, content=content)
        for message in messages
        for block in message.content
        if (content := _content(block)) is not None
    ]
    size = sum(len(json.dumps(one.model_dump(mode="json"), ensure_ascii=False).encode()) for one in shown)
    if size > LONGEST:
        raise LimitExceeded(
            f"the prompt has more than {LONGEST:,} bytes; talk takes it by name, as prompt or chara_card",
            limit=LONGEST,
            actual=size,
        )
    return types.GetPromptResult(description=description or None, messages=shown)


def _content(block: object) -> types.TextContent | types.ImageContent | None:
    match block:
        case TextBlock(text=text) if text.strip():
            return types.TextContent(type="text", text=text)
        case ImageBlock(media_type=media_type, data=data):
            return types.ImageContent(type="image", data=data, mime_type=media_type)
        case _:
            return None
