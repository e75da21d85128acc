"""What every store must do: histories written whole, had back by revision, and forked."""

import pytest

from eai_mcp.errors import AlreadyExists, InvalidArgument, NotFound, SessionBusy
from eai_mcp.messages import Usage, assistant, line, user
from eai_mcp.store import REVISIONS_KEPT, Choices, Entry, Put, SessionRow
from tests.store.taking import claim, ended, results, row, said, scanned, take, unversioned, uses, whole


def lines(*texts):
    """A history of user's messages."""
    return [line(user(text), turn_id=f"t-{text}", at=50.0 + place) for place, text in enumerate(texts, 1)]


def put(name, *texts, **fields):
    return Put(name=name, lines=lines(*texts), **fields)


async def test_a_history_is_written_with_its_turns_and_times(store):
    said = [
        line(user("time?"), turn_id="t1", at=10.0),
        line(uses("u1"), turn_id="t1", at=11.0),
        line(results("u1"), turn_id="t1", at=12.0),
        line(assistant("noon"), turn_id="t2", at=13.0),
    ]
    choices, usage = Choices(model="m", system="s"), Usage(1, 2, 3, 4, 5, 0.5)
    assert await store.put("", [Put(name="work", lines=said, choices=choices, usage=usage)]) == (1,)

    assert await store.load("", "work") == [
        Entry(1, "t1", 10.0, user("time?")),
        Entry(2, "t1", 11.0, uses("u1")),
        Entry(3, "t1", 12.0, results("u1")),
        Entry(4, "t2", 13.0, assistant("noon")),
    ]
    shown = await row(store)
    assert (shown.message_count, shown.choices, shown.usage, shown.updated_at) == (4, choices, usage, 100.0)


async def test_what_is_not_given_stays_as_it_was(store):
    choices, usage = Choices(prompt="p"), Usage(input=3, cost_usd=0.5)
    await store.settle(await claim(store, "t1"), ended("t1", choices=choices, usage=usage))

    await store.put("", [put("work", "new")])
    shown = await row(store)
    assert (shown.choices, shown.usage) == (choices, usage)

    await store.put("", [put("work", "new", choices=Choices(), usage=Usage())])
    shown = await row(store)
    assert (shown.choices, shown.usage) == (Choices(), Usage())


async def test_a_session_may_have_to_be_new(store):
    assert await store.put("", [put("work", "one", writing="new")]) == (1,)
    before = await whole(store)

    with pytest.raises(AlreadyExists, match="work"):
        await store.put("", [put("work", "two", writing="new")])
    assert await whole(store) == before


async def test_a_session_may_have_to_be_there(store):
    with pytest.raises(NotFound, match="work"):
        await store.put("", [put("work", "one", writing="replace")])
    assert await store.row("", "work") is None

    await store.ensure("", "work")
    assert await store.put("", [put("work", "two", writing="replace")]) == (2,)
    assert await said(store) == [(1, "two")]


async def test_many_are_written_at_once(store):
    await take(store, "t1", name="b")

    assert await store.put("", [put("c", "3"), put("b", "2"), put("a", "1")]) == (1, 2, 1)
    assert [await said(store, name) for name in "abc"] == [[(1, "1")], [(1, "2")], [(1, "3")]]
    assert await store.put("", []) == ()


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (put("there", "x", writing="new"), AlreadyExists),
        (put("none", "x", writing="replace"), NotFound),
        (put("busy", "x"), SessionBusy),
    ],
    ids=["there", "none", "busy"],
)
async def test_all_are_written_or_none(store, last, error):
    await take(store, "t1", name="there")
    await claim(store, "t2", name="busy")
    before = [await whole(store, name) for name in ["there", "busy"]]

    with pytest.raises(error, match=last.name):
        await store.put("", [put("a", "1"), put("there", "2"), last, put("z", "3")])
    assert [await whole(store, name) for name in ["there", "busy"]] == before
    assert [shown.name for shown in await store.list("")] == ["busy", "there"]


async def test_a_history_is_not_replaced_under_a_running_turn(store, clock):
    await claim(store, "t1")
    clock.now = 102.5

    with pytest.raises(SessionBusy) as caught:
        await store.put("", [put("work", "x")])
    assert caught.value.details == {"chat_session": "work", "turn_id": "t1", "running_s": 2.5}


async def test_a_replaced_history_can_be_had_back(store):
    """Issue 4: `replace_history` refused while busy and undoable."""
    await take(store, "t1", "one", "1")
    former = await scanned(store)
    assert (await row(store)).revision == 1

    assert await store.put("", [put("work", "two")]) == (2,)
    assert (await row(store)).revision == 2
    assert await scanned(store, revision=1) == former
    assert await store.load("", "work", revision=2) == await store.load("", "work")

    assert await store.put("", [Put(name="work", lines=former)]) == (3,)
    assert await scanned(store) == former


async def test_turns_go_on_after_a_replaced_history(store):
    await take(store, "t1", "one", "1")
    await store.put("", [put("work", "a", "b", "c")])
    await take(store, "t2", "two", "2")

    assert await said(store) == [(1, "a"), (2, "b"), (3, "c"), (4, "two"), (5, "2")]
    assert await said(store, revision=1) == [(1, "one"), (2, "1")]
    assert (await row(store)).turns == 2


async def test_a_former_history_comes_in_pages_too(store):
    await store.put("", [put("work", *"abcdef")])
    await store.put("", [put("work", "new")])

    assert await said(store, revision=1, after=2, limit=2) == [(3, "c"), (4, "d")]
    assert await said(store, revision=1, after=4, most_bytes=1) == [(5, "e")]


async def test_turns_that_came_to_nothing_are_no_part_of_a_former_history(store):
    await take(store, "t1", "one", "1")
    await store.settle(await claim(store, "t2", "two"), ended("t2", assistant("2"), kept=False))
    await store.put("", [put("work", "new")])

    assert await said(store, revision=1) == [(1, "one"), (2, "1")]


async def test_the_last_former_histories_are_kept(store):
    for number in range(1, REVISIONS_KEPT + 4):
        assert await store.put("", [put("work", f"text {number}")]) == (number,)

    for gone in [1, 2]:
        with pytest.raises(NotFound, match="work"):
            await store.load("", "work", revision=gone)
    kept = [await said(store, revision=number) for number in range(3, REVISIONS_KEPT + 4)]
    assert kept == [[(1, f"text {number}")] for number in range(3, REVISIONS_KEPT + 4)]


async def test_a_turn_whose_text_is_no_longer_kept_says_so(store):
    await take(store, "t1", "one", "1")
    await store.settle(await claim(store, "t2"), ended("t2", kept=False))
    for number in range(REVISIONS_KEPT):
        await store.put("", [put("work", f"text {number}")])
    assert await store.find("", "work", "t1") == (ended("t1").outcome, "1")

    await store.put("", [put("work", "one more")])
    with pytest.raises(NotFound, match=r"turn t1 of session 'work' is known, but its text is no longer kept"):
        await store.find("", "work", "t1")
    assert await store.find("", "work", "t2") == (ended("t2").outcome, "")


@pytest.mark.parametrize("revision", [0, 3, 99])
async def test_a_revision_that_never_was_is_not_found(store, revision):
    await store.put("", [put("work", "one")])
    await store.put("", [put("work", "two")])

    with pytest.raises(NotFound, match="work"):
        await store.load("", "work", revision=revision)


async def test_a_fork_goes_its_own_way(store, clock):
    await store.settle(
        await claim(store, "t1", "one"),
        ended("t1", assistant("1"), choices=Choices(model="m"), usage=Usage(input=3)),
    )
    await take(store, "t2", "two", "2")
    source = await whole(store)
    clock.now = 103.0

    copy = await store.fork("", "work", "copy")
    assert await whole(store) == source
    assert copy == await row(store, "copy")
    assert unversioned(copy) == SessionRow(
        name="copy", message_count=4, updated_at=103.0, choices=Choices(model="m"), version=0
    )
    assert await store.load("", "copy") == source[1]

    await take(store, "t3", "three", "3", name="copy")
    assert await whole(store) == source
    assert len(await store.load("", "copy")) == 6


@pytest.mark.parametrize(("upto", "left"), [(0, 0), (1, 1), (3, 3), (4, 4)])
async def test_a_fork_may_end_before_the_source_does(store, upto, left):
    await take(store, "t1", "one", "1")
    await take(store, "t2", "two", "2")

    assert (await store.fork("", "work", "copy", upto=upto)).message_count == left
    assert await store.load("", "copy") == (await store.load("", "work"))[:left]


async def test_a_fork_ends_at_a_message_that_is_there_and_asks_for_nothing(store):
    await store.put("", [put("work", "one")])
    claimed = await claim(store, "t1", "two")
    await store.append(claimed, [uses("u1"), results("u1")])
    await store.settle(claimed, ended("t1", assistant("2")))

    for upto in (-1, 6, 2**80):
        with pytest.raises(InvalidArgument, match=f"session 'work' has no message {upto}") as caught:
            await store.fork("", "work", "copy", upto=upto)
        assert caught.value.details["field"] == "after"
    with pytest.raises(InvalidArgument, match=r"message 3 of session 'work' asks for tools.* take 2 or 4"):
        await store.fork("", "work", "copy", upto=3)
    assert await store.row("", "copy") is None


async def test_a_fork_needs_a_source_and_a_new_name(store):
    with pytest.raises(NotFound, match="work"):
        await store.fork("", "work", "copy")
    assert await store.list("") == []

    await take(store, "t1")
    await take(store, "t2", name="copy")
    before = [await whole(store), await whole(store, "copy")]
    for new in ["copy", "work"]:
        with pytest.raises(AlreadyExists, match=new):
            await store.fork("", "work", new)
    assert [await whole(store), await whole(store, "copy")] == before


async def test_a_fork_has_no_former_histories_requests_or_hidden_turns(store):
    await store.put("", [put("work", "old")])
    await store.put("", [put("work", "new")])
    failed = await claim(store, "t1", "x", request_id="r")
    await store.settle(failed, ended("t1", assistant("y"), kept=False))

    await store.fork("", "work", "copy")

    assert await said(store, "copy") == [(1, "new")]
    assert await store.repeated("", "copy", "r") is None
    with pytest.raises(NotFound):
        await store.load("", "copy", revision=2)


async def test_a_fork_outlives_its_source(store):
    await take(store, "t1")
    await store.fork("", "work", "copy")
    await store.delete("", "work")

    assert await said(store, "copy") == [(1, "hi"), (2, "hello")]
