"""Histories into files and back, through a registry: what changes, what stays, who is heard."""

import threading
from contextlib import contextmanager

import anyio
import pytest

from eai_mcp.errors import ImportInvalid, InvalidArgument, NotFound, SessionBusy, StorageUnavailable
from eai_mcp.formats import Head, Tally, outlets
from eai_mcp.messages import assistant, user
from eai_mcp.store import Choices
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.archiving import copied, exported, named, restored, taken, whole
from tests.chat.taking import (
    ask,
    asks,
    begin,
    opened,
    process,
    replaced,
    texts,
    uses,
    written,
)
from tests.fakes import Held, said
from tests.formats import moving


async def test_a_session_goes_into_a_file_and_comes_back(catalog):
    """Issue 5: export -> import equal, for each lossless format."""
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        await ask(registry, "a", session="work", model="other", system="Be brief.")
        before = await registry.history("", "work", limit=None)
        data = await exported(registry)
        assert (await taken(registry, data, "copy")).message_count == 2
        assert await registry.history("", "copy", limit=None) == before
        row = await registry.session("", "copy")
        assert (row.choices, row.usage.output) == (Choices(model="other", system="Be brief."), 3)
        assert (await ask(registry, "b", session="copy")).effective.model == "other"
        assert await exported(registry) == data


async def test_a_session_that_was_there_goes_on_with_its_own_choices(catalog):
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        await ask(registry, "a", session="work", model="other")
        await ask(registry, "b", session="mine", prompt="coder")
        spent = (await registry.session("", "mine")).usage
        done = await taken(registry, await exported(registry), "mine")
        row = await registry.session("", "mine")
        assert (row.choices, row.usage, done.revision) == (Choices(prompt="coder"), spent, 2)
        assert await texts(registry, "mine") == ["a", "1"]


async def test_a_session_that_was_never_used_is_as_good_as_new(catalog):
    """`default` is always there, and yet takes over what it remembered elsewhere."""
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        await ask(registry, "a", session="work", model="other")
        data = await exported(registry)
        await taken(registry, data, "default")
        assert (await registry.session("", "default")).choices == Choices(model="other")
        await registry.ensure("", "made")
        await taken(registry, data, "made")
        assert (await registry.session("", "made")).choices == Choices(model="other")


async def test_choices_of_another_version_are_passed_over(catalog):
    head = Head(choices={"model": "other", "mood": "good"})
    async with opened(catalog) as (registry, _):
        await taken(registry, moving.written("eai-mcp", [], head))
        assert (await registry.session("", "work")).choices == Choices(model="other")


async def test_what_cannot_be_read_changes_nothing(catalog):
    """Issue 5: `replace_history` checks before it touches anything."""
    async with opened(catalog, said("1")) as (registry, _):
        await ask(registry, "a", session="work")
        row = await registry.session("", "work")
        good = await exported(registry)
        for bad in (
            b"",
            b"junk",
            good[:-5],
            good.replace(b'"a"', b'"b"'),
            good.replace(b'"version":1', b'"version":9'),
        ):
            with pytest.raises(ImportInvalid):
                await taken(registry, bad)
            with pytest.raises(ImportInvalid):
                await taken(registry, bad, "new")
        assert await registry.session("", "work") == row
        assert await named(registry) == ["default", "work"]


async def test_a_history_is_refused_while_busy_and_restorable_by_revision(catalog):
    """Issue 5: ... is refused while busy, keeps the former history restorable by revision."""
    held = Held()
    async with opened(catalog, said("1"), held) as (registry, _):
        await ask(registry, "a", session="work")
        former = await exported(registry)
        turn = await begin(registry, "b", session="work")
        await held.reached.wait()
        with pytest.raises(SessionBusy):
            await replaced(registry, "work", [user("x")])
        held.let_go.set()
        await registry.reply(turn, 5)
        assert (await replaced(registry, "work", [user("x")])).revision == 2
        with pytest.raises(NotFound, match="no revision 9"):
            await registry.archive.revert("", "work", 9, tally=Tally())
        back = await registry.archive.revert("", "work", 1, tally=Tally())
        assert (back.session, back.message_count, back.revision) == ("work", 4, 3)
        assert await texts(registry, "work") == ["a", "1", "b", "done"]
        assert former != await exported(registry)


async def test_an_export_of_a_busy_session_has_what_was_settled(catalog):
    held = Held("half")
    async with opened(catalog, said("1"), held) as (registry, _):
        await ask(registry, "a", session="work")
        await begin(registry, "b", session="work")
        await held.reached.wait()
        assert moving.read(await exported(registry)).messages == [user("a"), assistant("1")]


async def test_what_no_former_revision_has_is_told_when_it_goes(catalog):
    async with opened(catalog, uses(asks()), uses(asks())) as (registry, _):
        await ask(registry, "a", session="work")
        told, data = await registry.archive.export("", "work", "eai-mcp", whole, tally=Tally())
        left = "session 'work': the question that waits in it was left out"
        assert (told.message_count, told.left_out) == (0, (left,))
        dropped = ("session 'work': the question that waited in it was dropped",)
        assert (await taken(registry, data)).repairs == dropped
        await ask(registry, "a", session="work")
        assert (await restored(registry, moving.snapshot((Head(session="work"), [])))).repairs == dropped


async def test_a_busy_session_is_told_before_anything_is_read(catalog):
    held = Held()

    def never():
        raise AssertionError("nobody should have looked")

    async with opened(catalog, held) as (registry, _):
        turn = await begin(registry, "a", session="work")
        await held.reached.wait()
        with pytest.raises(SessionBusy) as caught:
            await registry.archive.replace("", "work", never, tally=Tally())
        assert caught.value.details["turn_id"] == turn.turn_id


@pytest.mark.parametrize("name", ["", "a b", "x" * 129])
async def test_a_name_that_no_session_may_have_is_refused(catalog, name):
    async with opened(catalog) as (registry, _):
        for door in (
            exported(registry, name),
            replaced(registry, name, []),
            registry.archive.revert("", name, 1, tally=Tally()),
        ):
            with pytest.raises(InvalidArgument):
                await door


async def test_a_damaged_store_is_told(catalog, tmp_path):
    path = tmp_path / "sessions.db"
    async with process(catalog, path, said("1")) as (registry, _):
        await ask(registry, "a", session="work")
    store = SqliteStore(path)
    await store._writer.run(lambda c: c.execute("UPDATE message SET body = '{broken' WHERE seq = 2"))
    await store.aclose()
    async with process(catalog, path) as (registry, _):
        for form in ("eai-mcp", "jsonl", "openai", "markdown"):
            with pytest.raises(StorageUnavailable, match="damaged"):
                await exported(registry, form=form)
        with pytest.raises(StorageUnavailable, match="damaged"):
            await copied(registry)


async def test_whoever_leaves_stops_the_reading_and_nothing_changes(catalog):
    """Cancellation is not an error, and a long import ends at once."""
    begun, seen = threading.Event(), []

    @contextmanager
    def endless():
        def pieces():
            yield b"["
            while True:
                begun.set()
                seen.append(1)
                yield b'{"role":"user","content":"x"},' * 100

        yield pieces()

    async with opened(catalog) as (registry, _):
        await replaced(registry, "work", [user("before")])
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:

                async def read():
                    tally = Tally(anyio.from_thread.check_cancelled)
                    await registry.archive.replace("", "work", endless, tally=tally)

                tasks.start_soon(read)
                await anyio.to_thread.run_sync(begun.wait, 10)
                tasks.cancel_scope.cancel()
        count = len(seen)
        assert await texts(registry, "work") == ["before"]
        assert len(seen) == count


async def test_other_sessions_go_on_while_files_are_read(catalog):
    """Issue 5: progress on long work; sessions never wait for each other (DESIGN section 4)."""
    go_on = threading.Event()

    @contextmanager
    def slow():
        def pieces():
            yield b"["
            go_on.wait(10)
            yield b"]"

        yield pieces()

    async with opened(catalog, said("1")) as (registry, _), anyio.create_task_group() as tasks:

        async def read(name):
            await registry.archive.replace("", name, slow, tally=Tally())

        for name in ("x", "y", "z"):
            tasks.start_soon(read, name)
        assert (await ask(registry, "a", session="work")).reply == "1"
        assert await exported(registry)
        go_on.set()


async def test_a_file_is_written_to_a_folder(catalog, tmp_path):
    from eai_mcp.formats.files import Folder

    async with opened(catalog) as (registry, _):
        await replaced(registry, "work", [user("x")])
        _, saved = await registry.archive.export(
            "", "work", "eai-mcp", outlets.saving(Folder(tmp_path), "w.gz"), tally=Tally(), packed=True
        )
        assert saved.path.stat().st_size == saved.size_bytes
        back = await registry.archive.replace(
            "", "copy", lambda: Folder(tmp_path).reading("w.gz"), tally=Tally()
        )
        assert (back.message_count, back.format, back.repairs) == (1, "eai-mcp", ())


def test_written_is_what_is_read():
    with written([user("x")]) as given:
        assert moving.read([*given]).messages == [user("x")]
