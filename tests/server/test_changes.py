"""What changes without a fact: files of the catalog, and sessions that another process writes."""

import json
import time

import anyio
import mcp_types as types
import pytest
from mcp.client.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning

from eai_mcp.catalog.catalog import Catalog
from eai_mcp.errors import StorageUnavailable
from eai_mcp.server.changes import Changed, List
from eai_mcp.server.subscribers import MOST_URIS
from eai_mcp.server.watching import MOST_SESSIONS, TOGETHER, Watch
from eai_mcp.store import Choices, SessionRow
from tests.catalog.test_catalog import Clock
from tests.conftest import FILES

pytestmark = pytest.mark.filterwarnings(f"ignore::{MCPDeprecationWarning.__module__}.MCPDeprecationWarning")
BOTH: tuple[List, ...] = ("resources", "prompts")


class Files:
    """A catalog whose files change, and what is seen of it."""

    def __init__(self, folder):
        self.folder, self.clock = folder, Clock()
        self.catalog = Catalog(roots=(folder,), clock=self.clock)
        self.watch = Watch(self.catalog, nowhere)

    def write(self, path, text):
        (self.folder / path).write_text(text, encoding="utf-8")

    async def seen(self):
        self.clock.later()
        return await self.watch.look(())


async def nowhere(space, names):
    return []


@pytest.fixture
def files(catalog, tmp_path):
    return Files(tmp_path)


def everything(files):
    files.catalog.problems()


def nothing(files):
    pass


@pytest.mark.parametrize("asked_for", [everything, nothing])
async def test_what_does_not_change_is_not_told(files, asked_for):
    asked_for(files)
    files.watch.begin()
    assert await files.seen() == await files.seen() == []
    files.write("prompts/notes.txt", "x")
    assert await files.seen() == []


@pytest.mark.parametrize("asked_for", [everything, nothing])
async def test_a_file_that_is_new_is_told_whether_or_not_any_was_read(files, asked_for):
    """Issue 8: catalog files that change on disk are reloaded and announced."""
    asked_for(files)
    files.watch.begin()
    files.write("prompts/new.md", "New.")
    assert await files.seen() == [Changed(uris=("eai://prompts", "eai://prompts/new"), lists=BOTH)]
    files.write("cards/new.json", FILES["cards"]["clerk.json"])
    assert await files.seen() == [Changed(uris=("eai://cards", "eai://cards/new"), lists=BOTH)]
    files.write("models/new.toml", FILES["models"]["plain.toml"])
    assert await files.seen() == [Changed(uris=("eai://models", "eai://models/new"), lists=("resources",))]
    assert await files.seen() == []


async def test_other_words_in_an_entry_change_no_list_but_another_description_does(files):
    """Issue 8: list_changed and resource-updated."""
    everything(files)
    files.watch.begin()
    files.write("prompts/coder.md", "You write much code.")
    assert await files.seen() == [Changed(uris=("eai://prompts", "eai://prompts/coder"))]
    files.write("prompts/coder.md", '+++\ndescription = "Codes."\n+++\nYou write much code.')
    assert await files.seen() == [Changed(uris=("eai://prompts", "eai://prompts/coder"), lists=BOTH)]


async def test_the_same_words_under_another_date_are_no_change(files):
    everything(files)
    files.watch.begin()
    files.write("prompts/coder.md", FILES["prompts"]["coder.md"])
    assert await files.seen() == []


async def test_a_model_that_is_deleted_also_changes_how_the_providers_stand(files):
    everything(files)
    files.watch.begin()
    (files.folder / "models" / "other.toml").unlink()
    uris = ("eai://models", "eai://models/other", "eai://providers")
    assert await files.seen() == [Changed(uris=uris, lists=("resources",))]


async def test_a_file_that_turns_bad_is_gone_from_the_list(files):
    everything(files)
    files.watch.begin()
    files.write("cards/clerk.json", "{")
    assert await files.seen() == [Changed(uris=("eai://cards", "eai://cards/clerk"), lists=BOTH)]


async def test_a_new_file_that_is_bad_and_one_that_is_bad_no_more_change_the_list_of_all(files):
    """Issue 8: catalog files that change on disk are announced; one that is skipped is a problem in it."""
    everything(files)
    files.watch.begin()
    told = [Changed(uris=("eai://models",))]
    files.write("models/bad.toml", "model =")
    assert await files.seen() == told
    files.write("models/bad.toml", 'model = "x"\ntypo = 1')
    assert await files.seen() == told
    (files.folder / "models" / "bad.toml").unlink()
    assert await files.seen() == told
    assert await files.seen() == []


async def test_what_was_last_shown_is_what_a_change_is_told_against(files):
    """Whoever read a list before they asked for news must not miss what changed in between."""
    everything(files)
    files.write("prompts/new.md", "New.")
    files.watch.begin()
    assert [change.lists for change in await files.seen()] == [BOTH]


async def test_a_file_that_is_read_meanwhile_is_told_all_the_same(files):
    files.watch.begin()
    files.write("prompts/new.md", "New.")
    files.catalog.prompts()
    assert await files.seen() == [Changed(uris=("eai://prompts", "eai://prompts/new"), lists=BOTH)]
    files.write("prompts/coder.md", "You write much code.")
    assert await files.seen() == [Changed(uris=("eai://prompts", "eai://prompts/coder"))]


async def test_looking_reads_nothing_that_nobody_asked_for(files):
    files.watch.begin()
    files.write("prompts/new.md", "New.")
    await files.seen()
    assert files.catalog.shown("prompts").entries is None


@pytest.mark.parametrize("asked_for", [everything, nothing])
def test_looking_at_a_hundred_cards_costs_little(tmp_path, asked_for, record_property):
    (tmp_path / "cards").mkdir()
    for number in range(100):
        path = tmp_path / "cards" / f"c{number}.json"
        path.write_text(FILES["cards"]["clerk.json"], encoding="utf-8")
    files = Files(tmp_path)
    asked_for(files)
    files.watch.begin()
    took = []
    for _ in range(20):
        files.clock.later()
        begun = time.perf_counter()
        assert files.watch._entries("cards") is None
        took.append(time.perf_counter() - begun)
    record_property("milliseconds", min(took) * 1000)
    print(f"100 cards, {asked_for.__name__} read: {min(took) * 1000:.2f} ms")


class Rows:
    """Sessions of another process, and how many were read each time."""

    def __init__(self):
        self.rows, self.read = {}, []

    async def __call__(self, space, names):
        self.read.append(len(names))
        found = [self.rows.get((space, name)) for name in names]
        if isinstance(found[0], Exception):
            raise found[0]
        return [row for row in found if row]


def row(**fields):
    return SessionRow(**{"name": "a", "message_count": 2, "updated_at": 0.0, **fields})


@pytest.fixture
def elsewhere(files):
    rows = Rows()
    return rows, Watch(files.catalog, rows)


A = ("alice", "a")
TOLD = Changed(uris=("eai://sessions/a", "eai://sessions"), space="alice")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (row(), row(message_count=4), [TOLD]),
        (row(), row(revision=2), [TOLD]),
        (row(), row(choices=Choices(model="other")), [TOLD]),
        (row(), None, [TOLD]),
        (None, row(), [TOLD]),
        (row(), row(version=7, turns=3, updated_at=9.0), []),
    ],
)
async def test_a_session_that_another_process_changed_is_told(elsewhere, before, after, told):
    rows, watch = elsewhere
    watch.begin()
    rows.rows[A] = before
    await watch.note(A)
    rows.rows[A] = after
    assert await watch.look([A]) == told
    assert await watch.look([A]) == []


async def test_what_a_fact_told_is_not_told_again(elsewhere):
    rows, watch = elsewhere
    watch.begin()
    others = ("bob", "a")
    for forgotten in ("a", ""):
        rows.rows = dict.fromkeys((A, others), row())
        await watch.look([A, others])
        rows.rows = dict.fromkeys((A, others), row(message_count=4))
        watch.forget("alice", forgotten)
        assert [change.space for change in await watch.look([A, others])] == ["bob"]


async def test_a_store_that_cannot_be_read_is_looked_at_again(elsewhere):
    rows, watch = elsewhere
    watch.begin()
    rows.rows[A] = row()
    await watch.look([A])
    rows.rows[A] = StorageUnavailable("gone")
    await watch.note(("alice", "b"))
    assert await watch.look([A]) == []
    rows.rows[A] = row(message_count=4)
    assert await watch.look([A]) == [TOLD]


async def test_of_all_that_one_client_may_subscribe_to_each_look_sees_every_change(elsewhere):
    rows, watch = elsewhere
    watch.begin()
    wanted = [(space, f"s{number}") for number in range(MOST_URIS // 2) for space in ("a", "b")]
    rows.rows = {key: row(name=key[1]) for key in wanted}
    await watch.look(wanted)
    rows.rows = {key: row(name=key[1], message_count=4) for key in wanted}
    assert len(await watch.look(wanted)) == len(wanted) == MOST_SESSIONS


async def test_many_sessions_take_turns_and_nobody_else_is_read(elsewhere):
    rows, watch = elsewhere
    watch.begin()
    wanted = [("", f"s{number}") for number in range(MOST_SESSIONS * 2 + 50)]
    for _ in range(5):
        rows.read.clear()
        await watch.look(wanted)
        assert rows.read == [TOGETHER] * (MOST_SESSIONS // TOGETHER)
    assert set(watch._marks) == set(wanted)
    await watch.look([])
    assert watch._marks == {}


def card(title):
    made = json.loads(FILES["cards"]["clerk.json"])
    made["data"]["name"] = title
    return json.dumps(made)


@pytest.mark.parametrize("era", ["2026-07-28"])
async def test_on_the_newer_protocol_who_listens_hears_of_a_file(connected, tmp_path):
    """Issue 8: catalog files that change on disk are announced; list_changed in both eras."""
    wanted = ["eai://cards/clerk"]
    async with (
        connected() as (client, _),
        client.listen(
            resource_subscriptions=wanted, prompts_list_changed=True, resources_list_changed=True
        ) as heard,
    ):
        (tmp_path / "cards" / "clerk.json").write_text(card("Scribe"), encoding="utf-8")
        events = {await anext(heard) for _ in range(3)}
        listed = {one.name: one.title for one in (await client.list_resources()).resources}
    assert events == {ResourceUpdated("eai://cards/clerk"), PromptsListChanged(), ResourcesListChanged()}
    assert listed["clerk"] == "Scribe"


@pytest.mark.parametrize("era", ["legacy"])
async def test_on_the_older_protocol_every_connection_hears_of_a_file(connected, tmp_path):
    """Issue 8: catalog files that change on disk are announced; list_changed in both eras."""
    send, receive = anyio.create_memory_object_stream[str](100)

    async def hear(message):
        if isinstance(message, types.PromptListChangedNotification | types.ResourceListChangedNotification):
            send.send_nowait(message.method)

    async with connected(client={"message_handler": hear}) as (client, _):
        with send, receive:
            assert {one.title for one in (await client.list_resources()).resources} >= {"Clerk"}
            (tmp_path / "cards" / "clerk.json").write_text(card("Scribe"), encoding="utf-8")
            heard = {await receive.receive(), await receive.receive()}
            assert {one.title for one in (await client.list_resources()).resources} >= {"Scribe"}
    assert heard == {"notifications/prompts/list_changed", "notifications/resources/list_changed"}
