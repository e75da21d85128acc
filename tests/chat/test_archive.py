"""Histories into files and back, through a registry: what changes, what stays, who is heard."""

import threading
from contextlib import contextmanager

import anyio
import pytest

from eai_mcp.chat.archive import Restored
from eai_mcp.errors import ImportInvalid, InvalidArgument, NotFound, SessionBusy, StorageUnavailable
from eai_mcp.formats import Head, Tally, outlets
from eai_mcp.messages import Usage, assistant, line, user
from eai_mcp.store import Choices
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import (
    ask,
    asks,
    begin,
    history,
    opened,
    process,
    replaced,
    texts,
    uses,
    written,
)
from tests.fakes import Held, said
from tests.formats import moving


def whole(pieces):
    return b"".join(pieces)


async def exported(registry, session="work", form="eai-mcp", space=""):
    return await registry.archive.export(space, session, form, whole, tally=Tally())


async def taken(registry, data, session="work", form="auto", space=""):
    return await registry.archive.replace(space, session, lambda: pieces(data), form, tally=Tally())


async def copied(registry, space=""):
    return await registry.archive.snapshot(space, whole, tally=Tally())


async def restored(registry, data, mode="merge", space=""):
    return await registry.archive.restore(space, lambda: pieces(data), mode, tally=Tally())


@contextmanager
def pieces(data):
    yield iter([data])


async def named(registry, space=""):
    return [row.name for row in await registry.sessions(space)]


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
        await taken(registry, await exported(registry), "default")
        assert (await registry.session("", "default")).choices == Choices()


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
            await registry.archive.revert("", "work", 9)
        back = await registry.archive.revert("", "work", 1)
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


async def test_all_sessions_come_back(catalog):
    """Issue 5: **Snapshot and restore** of all sessions: consistent, one file."""
    async with opened(catalog, said("1"), said("2"), said("3")) as (registry, _):
        await ask(registry, "a", session="a", model="other")
        await ask(registry, "b", session="b")
        told, data = await copied(registry)
        assert (told.session_count, told.message_count, told.left_out) == (3, 4, ())
        await ask(registry, "more", session="a")
        await registry.close("", "b")
        await registry.ensure("", "new")
        assert await restored(registry, data) == Restored(3, 4)
        assert await named(registry) == ["a", "b", "default", "new"]
        assert (await texts(registry, "a"), await texts(registry, "b")) == (["a", "1"], ["b", "2"])
        assert (await registry.session("", "a")).choices == Choices(model="other")
        await registry.archive.revert("", "a", 1)
        assert await texts(registry, "a") == ["a", "1", "more", "3"]


async def test_a_snapshot_restored_elsewhere_is_the_same_snapshot(catalog):
    """Issue 5: **Our format**: ... reproducible bytes (same history, same bytes)."""
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        await ask(registry, "a", session="a", model="other")
        await ask(registry, "b", session="b")
        _, data = await copied(registry)
    async with opened(catalog) as (registry, _):
        await restored(registry, data, "replace")
        assert (await copied(registry))[1] == data


async def test_all_other_sessions_go_with_replace_but_the_default(catalog):
    """Issue 5: `--merge` and `--replace`."""
    data = moving.snapshot((Head(session="work", usage=Usage(5)), [line(user("x"))]))
    async with opened(catalog, said("1"), said("2")) as (registry, _):
        await ask(registry, "a", session="other")
        await ask(registry, "b")
        assert await restored(registry, data, "replace") == Restored(1, 1)
        assert await named(registry) == ["default", "work"]
        assert (await history(registry), await texts(registry, "work")) == ([], ["x"])
        assert (await registry.session("", "work")).usage == Usage(5)


@pytest.mark.parametrize("mode", ["merge", "replace"])
async def test_nothing_is_restored_while_a_target_is_busy(catalog, mode):
    """Issue 5: restore ... is all or nothing, and refuses while any target is busy."""
    held = Held()
    data = moving.snapshot(*((Head(session=name), [line(user("x"))]) for name in ("a", "b", "c")))
    async with opened(catalog, said("1"), held) as (registry, _):
        await ask(registry, "a", session="a")
        await begin(registry, "b", session="b")
        await held.reached.wait()
        with pytest.raises(SessionBusy, match="'b'"):
            await restored(registry, data, mode)
        assert await named(registry) == ["a", "b", "default"]
        assert await texts(registry, "a") == ["a", "1"]


async def test_a_busy_session_that_is_no_target_is_left_alone(catalog):
    held = Held()
    data = moving.snapshot((Head(session="a"), [line(user("x"))]))
    async with opened(catalog, held) as (registry, _):
        turn = await begin(registry, "b", session="b")
        await held.reached.wait()
        await restored(registry, data)
        with pytest.raises(SessionBusy):
            await restored(registry, data, "replace")
        held.let_go.set()
        assert (await registry.reply(turn, 5)).reply == "done"


async def test_what_a_snapshot_cannot_hold_is_told(catalog):
    held = Held()
    async with opened(catalog, uses(asks()), held) as (registry, _):
        await ask(registry, "a", session="asks")
        await begin(registry, "b", session="runs")
        await held.reached.wait()
        told, data = await copied(registry)
        assert told.left_out == (
            "session 'asks': the question that waits in it was left out",
            "session 'runs': the turn that runs in it was left out",
        )
        assert [came.lines for came in moving.read_all(data)] == [[], [], []]


async def test_a_snapshot_can_wait_for_turns_that_run(catalog):
    """What the original does before a snapshot: it waits until all is idle, up to a limit."""
    held = Held()
    async with opened(catalog, held) as (registry, _):
        turn = await begin(registry, "b", session="runs")
        await held.reached.wait()
        told, _ = await registry.archive.snapshot("", whole, tally=Tally(), wait_s=0.01)
        assert told.left_out == ("session 'runs': the turn that runs in it was left out",)
        async with anyio.create_task_group() as tasks:
            results = []

            async def copy():
                results.append(await registry.archive.snapshot("", whole, tally=Tally(), wait_s=5))

            tasks.start_soon(copy)
            await anyio.wait_all_tasks_blocked()
            held.let_go.set()
            await registry.reply(turn, 5)
        ((told, data),) = results
        assert (told.left_out, told.message_count) == ((), 2)
        assert [came.messages for came in moving.read_all(data)] == [[], [user("b"), assistant("done")]]


async def test_names_that_no_session_may_have_are_mended_or_refused(catalog):
    odd = moving.snapshot(
        (Head(session="my work/ü"), []), (Head(session=""), []), (Head(session="x" * 200), [])
    )
    twice = moving.snapshot((Head(session="a b"), []), (Head(session="a_b"), []))
    async with opened(catalog) as (registry, _):
        told = await restored(registry, odd)
        assert told.repairs[:2] == ("session 'my work/ü' is now 'my_work__'", "session '' is now '_'")
        assert await named(registry) == ["_", "default", "my_work__", "x" * 128]
        with pytest.raises(ImportInvalid, match="two sessions named 'a_b'"):
            await restored(registry, twice)


async def test_repairs_of_a_snapshot_name_the_session(catalog):
    use = moving.lines(uses_only())
    async with opened(catalog) as (registry, _):
        told = await restored(registry, moving.snapshot((Head(session="a"), use)))
        assert told.repairs == (
            "session 'a': a tool use without a result was given a failed one (message 1)",
        )


def uses_only():
    return [uses(asks()).message]


async def test_spaces_have_their_own_histories(catalog):
    """DESIGN section 10: snapshot and restore touch only the caller's space."""
    async with opened(catalog) as (registry, _):
        await replaced(registry, "work", [user("ann's")], space="ann")
        await replaced(registry, "work", [user("bob's")], space="bob")
        with pytest.raises(NotFound):
            await exported(registry)
        _, data = await copied(registry, "ann")
        await restored(registry, data, "replace", "bob")
        assert [entry.message for entry in await registry.history("bob", "work")] == [user("ann's")]
        await restored(registry, moving.snapshot(), "replace", "bob")
        assert await named(registry, "bob") == ["default"]
        assert await named(registry, "ann") == ["default", "work"]


@pytest.mark.parametrize("name", ["", "a b", "x" * 129])
async def test_a_name_that_no_session_may_have_is_refused(catalog, name):
    async with opened(catalog) as (registry, _):
        for door in (
            exported(registry, name),
            replaced(registry, name, []),
            registry.archive.revert("", name, 1),
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
        saved = await registry.archive.export(
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
