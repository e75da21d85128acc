"""Who calls, as far as it decides whose sessions they see.

Over HTTP with authentication each principal has a space of its own; whoever lets the request in notes it in
the request's scope. Everywhere else there is one space, ''.

Only whether the server is ready is told to strangers, too: what asks for it seldom has a token, or our name.
"""

from dataclasses import dataclass
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.context import ServerRequestContext
from starlette.types import Scope

SPACE = "eai_mcp.space"
"""Where a request's scope has it."""
READY = "/readyz"
_STRANGER = "eai_mcp.stranger"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who may come in: the space that is theirs, by what, and until when (seconds since 1970; None: open).

    `credential` tells one token of a file from another, and is empty for those that expire by themselves.
    """

    space: str
    credential: bytes = b""
    until: float | None = None

    def admitted(self, scope: Scope) -> Scope:
        """A request's scope, once it is known to be theirs.

        Connections that last are bound to the user in it by the SDK: to anybody else they do not exist.
        """
        user = AuthenticatedUser(AccessToken(token="", client_id=self.space, scopes=[]))
        return {**scope, SPACE: self.space, "user": user}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not let in: OAuth's word for it, and a sentence without anything that was said."""

    status: int
    error: str
    message: str
    retry_after_s: float | None = None


def space_of(context: ServerRequestContext[Any, Any]) -> str:
    """The space of whoever sent this message: the request that carried it, not the connection, says so."""
    found: str = getattr(context.request, "scope", {}).get(SPACE, "")
    return found


def as_stranger(scope: Scope) -> Scope | None:
    """The request of somebody who is not let in, if it asks for what is told to everybody, else None."""
    is_answered = scope["path"] == READY and scope["method"] in ("GET", "HEAD")
    return {**scope, _STRANGER: True} if is_answered else None


def is_stranger(scope: Scope) -> bool:
    """Whether a request was passed on all the same."""
    return _STRANGER in scope
