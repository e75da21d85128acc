"""Facts: records of what happened inside, and the one hook that hears them.

Facts hold ids, names and sizes, never what was said.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from eai_mcp.errors import Internal

Value: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened, as in `turn.completed`; `fields` are flat and small.

    `seq` rises by one with each fact of a process, and `at` is in seconds since 1970; both are 0 until the
    fact was told.
    """

    name: str
    session: str = ""
    turn_id: str = ""
    request_id: str = ""
    fields: Mapping[str, Value] = field(default_factory=dict)
    seq: int = 0
    at: float = 0.0


Observer: TypeAlias = Callable[[Fact], None]


def ignore(fact: Fact) -> None:
    """The observer that hears nothing."""


def logged(fact: Fact) -> None:
    """The observer that writes each fact to the log, one line each."""
    rest = " ".join(f"{name}={value}" for name, value in fact.fields.items())
    logging.getLogger("eai_mcp").info("%s %s %s %s", fact.name, fact.session, fact.turn_id, rest)


def internal(bug: Exception) -> Internal:
    """The error that stands for a bug of ours; its traceback goes to the log under the same id."""
    error_id = secrets.token_hex(4)
    logging.getLogger("eai_mcp").error("internal error %s", error_id, exc_info=bug)
    return Internal(f"internal error {error_id}; the server's log has the details", error_id=error_id)
