"""The names that completions offer: of models, prompts, cards, sessions, turns, and what turns pushed."""

import functools
from collections.abc import Callable, Mapping, Sequence

from eai_mcp.app import App
from eai_mcp.chat.registry import Registry
from eai_mcp.server import pushed, resources
from eai_mcp.server.completions import MOST, Names, Offer, Typed
from eai_mcp.server.menu import CARD, greetings

MOST_SESSIONS = 1000
"""By name, among which those are looked for that begin otherwise than what was typed."""
MOST_MESSAGES = 200
"""At the end of a history, among which turns are looked for."""
MOST_BYTES = 1024 * 1024


def of_prompts(app: App) -> Mapping[str, Names]:
    """By argument: what a person says, and is called, nobody knows before."""

    async def numbers(typed: Typed) -> Offer:
        card = app.catalog.card(typed.reference.removeprefix(CARD))
        return Offer([str(number) for number in range(len(greetings(card)))])

    return {"greeting": numbers}


def of_resources(app: App) -> Mapping[tuple[str, str], Names]:
    """By template and argument."""
    catalog = app.catalog
    in_session = functools.partial(functools.partial, registry=app.registry)
    return {
        (_template("models"), "name"): _listed(lambda: [model.name for model in catalog.models()]),
        (_template("prompts"), "name"): _listed(lambda: [prompt.name for prompt in catalog.prompts()]),
        (_template("cards"), "name"): _listed(lambda: [card.name for card in catalog.cards()]),
        (_template(resources.SESSIONS), "name"): in_session(_sessions),
        (pushed.TEMPLATE, "name"): in_session(_sessions),
        (pushed.TEMPLATE, "turn_id"): in_session(_turns),
        (pushed.TEMPLATE, "number"): in_session(_numbers),
    }


def _template(kind: str) -> str:
    return f"{resources.every(kind)}/{{name}}"


def _listed(names: Callable[[], Sequence[str]]) -> Names:
    async def offered(typed: Typed) -> Offer:
        return Offer(names())

    return offered


async def _sessions(typed: Typed, *, registry: Registry) -> Offer:
    """Those that begin with just what was typed, else as of the others, but of the first thousand only."""
    exact = await registry.sessions(typed.space, prefix=typed.text, limit=MOST + 1)
    if len(exact) > MOST:
        return Offer([row.name for row in exact[:MOST]], more=True)
    first = await registry.sessions(typed.space, limit=MOST_SESSIONS + 1)
    found = dict.fromkeys(row.name for row in (*exact, *first[:MOST_SESSIONS]))
    return Offer([*found], more=len(first) > MOST_SESSIONS)


async def _turns(typed: Typed, *, registry: Registry) -> Offer:
    """Of the session that was chosen, the latest first."""
    session = typed.stands.get("name", "")
    row = await registry.session(typed.space, session)
    after = max(0, row.message_count - MOST_MESSAGES)
    entries = await registry.history(
        typed.space, session, after=after, limit=MOST_MESSAGES, most_bytes=MOST_BYTES
    )
    running = [row.running.turn_id] if row.running else []
    found = dict.fromkeys([*running, *(entry.turn_id for entry in reversed(entries))])
    return Offer([turn_id for turn_id in found if turn_id], more=after > 0)


async def _numbers(typed: Typed, *, registry: Registry) -> Offer:
    """Of the turn that was chosen."""
    turn = await registry.find(typed.space, typed.stands.get("name", ""), typed.stands.get("turn_id", ""))
    resources = (await registry.reply(turn, 0)).resources
    return Offer([str(number) for number in range(1, len(resources) + 1)])
