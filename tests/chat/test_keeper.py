"""The task that keeps turns: when it ends, and what does not end it."""

import logging

import anyio
import pytest

from eai_mcp.chat.registry import Registry
from eai_mcp.errors import StorageFull, StorageUnavailable
from eai_mcp.store.bus import FileBus
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import QUICK_S, Faulty, ask, begin, opened, outcome, process
from tests.fakes import Held, Scripted, said


async def test_no_task_is_left_when_there_is_nothing_to_keep(catalog, tmp_path):
    store = Faulty(tmp_path / "sessions.db")
    other = SqliteStore(tmp_path / "sessions.db")
    call, held = Scripted([said("1"), said("lost"), said("2")]), Held("half")
    async with opened(catalog, held, store=other, renew_s=60) as (elsewhere, _):
        with anyio.fail_after(5):
            # Nobody cancels this group: it ends when the last of its tasks has.
            async with anyio.create_task_group() as tasks:
                registry = Registry(
                    store=store,
                    catalog=catalog,
                    call_for=lambda model: call,
                    tasks=tasks,
                    default_model="plain",
                    renew_s=QUICK_S,
                )
                await ask(registry, "a")
                store.faults["settle"] = [StorageFull("the disk is full")]
                with pytest.raises(StorageFull):
                    await ask(registry, "a", session="unsaved")
                await begin(elsewhere, "b", session="distant")
                await held.reached.wait()
                followed = await registry.find("", "distant")
                assert (await registry.reply(followed, QUICK_S)).status == "running"
        assert not followed.done.is_set()
        assert (await registry.session("", "unsaved")).running is None


async def test_a_keeper_that_ended_begins_again(catalog):
    store = Faulty()
    held = Held()
    async with opened(catalog, said("1"), held, store=store, renew_s=QUICK_S) as (registry, _):
        await ask(registry, "a")
        await anyio.wait_all_tasks_blocked()
        assert store.calls.get("renew") is None
        turn = await begin(registry, "b")
        await store.until("renew", 2)
        held.let_go.set()
        assert (await registry.reply(turn, 5)).status == "completed"


@pytest.mark.parametrize("fault", [StorageUnavailable("the file is gone"), RuntimeError("a bug")])
@pytest.mark.parametrize("method", ["renew", "look"])
async def test_a_fault_does_not_end_the_keeping(catalog, tmp_path, method, fault, caplog):
    """Issue 4, bad input: recovery without a restart where the fault ends."""
    caplog.set_level(logging.WARNING, "eai_mcp")
    path, held = tmp_path / "sessions.db", Held("half")
    store = Faulty(path, **{method: [fault] * 3})
    async with process(catalog, path, held, store=store) as (here, _), process(catalog, path) as (there, _):
        turn = await begin(here, "a")
        await held.reached.wait()
        await store.until(method, 4)
        assert (await there.interrupt("", "default")).status == "interrupted"
        assert (await here.reply(turn, 0)).reply == "half"
        assert ("the sessions cannot be kept" in caplog.text) == isinstance(fault, StorageUnavailable)
        assert ("internal error" in caplog.text) == isinstance(fault, RuntimeError)


async def test_a_turn_that_cannot_be_saved_costs_the_others_nothing(catalog, tmp_path):
    path, held = tmp_path / "sessions.db", Held("half")
    store = Faulty(path, settle=StorageFull("the disk is full"))
    async with process(catalog, path, said("lost"), held, store=store) as (here, _):
        with pytest.raises(StorageFull):
            await ask(here, "a", session="unsaved")
        turn = await begin(here, "b")
        await held.reached.wait()
        await store.until("settle", 3)
        await store.until("renew", 2)
        async with process(catalog, path) as (there, _):
            assert (await outcome(there)).reply == "half"
            store.faults.clear()
            held.let_go.set()
            assert (await here.reply(turn, 5)).status == "completed"


async def test_a_bus_that_cannot_be_heard_is_asked_again(catalog):
    class Deaf(FileBus):
        calls = 0

        async def changed(self):
            self.calls += 1
            raise StorageUnavailable("the file is gone")

    store, held, deaf = Faulty(), Held(), Deaf(None)
    store.bus = deaf
    async with opened(catalog, held, store=store, renew_s=QUICK_S) as (registry, _):
        turn = await begin(registry, "a")
        await store.until("renew", 3)
        assert deaf.calls < 9
        held.let_go.set()
        assert (await registry.reply(turn, 5)).status == "completed"


async def test_a_turn_that_is_told_to_be_running_is_made_to_last_once(catalog):
    store, held = Faulty(renew=[StorageFull("the disk is full")]), Held("half")
    async with opened(catalog, held, store=store) as (registry, _):
        turn = await begin(registry, "a")
        await held.reached.wait()
        for calls in (1, 2, 2):  # what fails is tried again, and costs nobody the answer
            assert (await registry.reply(turn, 0)).reply == "half"
            assert store.calls["renew"] == calls
        held.let_go.set()
        assert (await registry.reply(turn, 5)).status == "completed"
