"""All sessions into one file and back: at one moment, and all or none."""

import anyio
import pytest

from eai_mcp.chat.archive import Restored
from eai_mcp.errors import ImportInvalid, NotFound, SessionBusy
from eai_mcp.formats import Head, Tally
from eai_mcp.messages import Usage, assistant, line, user
from eai_mcp.store import Choices
from tests.chat.archiving import copied, exported, named, restored, whole
from tests.chat.taking import (
    ask,
    asks,
    begin,
    history,
    opened,
    replaced,
    texts,
    uses,
)
from tests.fakes import Held, said
from tests.formats import moving


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
        await registry.archive.revert("", "a", 1, tally=Tally())
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


async def test_the_default_session_keeps_its_former_history_when_all_are_replaced(catalog):
    """DESIGN section 4: `default` always exists."""
    async with opened(catalog, said("1")) as (registry, _):
        await ask(registry, "a", model="other")
        await restored(registry, moving.snapshot((Head(session="work"), [])), "replace")
        assert (await history(registry), (await registry.session("", "default")).choices) == ([], Choices())
        assert (await registry.archive.revert("", "default", 1, tally=Tally())).message_count == 2


async def test_names_that_no_session_may_have_are_mended_or_refused(catalog):
    odd = moving.snapshot(
        (Head(session="my work/ü"), []), (Head(session=""), []), (Head(session="x" * 200), [])
    )
    twice = moving.snapshot((Head(session="a"), []), (Head(session="a"), []))
    alike = moving.snapshot(*((Head(session=name), []) for name in ("工作", "学习", "__")))
    async with opened(catalog) as (registry, _):
        told = await restored(registry, odd)
        assert told.repairs[:2] == ("session 'my work/ü' is now 'my_work__'", "session '' is now '_'")
        assert await named(registry) == ["_", "default", "my_work__", "x" * 128]
        with pytest.raises(ImportInvalid, match="two sessions named 'a'"):
            await restored(registry, twice)
        told = await restored(registry, alike, "replace")
        assert told.repairs == ("session '工作' is now '__-2'", "session '学习' is now '__-3'")
        assert await named(registry) == ["__", "__-2", "__-3", "default"]


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
