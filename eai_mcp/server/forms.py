"""The form in which a person is asked for a text, and what they make of it."""

import mcp_types as types

FIELD = "answer"


def form(message: str, *, label: str, hint: str, required: bool = True) -> types.ElicitRequestFormParams:
    """A form with one field for a text."""
    told = {"type": "string", "title": label, "description": hint}
    return types.ElicitRequestFormParams(
        message=message,
        requested_schema={
            "type": "object",
            "properties": {FIELD: told},
            **({"required": [FIELD]} if required else {}),
        },
    )


def words(said: types.ElicitResult | None) -> str | None:
    """What the person wrote, None if that is nothing."""
    if said is None or said.action != "accept":
        return None
    written = (said.content or {}).get(FIELD)
    is_said = isinstance(written, str | int | float) and not isinstance(written, bool)
    return str(written) if is_said and str(written).strip() else None


def why_not(said: types.ElicitResult | None) -> str:
    """Why there are no words."""
    if said is None:
        return "the client could not ask the person"
    return {
        "accept": "the person at the client answered nothing",
        "decline": "the person at the client declined to answer",
        "cancel": "the person at the client dismissed the question",
    }[said.action]
