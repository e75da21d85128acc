"""Whatever comes for a session with a history: it is put in place whole, or the session stays as it was."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given
from hypothesis import strategies as st

from eai_mcp.chat.archive import Archive
from eai_mcp.errors import ImportInvalid, LimitExceeded
from eai_mcp.formats import Tally
from eai_mcp.messages import Line, line, user
from eai_mcp.store import REVISIONS_KEPT, Choices, Put, SessionRow, Store
from eai_mcp.store.sqlite import SqliteStore
from tests.formats.mutations import (
    READ,
    ROUNDS,
    SESSIONS,
    SNAPSHOTS,
    erlang_snapshots,
    exports,
    mutated,
    nearly_exports,
    nearly_snapshots,
    settled,
    snapshots,
)
from tests.formats.terms import cut
from tests.store.taking import ask, scanned, take

pytestmark = pytest.mark.timeout(max(60, 20 * ROUNDS))
MODES = st.sampled_from(["merge", "replace"])


@dataclass(frozen=True)
class Seen:
    """All that can be seen of the sessions: their rows, and each history by session and revision."""

    rows: dict[str, SessionRow]
    histories: dict[tuple[str, int], list[Line]]


async def seen(store: Store) -> Seen:
    rows = {row.name: row for row in await store.list("", limit=1000)}
    histories = {}
    for name, row in rows.items():
        for revision in range(max(1, row.revision - REVISIONS_KEPT), row.revision + 1):
            histories[name, revision] = await scanned(store, name, revision=revision)
    return Seen(rows, histories)


async def furnish(store: Store) -> None:
    """Sessions that have something to lose: turns, a former history, choices, a question that waits."""
    former = [line(user("long ago"), turn_id="t0", at=5.0)]
    await store.put("", [Put(name="work", lines=former, choices=Choices(model="plain"))])
    await store.put("", [Put(name="work", lines=[line(user("hm"))])])
    await take(store, "t1", "hello")
    await ask(store, "t2")
    await take(store, "t3", name="other")
    await store.ensure("", "default")


async def saved(key: tuple[str, str]) -> None:
    """Nothing ended that would have to be kept yet."""


async def replaced(store: Store, pieces: list[bytes], form) -> bool:
    """Whether the history was replaced; what had to be seen afterwards was seen."""
    before = await seen(store)
    archive = Archive(store, save=saved)
    try:
        done = await archive.replace("", "work", lambda: nullcontext(iter(pieces)), form, tally=Tally())
    except (ImportInvalid, LimitExceeded):
        assert await seen(store) == before
        return False
    after = await seen(store)
    assert after.rows["work"].message_count == len(after.histories["work", done.revision])
    assert after.rows["work"].choices == before.rows["work"].choices
    assert done.revision == before.rows["work"].revision + 1
    assert lost(before, after) == {}
    assert {name: row for name, row in after.rows.items() if name != "work"} == {
        name: row for name, row in before.rows.items() if name != "work"
    }
    return True


async def restored(store: Store, pieces: list[bytes], mode) -> bool:
    """The same of all sessions."""
    before = await seen(store)
    archive = Archive(store, save=saved)
    try:
        await archive.restore("", lambda: nullcontext(iter(pieces)), mode, tally=Tally())
    except (ImportInvalid, LimitExceeded):
        assert await seen(store) == before
        return False
    after = await seen(store)
    for name, row in after.rows.items():
        assert row.message_count == len(after.histories[name, row.revision])
    if mode == "merge":
        assert before.rows.keys() <= after.rows.keys()
    assert lost(before, after) == {}
    return True


def lost(before: Seen, after: Seen) -> dict[tuple[str, int], list[Line]]:
    """The histories of sessions that are still there, which should be kept and are not as they were."""
    oldest = {name: row.revision - REVISIONS_KEPT for name, row in after.rows.items()}
    return {
        (name, revision): lines
        for (name, revision), lines in before.histories.items()
        if name in oldest and revision >= oldest[name] and after.histories.get((name, revision)) != lines
    }


@pytest.fixture(params=["memory", "sqlite"])
def furnished(request, anyio_backend, tmp_path):
    """Runs something with a store of each kind, in which there is something to lose."""
    path = None if request.param == "memory" else tmp_path / "sessions.db"

    @contextmanager
    def running():
        with start_blocking_portal(anyio_backend) as portal:

            async def make() -> SqliteStore:
                made = SqliteStore(path)
                await furnish(made)
                return made

            store = portal.call(make)
            try:
                yield lambda do, *given: portal.call(do, store, *given)
            finally:
                portal.call(store.aclose)

    return running


def test_a_session_is_replaced_whole_or_not_at_all(furnished):
    """Issue 5: no input makes the importer ... change the session."""
    files = SESSIONS | nearly_exports() | mutated(exports()) | exports()
    with furnished() as run:

        @settled(3)
        @given(files.flatmap(cut), st.sampled_from(["auto", *READ]))
        def hold(pieces, form):
            run(replaced, pieces, form)

        hold()


def test_all_sessions_are_restored_or_none(furnished):
    """Issue 5: no input makes the importer ... change the session."""
    files = SNAPSHOTS | nearly_snapshots() | erlang_snapshots() | snapshots()
    with furnished() as run:

        @settled(3)
        @given(files.flatmap(cut), MODES)
        def hold(pieces, mode):
            if run(restored, pieces, mode):
                run(furnish_again)

        hold()


async def furnish_again(store: Store) -> None:
    """What was removed by a restore is there again; what was not has one more history to lose."""
    await store.put("", [Put(name="work", lines=[line(user("again"))]), Put(name="other", lines=[])])
