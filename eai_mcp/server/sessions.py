"""Sessions as resources: `eai://sessions/{name}` is a session's history, as our JSON and as a transcript."""

import json
from collections.abc import Sequence

import mcp_types as types
from anyio.from_thread import check_cancelled

from eai_mcp.app import App
from eai_mcp.chat.registry import Registry
from eai_mcp.errors import LimitExceeded
from eai_mcp.formats import Tally, Written, outlets
from eai_mcp.server import answers, resources
from eai_mcp.server.documents import Document, described
from eai_mcp.server.results import SessionsAnswer

ALL = resources.every(resources.SESSIONS)
SCHEME = f"{ALL}/"
MOST_LISTED = 500
"""Sessions in the list of all."""
LONGEST = 3 * 1024 * 1024
"""Bytes of each text in one answer, as JSON writes it; clients refuse a message above 10 MiB."""
_FORMS: tuple[tuple[Written, str], ...] = (("eai-mcp", "application/json"), ("markdown", "text/markdown"))


def uri(session: str) -> str:
    """Where a session is."""
    return resources.uri(resources.SESSIONS, session)


def document(app: App) -> Document:
    """What `list_sessions` tells of the first of them."""

    async def told(space: str) -> SessionsAnswer:
        return await listed(app.registry, space, limit=MOST_LISTED)

    return Document(resource=described(ALL, "Sessions", "The sessions: size, model, whether busy"), told=told)


async def listed(
    registry: Registry, space: str, *, prefix: str = "", after: str = "", limit: int
) -> SessionsAnswer:
    """Sessions by name, from the first behind `after`; `next_cursor` is where to go on."""
    rows = await registry.sessions(space, prefix=prefix, after=after, limit=limit + 1)
    shown = rows[:limit]
    told: SessionsAnswer = {"sessions": [answers.session(row, registry.model_of(row)) for row in shown]}
    if len(rows) > len(shown):
        told["next_cursor"] = shown[-1].name
    return told


class Sessions:
    """Lists and reads them."""

    name = "sessions"
    templates: Sequence[types.ResourceTemplate] = (
        types.ResourceTemplate(
            uri_template=f"{SCHEME}{{name}}",
            name="session",
            title="Session",
            description="A chat session's history",
            mime_type="application/json",
        ),
    )

    def __init__(self, app: App) -> None:
        self._registry = app.registry

    def has_place(self, uri: str) -> bool:
        """Whether that is how one is named."""
        found = resources.parts(uri)
        return found is not None and found[0] == resources.SESSIONS

    async def after(self, space: str, name: str, limit: int) -> Sequence[types.Resource]:
        """As many by name."""
        rows = await self._registry.sessions(space, after=name, limit=limit)
        return [
            types.Resource(
                uri=uri(row.name),
                name=row.name,
                title=f"Session {row.name}",
                description=f"A chat session with {row.message_count} messages",
                mime_type="application/json",
                annotations=types.Annotations(last_modified=answers.moment(row.updated_at)),
            )
            for row in rows
        ]

    async def read(self, space: str, uri: str) -> types.ReadResourceResult | None:
        """A session's history, under the URI that it was asked for with.

        Raises:
            NotFound: There is no such session.
            LimitExceeded: It is too long for an answer.
        """
        found = resources.parts(uri)
        if found is None or found[0] != resources.SESSIONS:
            return None
        session = found[1]
        contents: list[types.TextResourceContents | types.BlobResourceContents] = []
        for form, mime_type in _FORMS:
            text = await self._text(space, session, form)
            if _size(text) > LONGEST:
                raise _too_long(session)
            contents.append(types.TextResourceContents(uri=uri, mime_type=mime_type, text=text))
        return types.ReadResourceResult(contents=contents)

    async def link(self, space: str, session: str) -> types.ResourceLink | None:
        """Where the whole history of a session can be read, None if it is too long for that."""
        at = uri(session)
        try:
            await self.read(space, at)
        except LimitExceeded:
            return None
        return types.ResourceLink(type="resource_link", uri=at, name=session, mime_type="application/json")

    async def _text(self, space: str, session: str, form: Written) -> str:
        tally = Tally(check_cancelled)
        try:
            _, text = await self._registry.archive.export(
                space, session, form, outlets.short(LONGEST), tally=tally
            )
        except LimitExceeded as error:
            raise _too_long(session) from error
        return text


def _too_long(session: str) -> LimitExceeded:
    return LimitExceeded(
        f"session {session!r} is too long for one answer: export_chat_session_context writes it to a file, or"
        " returns it in parts",
        limit=LONGEST,
    )


def _size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())
