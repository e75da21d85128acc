"""How the server stands: the guards round the models, as a resource and at `/readyz`, and if it can work.

A model that fails does not make the server unready: the others answer, and it is asked again by and by.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import anyio
import mcp_types as types

from eai_mcp.app import App
from eai_mcp.errors import EaiError, NotFound
from eai_mcp.server.documents import Document, described

URI = "eai://providers"
RESOURCE = described(
    URI,
    "Providers",
    "Circuit, rate and load of each model that was asked so far",
    annotations=types.Annotations(audience=["user"]),
)
LIMIT_S = 2.0
NOBODY = "-"
"""A session to look for, be it there or not."""


def document(app: App) -> Document:
    """How the models stand, as a resource."""

    async def told(space: str) -> Mapping[str, Any]:
        return {"models": standing(app)}

    return Document(resource=RESOURCE, told=told)


def standing(app: App) -> list[dict[str, Any]]:
    """Each model that was asked so far, as JSON."""
    return [dataclasses.asdict(one) for one in app.standing()]


async def readiness(app: App, *, limit_s: float = LIMIT_S) -> tuple[bool, dict[str, Any]]:
    """Whether the server can take a turn, and what `/readyz` tells."""
    code = await _store(app, limit_s)
    if code is not None:
        return False, {"status": "not_ready", "store": code}
    return True, {"status": "ready", "store": "ok", "models": standing(app)}


async def _store(app: App, limit_s: float) -> str | None:
    """The code of what keeps the sessions from being read, None if nothing does."""
    with anyio.move_on_after(limit_s):
        try:
            await app.registry.session("", NOBODY)
        except NotFound:
            return None
        except EaiError as error:
            return error.code
        return None
    return "timeout"
