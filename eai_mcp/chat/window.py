"""What the model is shown: the system text, and the history with the new input behind it.

Nothing is added to what the user and the operator wrote: without a prompt, system text or card there is no
system text at all.
"""

from collections.abc import Iterable

from eai_mcp.catalog.entries import Card
from eai_mcp.chat.choose import Chosen
from eai_mcp.messages import Message

USER = "User"


def system_text(chosen: Chosen) -> str | None:
    """The system text of a turn, None when there is nothing to say.

    A card's own system prompt stands in the prompt's place; `{{original}}` in it is where the prompt goes.
    """
    prompt = chosen.system if chosen.prompt is None else chosen.prompt.text
    if chosen.card is None:
        return prompt or None
    return _card_text(chosen.card, prompt or "") or None


def shown(history: Iterable[Message], message: Message) -> tuple[Message, ...]:
    """The messages of a turn's first call. A message with nothing in it is left out: providers refuse it."""
    return tuple(one for one in (*history, message) if one.content)


def _card_text(card: Card, prompt: str) -> str:
    lead = card.system_prompt.replace("{{original}}", prompt) if card.system_prompt else prompt
    labelled = (
        ("Personality", card.personality),
        ("Scenario", card.scenario),
        ("Examples", card.example_messages),
    )
    parts = [
        lead,
        card.description,
        *(f"{label}: {text}" for label, text in labelled if text),
        card.post_history_instructions.replace("{{original}}", ""),
    ]
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    return text.replace("{{char}}", card.nickname or card.title).replace("{{user}}", USER)
