"""What changes and no fact tells: files of the catalog, and sessions that other processes write.

Somebody has to look for it, which is done while somebody could be told. Of the catalog, files are looked at
and not read, unless they were read before and changed.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeAlias, assert_never

from eai_mcp.catalog.catalog import KINDS, Catalog, Kind
from eai_mcp.catalog.entries import Card, Model, Prompt
from eai_mcp.catalog.shelf import Shown
from eai_mcp.errors import EaiError
from eai_mcp.server import resources, sessions, status
from eai_mcp.server.changes import Changed, List
from eai_mcp.store import SessionRow

MOST_SESSIONS = 1000
"""Of those that are subscribed to, as many are looked at each time; where there are more, they take turns."""
TOGETHER = 100
"""Sessions that are read at once."""

Key: TypeAlias = tuple[str, str]
"""A space and the name of a session in it."""
Entry: TypeAlias = Model | Prompt | Card
Rows: TypeAlias = Callable[[str, Sequence[str]], Awaitable[Sequence[SessionRow]]]


class Watch:
    """Remembers what it saw, and tells what is different now.

    `rows` reads those of a space's sessions that are there, without their messages.
    """

    def __init__(self, catalog: Catalog, rows: Rows) -> None:
        self._catalog = catalog
        self._rows = rows
        self._shown: dict[Kind, Shown[Entry]] = {}
        self._marks: dict[Key, object] = {}
        self._turn = 0

    def begin(self) -> None:
        """Take what is there, or was last shown to anybody, for what whoever comes now knows."""
        if not self._shown:
            self._shown = {kind: self._catalog.shown(kind) for kind in KINDS}

    async def note(self, key: Key) -> None:
        """Take a session as it is for what is known of it."""
        if key not in self._marks and len(self._marks) < MOST_SESSIONS:
            self._marks |= await self._seen([key])

    def forget(self, space: str, session: str) -> None:
        """Whoever cares is told already of a change in a session; of any in the space, if it has no name."""
        if session:
            self._marks.pop((space, session), None)
        else:
            self._marks = {key: mark for key, mark in self._marks.items() if key[0] != space}

    async def look(self, wanted: Sequence[Key]) -> list[Changed]:
        """What changed since the last look, of the catalog and of the sessions that are wanted."""
        found = [change for kind in KINDS if (change := self._entries(kind))]
        self._marks = {key: self._marks[key] for key in wanted if key in self._marks}
        for keys in _together(self._due(wanted)):
            before = {key: self._marks[key] for key in keys if key in self._marks}
            for key, mark in (await self._seen(keys)).items():
                if key in before and key not in self._marks:
                    continue  # a fact told of it meanwhile
                if key in before and before[key] != mark:
                    found.append(Changed(uris=(sessions.uri(key[1]), sessions.ALL), space=key[0]))
                self._marks[key] = mark
        return found

    def _due(self, wanted: Sequence[Key]) -> Sequence[Key]:
        if len(wanted) <= MOST_SESSIONS:
            return wanted
        at = self._turn % len(wanted)
        self._turn = at + MOST_SESSIONS
        return [*wanted, *wanted][at : at + MOST_SESSIONS]

    async def _seen(self, keys: Sequence[Key]) -> dict[Key, object]:
        """What is different of a session once it reads otherwise: a turn that only runs is not."""
        try:
            rows = await self._rows(keys[0][0], [name for _, name in keys])
        except EaiError:
            return {}  # whoever reads them is told so
        there = {row.name: (row.revision, row.message_count, row.choices, row.usage) for row in rows}
        return {key: there.get(key[1]) for key in keys}

    def _entries(self, kind: Kind) -> Changed | None:
        before = self._shown[kind]
        after = self._shown[kind] = self._catalog.look(kind)
        if before.files is after.files:
            return None
        names, gone, listed = _differing(before, after)
        if not names and before.problems == after.problems:
            return None
        uris = [resources.every(kind), *(resources.uri(kind, name) for name in sorted(names))]
        if kind == "models" and gone:
            uris.append(status.URI)
        lists: tuple[List, ...] = () if not listed else _lists(kind)
        return Changed(uris=tuple(uris), lists=lists)


def _together(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Those of a space side by side, as many as are read at once."""
    spaces: dict[str, list[Key]] = {}
    for key in keys:
        spaces.setdefault(key[0], []).append(key)
    for some in spaces.values():
        for at in range(0, len(some), TOGETHER):
            yield some[at : at + TOGETHER]


def _lists(kind: Kind) -> tuple[List, ...]:
    return ("resources",) if kind == "models" else ("resources", "prompts")


def _differing(before: Shown[Entry], after: Shown[Entry]) -> tuple[set[str], bool, bool]:
    """The names that are new, gone or otherwise; whether one is gone; whether a list shows a difference."""
    if before.entries is None:
        names = {file.name for file in set(before.files) ^ set(after.files)}
        return names, False, bool(names)
    old, new = before.entries, after.entries or {}
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    gone = not names <= new.keys()
    came = not names <= old.keys()
    listed = gone or came or any(_listed(old[name]) != _listed(new[name]) for name in names)
    return names, gone, listed


def _listed(entry: Entry) -> tuple[str, ...]:
    """What a list shows of an entry."""
    match entry:
        case Model() | Prompt():
            return (entry.description,)
        case Card():
            return (entry.title, entry.creator_notes, entry.description)
        case _:
            assert_never(entry)
