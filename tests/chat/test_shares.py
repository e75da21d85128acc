"""What one space may take of the server, and that the others do not notice."""

from contextlib import asynccontextmanager, nullcontext

import anyio
import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.shares import MOST_BUCKETS, Shares
from eai_mcp.chat.values import Talk
from eai_mcp.errors import LimitExceeded, RateLimited, SessionBusy
from eai_mcp.formats import Tally
from eai_mcp.store.sqlite import SqliteStore
from tests.pipeline.clock import Clock


@asynccontextmanager
async def opened(catalog, call, **limits):
    async with anyio.create_task_group() as tasks:
        registry = Registry(
            store=SqliteStore(None),
            catalog=catalog,
            call_for=lambda model: call,
            tasks=tasks,
            default_model="plain",
            limits=Limits(**limits),
        )
        with anyio.fail_after(10):
            yield registry
            await registry.aclose()
        tasks.cancel_scope.cancel()


async def silent(request, emit):
    """A model that says a word, and no more."""
    await emit(TextDelta("word"))
    await anyio.sleep_forever()


def shares(**limits):
    clock = Clock()
    return Shares(Limits(**limits), SqliteStore(None), now=clock), clock


def admitted(found, space):
    """How many talks a space may begin now, and how long it then has to wait."""
    for number in range(100):
        try:
            found.admit(space)
        except RateLimited as error:
            return number, error.retry_after_s
    raise AssertionError("there is no end")


def test_a_space_talks_as_often_as_its_rate_and_no_other_is_slowed_down():
    """Issue 8: "per-principal sessions, limits and rate"."""
    found, clock = shares(principal_rate=0.5, principal_burst=3)
    assert admitted(found, "ann") == (3, 2.0)
    clock.now += 1
    assert admitted(found, "ann") == (0, 1.0)
    assert admitted(found, "bob") == (3, 2.0)
    clock.now += 1
    assert admitted(found, "ann") == (1, 2.0)
    clock.now += 1000
    assert admitted(found, "ann") == (3, 2.0)


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (1, 1), (2.5, 3)])
def test_at_once_may_come_what_may_come_in_a_second_but_one_at_least(rate, burst):
    found, _ = shares(principal_rate=rate)
    assert admitted(found, "") == (burst, pytest.approx(1 / rate))


def test_spaces_that_are_quiet_are_forgotten():
    found, clock = shares(principal_rate=1)
    for number in range(3 * MOST_BUCKETS):
        clock.now += 0.01
        found.admit(str(number))
    assert len(found._buckets) <= MOST_BUCKETS + 1


async def test_too_many_talks_are_told_when_to_come_again(catalog):
    async with opened(catalog, silent, principal_rate=0.001) as registry:
        await registry.begin("ann", Talk(content="x"))
        with pytest.raises(RateLimited, match=r"too many talks: 0\.001 a second may come") as caught:
            await registry.begin("ann", Talk(content="x", session="b"))
        assert caught.value.code == "rate_limited"
        assert caught.value.retryable
        assert 900 < (caught.value.retry_after_s or 0) < 1001
        await registry.begin("bob", Talk(content="x"))
        await registry.begin("ann", Talk(content="x", session="child", chain=("default",)))


async def test_only_so_many_turns_run_at_once(catalog):
    async with opened(catalog, silent, principal_turns=2) as registry:
        for session in ("a", "b"):
            await registry.begin("ann", Talk(content="x", session=session))
        with pytest.raises(LimitExceeded, match="2 turns are running, of 2 that may at once") as caught:
            await registry.begin("ann", Talk(content="x", session="c"))
        assert caught.value.retryable
        assert [row.name for row in await registry.sessions("ann")] == ["a", "b", "default"]
        await registry.begin("bob", Talk(content="x", session="a"))
        await registry.begin("ann", Talk(content="x", session="child", chain=("a",)))
        await registry.interrupt("ann", "a")
        await registry.begin("ann", Talk(content="x", session="c"))


async def test_of_many_that_come_together_no_more_are_let_in(catalog):
    async with opened(catalog, silent, principal_turns=3, principal_sessions=5) as registry:
        refused = []

        async def come(number):
            try:
                await registry.begin("ann", Talk(content="x", session=f"s{number}"))
            except LimitExceeded as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(come, number)
        assert len(refused) == 17


async def test_a_busy_session_is_busy_and_can_be_waited_for_whatever_the_limit(catalog):
    async with opened(catalog, silent, principal_turns=1) as registry:
        await registry.begin("", Talk(content="x"))
        with pytest.raises(SessionBusy):
            await registry.begin("", Talk(content="x"))
        with pytest.raises(SessionBusy, match="still busy"):
            await registry.begin("", Talk(content="x", if_busy="wait"), wait_s=0)
        turn = await registry.begin("", Talk(content="next", if_busy="interrupt"))
        assert turn.ending is None


async def test_only_so_many_sessions_are_made_however_they_are(catalog):
    async with opened(catalog, silent, principal_sessions=2) as registry:
        assert await registry.ensure("ann", "a")
        await registry.begin("ann", Talk(content="x", session="b"))
        makers = [
            registry.ensure("ann", "c"),
            registry.begin("ann", Talk(content="x", session="c")),
            registry.begin("ann", Talk(content="x", session="c", chain=("a",))),
            registry.fork("ann", "a", "c"),
        ]
        for make in makers:
            with pytest.raises(LimitExceeded, match="3 sessions, of the 2 that there may be") as caught:
                await make
            assert caught.value.details == {"limit": 2, "actual": 3}
        assert not await registry.ensure("ann", "a")
        assert await registry.ensure("ann", "default")
        await registry.begin("ann", Talk(content="x"))
        assert await registry.ensure("bob", "a")
        await registry.close("ann", "a")
        assert await registry.ensure("ann", "c")


async def test_histories_from_files_make_no_more_sessions_than_may_be(catalog):
    def take(pieces):
        return b"".join(pieces)

    async with opened(catalog, silent) as registry:
        for name in ("a", "b", "c"):
            await registry.ensure("", name)
        _, one = await registry.archive.export("", "a", "eai-mcp", take, tally=Tally(lambda: None))
        _, three = await registry.archive.snapshot("", take, tally=Tally(lambda: None))
    async with opened(catalog, silent, principal_sessions=2) as registry:
        await registry.ensure("ann", "a")
        await registry.ensure("ann", "b")
        for mode in ("merge", "replace"):
            with pytest.raises(LimitExceeded, match="3 sessions, of the 2"):
                await registry.archive.restore("ann", source(three), mode, tally=Tally(lambda: None))
        with pytest.raises(LimitExceeded, match="3 sessions, of the 2"):
            await registry.archive.replace("ann", "c", source(one), tally=Tally(lambda: None))
        assert [row.name for row in await registry.sessions("ann")] == ["a", "b", "default"]
        await registry.archive.replace("ann", "a", source(one), tally=Tally(lambda: None))


def source(data):
    return lambda: nullcontext(iter([data]))
