"""What every store must do: large histories, written bit by bit and seen only when they are whole."""

import anyio
import pytest

from eai_mcp.errors import AlreadyExists, Conflict, ImportInvalid, NotFound, SessionBusy
from eai_mcp.messages import assistant, line, user
from eai_mcp.store import REVISIONS_KEPT, Choices, Put, SessionRow
from eai_mcp.store.sqlite import SqliteStore
from tests.store.halfway import CHUNK, TEXTS, Gated, halfway, large, lines, stored
from tests.store.taking import ask, claim, ended, row, said, scanned, take, whole

WHOLE = [*enumerate(TEXTS, 1)]


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, path, clock):
    """A store of each kind, to which four messages are a large history."""
    store = SqliteStore(None if request.param == "memory" else path, now=clock, chunk=CHUNK)
    yield store
    await store.aclose()


async def seen(store):
    """All that anybody can see."""
    return await store.list(""), await store.scan("", lambda found: [(row, [*lines]) for row, lines in found])


async def test_a_large_history_is_put_in_place_of_another(store, clock):
    await take(store, "t1", "one", "1")
    clock.now = 120.0

    assert await store.put("", [large(choices=Choices(model="m"))]) == (2,)
    assert await said(store) == WHOLE
    assert await scanned(store) == lines()
    assert await said(store, revision=1) == [(1, "one"), (2, "1")]
    shown = await row(store)
    assert (shown.message_count, shown.choices.model, shown.updated_at) == (len(TEXTS), "m", 120.0)
    await take(store, "t2", "two", "2")
    assert (await said(store))[-2:] == [(len(TEXTS) + 1, "two"), (len(TEXTS) + 2, "2")]


async def test_a_large_history_makes_a_session_like_a_small_one_does(store):
    assert await store.put("", [large(updated_at=7.0)]) == (1,)

    assert await row(store) == SessionRow(name="work", message_count=len(TEXTS), updated_at=7.0)
    assert await said(store) == WHOLE
    assert await stored(store) == (1, len(TEXTS), 0)


@pytest.mark.parametrize("is_new", [True, False])
async def test_nothing_is_seen_of_it_before_it_is_whole(store, is_new):
    await take(store, "t1", name="other")
    if not is_new:
        await take(store, "t2")
    before = await seen(store)

    async with halfway(store, Put(name="work", lines=Gated())) as ending:
        assert (await stored(store))[1] >= 2 * CHUNK
        assert await seen(store) == before
        assert (await store.row("", "work") is None) == is_new
    assert ending.revisions == (1 if is_new else 2,)
    assert await said(store) == WHOLE


async def test_others_talk_between_its_pieces(store):
    gate = Gated(CHUNK, 2 * CHUNK, 3 * CHUNK)
    async with halfway(store, Put(name="work", lines=gate)):
        for number in (1, 2):
            await take(store, f"t{number}", name="other")
            gate.open()
            await gate.reached()
        await take(store, "t3", name="other")
    assert (await row(store, "other")).turns == 3
    assert await said(store) == WHOLE


async def test_a_turn_taken_meanwhile_is_in_the_former_history(store):
    await store.ensure("", "work")
    async with halfway(store, Put(name="work", lines=Gated())) as ending:
        await take(store, "t1", "one", "1")
        await store.fork("", "work", "copy")
    assert ending.revisions == (2,)
    assert await said(store) == WHOLE
    assert await said(store, revision=1) == await said(store, "copy") == [(1, "one"), (2, "1")]


async def test_a_question_that_came_meanwhile_is_dropped(store):
    await store.ensure("", "work")
    async with halfway(store, Put(name="work", lines=Gated())):
        await ask(store, "t1")
    assert (await row(store)).question is None
    assert (await store.find("", "work", "t1"))[0].status == "interrupted"


async def test_what_would_be_refused_at_the_end_is_refused_before_a_line_is_read(store):
    await take(store, "t1", name="there")
    await claim(store, "t2", name="busy")
    before = await stored(store)

    class Unread:
        def __iter__(self):
            raise AssertionError

    for last, error in [
        (Put(name="there", lines=(), writing="new"), AlreadyExists),
        (Put(name="none", lines=(), writing="replace"), NotFound),
        (Put(name="busy", lines=()), SessionBusy),
    ]:
        with pytest.raises(error, match=last.name):
            await store.put("", [Put(name="a", lines=Unread()), last])
    with pytest.raises(SessionBusy, match="busy"):
        await store.put("", [Put(name="a", lines=Unread())], only=True)
    assert await stored(store) == before


async def test_all_large_histories_are_put_or_none(store):
    """Issue 5: restore ... is all or nothing."""
    await take(store, "t1", name="a")
    before = await whole(store, "a")
    puts = [Put(name="a", lines=Gated()), large("b"), Put(name="c", lines=(), writing="new")]

    async with halfway(store, *puts) as ending:
        await store.ensure("", "c")
    assert isinstance(ending.error, AlreadyExists)
    assert await whole(store, "a") == before
    assert [shown.name for shown in await store.list("")] == ["a", "c"]
    assert await stored(store) == (2, 2, 1)


async def test_lines_that_fail_in_the_middle_leave_nothing(store):
    await take(store, "t1")
    before = await whole(store)

    broken = Gated(error=ImportInvalid("the rest is missing"))
    async with halfway(store, Put(name="work", lines=broken), large("new")) as ending:
        assert (await stored(store))[1] > 2
    assert isinstance(ending.error, ImportInvalid)
    assert await whole(store) == before
    assert await stored(store) == (1, 2, 1)


async def test_a_put_that_is_cancelled_in_the_middle_leaves_nothing(store):
    await take(store, "t1")
    before, gate = await whole(store), Gated()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.put, "", [Put(name="work", lines=gate), large("new")])
            await gate.reached()
            tasks.cancel_scope.cancel()
            gate.open()
    assert await whole(store) == before
    assert await stored(store) == (1, 2, 1)
    assert await store.put("", [large()]) == (2,)


async def test_a_turn_that_has_ended_when_all_is_written_is_not_in_the_way(store):
    await store.ensure("", "work")
    gate = Gated(CHUNK, 3 * CHUNK)
    async with halfway(store, Put(name="work", lines=gate)) as ending:
        running = await claim(store, "t1")
        gate.open()
        await gate.reached()
        await store.settle(running, ended("t1", assistant("1")))
    assert ending.revisions == (2,)
    assert await said(store) == WHOLE


async def test_a_turn_that_began_meanwhile_is_not_lost(store):
    """Issue 4: `replace_history` refused while busy."""
    await take(store, "t1")
    async with halfway(store, Put(name="work", lines=Gated())) as ending:
        running = await claim(store, "t2", "two")
    assert isinstance(ending.error, SessionBusy)
    await store.settle(running, ended("t2", assistant("2")))
    assert await said(store) == [(1, "hi"), (2, "hello"), (3, "two"), (4, "2")]
    assert await stored(store) == (1, 4, 2)


@pytest.mark.parametrize(("writing", "error"), [("replace", NotFound), ("either", Conflict)])
async def test_a_session_that_was_closed_meanwhile_stays_closed(store, writing, error):
    await take(store, "t1")
    async with halfway(store, Put(name="work", lines=Gated(), writing=writing)) as ending:
        await store.delete("", "work")
    assert isinstance(ending.error, error)
    assert await stored(store) == (0, 0, 0)


@pytest.mark.parametrize("writing", ["replace", "either"])
async def test_a_session_that_was_closed_and_made_again_meanwhile_stays_as_it_is(store, writing):
    await take(store, "t1")
    async with halfway(store, Put(name="work", lines=Gated(), writing=writing)) as ending:
        await store.delete("", "work")
        await take(store, "t2", "new", "one")
    assert isinstance(ending.error, Conflict)
    assert await said(store) == [(1, "new"), (2, "one")]
    assert await stored(store) == (1, 2, 1)


@pytest.mark.parametrize(("writing", "error"), [("new", AlreadyExists), ("either", Conflict)])
async def test_a_session_that_somebody_else_made_meanwhile_stays_as_it_is(store, writing, error):
    async with halfway(store, Put(name="work", lines=Gated(), writing=writing)) as ending:
        assert await store.put("", [Put(name="work", lines=[line(user("small"))])]) == (1,)
    assert isinstance(ending.error, error)
    assert await said(store) == [(1, "small")]
    assert await stored(store) == (1, 1, 0)


@pytest.mark.parametrize("texts", [["small"], TEXTS], ids=["small", "large"])
async def test_only_one_history_is_put_in_place_of_a_session_at_a_time(store, texts):
    await take(store, "t1")
    async with halfway(store, Put(name="work", lines=Gated())) as ending:
        with pytest.raises(Conflict, match="another history is being put in place of session 'work'"):
            await store.put("", [Put(name="work", lines=lines(texts))])
        assert await store.put("", [Put(name="other", lines=lines(texts))]) == (1,)
    assert ending.revisions == (2,)
    assert await said(store) == WHOLE


async def test_large_sessions_are_removed_with_all_others(store):
    """Issue 5: `--merge` and `--replace`."""
    for name in ("a", "b", "c"):
        await store.put("", [large(name)])
        await take(store, f"t-{name}", name=name)
    await take(store, "t9", name="a", space="other")

    assert await store.put("", [large("b"), large("d")], only=True) == (2, 1)
    assert [shown.name for shown in await store.list("")] == ["b", "d"]
    assert await stored(store) == (3, 3 * len(TEXTS) + 2 + 2, 2)
    assert await store.put("", [Put(name="e", lines=())], only=True) == (1,)
    assert await stored(store) == (2, 2, 1)


async def test_nothing_is_removed_if_one_of_the_others_became_busy_meanwhile(store):
    """Issue 5: restore ... refuses while any target is busy."""
    await take(store, "t1", name="a")
    await take(store, "t2", name="b")
    async with halfway(store, Put(name="c", lines=Gated()), only=True) as ending:
        await claim(store, "t3", name="b")
    assert isinstance(ending.error, SessionBusy)
    assert [shown.name for shown in await store.list("")] == ["a", "b"]


async def test_many_small_histories_are_large_together(store):
    puts = [Put(name=f"s{number}", lines=lines([f"text {number}"])) for number in range(3 * CHUNK)]
    puts.insert(5, Put(name="empty", lines=()))
    assert await store.put("", puts) == (1,) * len(puts)
    assert await said(store, "s7") == [(1, "text 7")]
    assert await said(store, "empty") == []
    assert await stored(store) == (len(puts), 3 * CHUNK, 0)


async def test_a_session_may_be_named_twice_in_a_call(store):
    assert await store.put("", [large(), Put(name="work", lines=lines(["last"]))]) == (1, 2)
    assert await said(store) == [(1, "last")]
    assert await said(store, revision=1) == WHOLE


async def test_a_large_history_can_be_had_back_copied_and_removed(store):
    await store.put("", [large()])
    await take(store, "t1", "one", "1")
    await store.put("", [Put(name="work", lines=lines(["small"]))])
    assert await store.put("", [Put(name="work", lines=await scanned(store, revision=1))]) == (3,)
    assert len(await said(store)) == len(TEXTS) + 2

    await store.fork("", "work", "copy", upto=len(TEXTS))
    assert await said(store, "copy") == WHOLE
    assert await store.delete("", "work")
    assert await stored(store) == (1, len(TEXTS), 0)
    assert await store.delete("", "copy")
    assert await stored(store) == (0, 0, 0)


@pytest.mark.parametrize("last", [["small"], TEXTS], ids=["small", "large"])
async def test_large_former_histories_are_kept_as_long_as_small_ones(store, last):
    for number in range(1, REVISIONS_KEPT + 3):
        assert await store.put("", [large()]) == (number,)
    assert await stored(store) == (1, (REVISIONS_KEPT + 1) * len(TEXTS), 0)

    await store.put("", [Put(name="work", lines=lines(last))])
    assert await stored(store) == (1, REVISIONS_KEPT * len(TEXTS) + len(last), 0)
    assert await said(store, revision=3) == WHOLE
    with pytest.raises(NotFound):
        await store.load("", "work", revision=2)
