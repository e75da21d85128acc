"""What a person has to allow before a tool runs, and who counts as one.

A model that talks to us could else approve what the model behind us wants to do. So an answer allows
something only if it came from a person: by elicitation, in `eai-mcp chat`, or by `talk` where the operator
says so.
"""

import json
from typing import Literal, TypeAlias

from eai_mcp.messages import JsonObject
from eai_mcp.middleware import Ask, Refuse, ToolRun

Approval: TypeAlias = Literal["never", "ask", "always"]
"""Whether a tool may run: never, once a person said so each time, or always."""

YES = "approve"
BY_TALK = (
    "not approved: a person has to, in a form of the client or in `eai-mcp chat`; talk does not count, unless"
    " the server was started with --approve-by-talk and the call has the question's turn_id and a request_id"
)


def written(arguments: JsonObject) -> str:
    """All arguments of a tool, for a person."""
    return json.dumps(arguments, ensure_ascii=False, indent=2)


def plain(text: str) -> str:
    """The text with what a screen would hide, turn round or obey written out."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )


def settled(approval: Approval, run: ToolRun, shown: str, *, by_person: bool) -> Ask | Refuse | None:
    """What stands between a tool and its run, None for nothing. `shown` is what exactly would be done."""
    if approval == "always":
        return None
    if approval == "never":
        return Refuse(f"the operator of this server does not allow {run.name}")
    state: JsonObject = {"name": run.name, "input": run.input}
    if run.asked is None or run.asked.state != state:  # or it would do another thing than was allowed
        return Ask(f"{run.name} wants to do this; answer {YES!r} to allow it:\n\n{plain(shown)}", state)
    if (run.answer or "").strip().casefold() != YES:
        return Refuse("not approved")
    return None if by_person else Refuse(BY_TALK)
