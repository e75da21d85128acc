"""What one space may take of the server, and that the others do not notice."""

import threading
from contextlib import asynccontextmanager, contextmanager, nullcontext

import anyio
import anyio.from_thread
import pytest

from eai_mcp.calls import TextDelta
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.registry import Registry
from eai_mcp.chat.shares import MOST_BUCKETS, Shares
from eai_mcp.chat.values import Answers, Talk
from eai_mcp.errors import LimitExceeded, RateLimited, SessionBusy, UnknownName
from eai_mcp.formats import Tally
from eai_mcp.store.sqlite import SqliteStore
from tests.chat import archiving, taking
from tests.fakes import said
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
            with found.admitted(space):
                pass
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
        with found.admitted(str(number)):
            pass
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


ONCE = Limits(principal_rate=0.001)


async def test_a_request_that_is_repeated_is_answered_and_not_counted(catalog):
    """Issue 8: "limits and rate"; a request id stands for the turn that it began, however many came since."""
    async with taking.opened(catalog, said("x"), limits=ONCE) as (registry, _):
        first = await taking.ask(registry, "hi", request_id="r")
        assert (await taking.ask(registry, "hi", request_id="r")).turn_id == first.turn_id
        with pytest.raises(RateLimited):
            await taking.ask(registry, "hi", request_id="other")


async def test_a_talk_that_begins_nothing_is_not_counted(catalog):
    async with taking.opened(catalog, said("x"), limits=ONCE) as (registry, _):
        for _ in range(3):
            with pytest.raises(UnknownName):
                await taking.ask(registry, "hi", model="none")
        assert (await taking.ask(registry, "hi")).reply == "x"


async def test_what_a_person_answers_to_a_form_is_not_lost_to_the_rate(catalog):
    """Issue 8: "human mode"; a person can't be told to come again. A program can, in the same turn."""
    steps = [taking.uses(taking.asks()), taking.uses(taking.asks()), said("x")]
    async with taking.opened(catalog, *steps, limits=ONCE) as (registry, _):
        asked = await taking.ask(registry, "hi")
        form = Answers(turn_id=asked.turn_id, asked_in=asked.asked_in)
        assert (await taking.ask(registry, "red", answers=form)).status == "awaiting_input"
        with pytest.raises(RateLimited):
            await taking.ask(registry, "blue", answers=Answers(turn_id=asked.turn_id, asked_in=None))


async def test_sub_agents_have_a_bound_of_their_own(catalog):
    """Issue 8: "per-principal … limits": a turn does not have as many others run as it likes."""
    async with opened(catalog, silent, principal_turns=1) as registry:
        await registry.begin("ann", Talk(content="x"))
        for number in range(4):
            await registry.begin("ann", Talk(content="x", session=f"s{number}", chain=("default",)))
        with pytest.raises(LimitExceeded, match="4 turns of sub-agents are running, of 4 that may"):
            await registry.begin("ann", Talk(content="x", session="s4", chain=("default", "s0")))
        await registry.begin("bob", Talk(content="x", session="s4", chain=("default",)))


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


async def test_a_space_that_makes_a_session_for_long_keeps_no_other_from_it():
    """Issue 8: "per-principal sessions, limits"; one principal's import is no wait for the others."""
    found, _ = shares(principal_sessions=1)
    with anyio.fail_after(5):
        async with found.making("ann", "a"), found.making("bob", "b"):
            pass


class Held:
    """Pieces of files that come once they are let go, and how many are waited for in threads."""

    def __init__(self):
        self.begun = anyio.Semaphore(0)
        self._go_on = threading.Event()

    def wait(self):
        anyio.from_thread.run_sync(self.begun.release)
        self._go_on.wait(10)

    def take(self, pieces):
        self.wait()
        return b"".join(pieces)

    @contextmanager
    def source(self):
        self.wait()
        yield iter([b"[]"])

    @contextmanager
    def until_the_end(self):
        """Let all go at the end of the block, whatever happens: threads cannot be cancelled."""
        try:
            yield
        finally:
            self._go_on.set()


@pytest.mark.parametrize("moves", ["out", "in"])
async def test_a_space_that_moves_much_keeps_no_other_from_moving(catalog, moves):
    """Issue 8: one principal's snapshots and imports take no more than a part of what there is."""
    held = Held()

    async def move(registry, number):
        if moves == "out":
            await registry.archive.snapshot("ann", held.take, tally=Tally())
        else:
            await registry.archive.replace("ann", f"s{number}", held.source, tally=Tally())

    async with opened(catalog, silent) as registry, anyio.create_task_group() as tasks:
        with held.until_the_end():
            for number in range(5):
                tasks.start_soon(move, registry, number)
            await held.begun.acquire()
            await held.begun.acquire()
            if moves == "out":
                assert await archiving.exported(registry, "default", space="bob")
            else:
                await archiving.taken(registry, b"[]", "mine", space="bob")
            assert held.begun.value == 0
