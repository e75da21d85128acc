"""What changes for those who read resources and lists, as facts tell it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from eai_mcp.observe import Fact
from eai_mcp.server import resources, sessions, status

List: TypeAlias = Literal["prompts", "resources", "tools"]
"""What can be listed, and so change as a list."""

SETTLED = ("turn.completed", "turn.failed", "turn.cancelled", "turn.yielded")
BEGUN = ("turn.started", "turn.resumed")
LISTED = ("session.opened", "session.closed")
REPLACED = "session.replaced"
PUSHED = "resource.pushed"
CIRCUIT = ("circuit.opened", "circuit.half_open", "circuit.closed")
READ = (*SETTLED, *BEGUN, REPLACED, PUSHED, *CIRCUIT)
"""Facts after which something reads otherwise, and all that is listed is as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Resources that read otherwise, and lists that have other members.

    In one `space`, None for all. `any_session` stands for every session of the space.
    """

    uris: tuple[str, ...] = ()
    lists: tuple[List, ...] = ()
    space: str | None = None
    any_session: bool = False


def by_fact(fact: Fact) -> Changed:
    """What a fact says to have changed."""
    if fact.name in CIRCUIT:
        return Changed(uris=(status.URI,))
    if fact.name in BEGUN:
        return Changed(uris=(sessions.ALL,), space=fact.space)
    one = sessions.uri(fact.session)
    if fact.name == PUSHED:
        return Changed(uris=(str(fact.fields.get("uri", "")), one), space=fact.space)
    if fact.name == REPLACED and not fact.session:
        return Changed(uris=(sessions.ALL,), lists=("resources",), space=fact.space, any_session=True)
    lists: tuple[List, ...] = ("resources",) if fact.name in LISTED else ()
    if lists or fact.name == REPLACED or fact.name in SETTLED:
        return Changed(uris=(one, sessions.ALL), lists=lists, space=fact.space)
    return Changed()


def same(uri: str) -> str:
    """A URI as we write it: a client may escape what need not be escaped."""
    found = resources.parts(uri)
    return uri if found is None else resources.uri(*found)
