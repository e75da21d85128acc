"""What the chat model may look at: the sessions of its space, the cards, the time."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

from pydantic import Field

from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Card
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Told, Use
from eai_mcp.messages import JsonObject
from eai_mcp.store import SessionRow

MOST = 100
LONGEST_SHOWN = 200
MOST_TOOLS_SHOWN = 30


class SessionsArguments(Arguments):
    """For `list_sessions`."""

    prefix: Annotated[str, Field(max_length=128)] = ""
    limit: Annotated[int, Field(ge=1, le=MOST)] = 50


class CardsArguments(Arguments):
    """For `list_cards`."""

    filter: str = Field("", description="words in its name, title or description")


class Sessions(Protocol):
    """What the registry tells of sessions; see there."""

    async def sessions(self, space: str, *, prefix: str = "", limit: int = 100) -> list[SessionRow]:
        """Sessions in the order of their names."""
        ...

    def model_of(self, row: SessionRow) -> str:
        """The model that would answer next."""
        ...


def here() -> datetime:
    """The time of day with the offset of this machine."""
    return datetime.now(UTC).astimezone()


def tools(
    sessions: Sessions, catalog: Catalog, *, now: Callable[[], datetime] = here
) -> tuple[Tool[Any], ...]:
    """All three; `now` is aware of its time zone."""

    async def list_sessions(given: SessionsArguments, use: Use) -> Told:
        rows = await sessions.sessions(use.claim.space, prefix=given.prefix, limit=given.limit + 1)
        shown: JsonObject = {"sessions": [_session(row, sessions) for row in rows[: given.limit]]}
        return {**shown, "more": True} if len(rows) > given.limit else shown

    async def list_cards(given: CardsArguments, use: Use) -> Told:
        found = [card for card in catalog.cards() if _matches(card, given.filter)]
        shown: JsonObject = {"count": len(found), "cards": [_card(card) for card in found[:MOST]]}
        return {**shown, "more": True} if len(found) > MOST else shown

    async def get_local_time(given: Arguments, use: Use) -> Told:
        local = now()
        return {
            "local": local.isoformat(timespec="seconds"),
            "utc": local.astimezone(UTC).isoformat(timespec="seconds"),
            "timezone": local.tzname(),
        }

    return (
        Tool(
            name="list_sessions",
            description="List chat sessions by name: how long each is, and whether it is busy.",
            arguments=SessionsArguments,
            run=list_sessions,
        ),
        Tool(
            name="list_cards",
            description="List the character cards that a sub-agent can play, with their tools.",
            arguments=CardsArguments,
            run=list_cards,
        ),
        Tool(
            name="get_local_time",
            description="Tell the date and the time here and in UTC.",
            arguments=Arguments,
            run=get_local_time,
        ),
    )


def _session(row: SessionRow, sessions: Sessions) -> JsonObject:
    return {
        "name": row.name,
        "message_count": row.message_count,
        "status": "busy" if row.running else "awaiting_input" if row.question else "idle",
        "model": sessions.model_of(row),
        "updated_at": datetime.fromtimestamp(row.updated_at, UTC).isoformat(timespec="seconds"),
    }


def _matches(card: Card, wanted: str) -> bool:
    return wanted.casefold() in f"{card.name} {card.title} {card.description}".casefold()


def _card(card: Card) -> JsonObject:
    told: JsonObject = {
        "name": card.name,
        "title": _short(card.title),
        "description": _short(card.creator_notes or card.description),
    }
    if card.model:
        told["model"] = card.model
    if card.tools is not None:
        told["tools"] = list(card.tools[:MOST_TOOLS_SHOWN])
    return told


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_SHOWN else f"{line[: LONGEST_SHOWN - 1]}…"
