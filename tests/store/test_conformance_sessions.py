"""What every store must do: sessions made, seen, listed, read in pages and removed."""

import pytest

from eai_mcp.errors import NotFound, SessionBusy
from eai_mcp.messages import Usage, assistant, line
from eai_mcp.store import Choices, Put, Running, SessionRow
from tests.store.taking import ask, claim, ended, row, said, take, unversioned, whole


async def test_a_session_is_made_once(store, clock):
    assert await store.ensure("", "work")
    clock.now = 104.0
    assert not await store.ensure("", "work")

    assert await store.load("", "work") == []
    assert await row(store) == SessionRow(name="work", message_count=0, updated_at=100.0)


async def test_what_is_not_there_has_no_row_and_no_history(store):
    assert await store.row("", "none") is None
    with pytest.raises(NotFound, match="none"):
        await store.load("", "none")
    with pytest.raises(NotFound, match="none"):
        await store.find("", "none")
    assert await store.row("", "none") is None


async def test_the_rows_of_several_are_those_that_are_there_in_that_space(store):
    for space, name in (("", "a"), ("", "b"), ("alice", "c")):
        await store.ensure(space, name)
    assert await store.rows("", ["b", "c", "none", "a"]) == [
        await store.row("", "b"),
        await store.row("", "a"),
    ]
    assert await store.rows("", []) == []


async def test_a_row_tells_all_but_the_messages(store, clock):
    claimed = await claim(store, "t1")
    clock.now = 101.0
    choices, usage = Choices(model="m", prompt="p", card="c", pty_session_id="1"), Usage(input=3, output=5)
    await store.settle(claimed, ended("t1", assistant("hello"), choices=choices, usage=usage))

    assert unversioned(await row(store)) == SessionRow(
        name="work", message_count=2, updated_at=101.0, choices=choices, usage=usage, turns=1, version=0
    )
    assert await store.list("") == [await row(store)]


async def test_the_list_shows_what_runs_and_what_waits(store):
    await claim(store, "t1", name="busy")
    await ask(store, "t2")

    busy, work = await store.list("")
    assert (busy.running, busy.question) == (Running("t1", 100.0), None)
    assert (work.running, work.question) == (None, (await row(store)).question)
    assert work.question is not None


async def names(store, **where):
    return [row.name for row in await store.list("", **where)]


async def test_sessions_are_listed_in_byte_order_and_in_pages(store):
    for name in ["b", "a", "B", "ab", "c"]:
        await store.ensure("", name)

    assert await names(store) == ["B", "a", "ab", "b", "c"]
    assert await names(store, limit=2) == ["B", "a"]
    assert await names(store, after="a", limit=2) == ["ab", "b"]
    assert await names(store, after="aa") == ["ab", "b", "c"]
    assert await names(store, after="c") == []


async def test_a_prefix_is_taken_letter_by_letter(store):
    for name in ["a", "ab", "a_", "a%", "a*", "A_", "a[b]", "a\N{LATIN SMALL LETTER E WITH ACUTE}", "b"]:
        await store.ensure("", name)

    assert await names(store, prefix="a") == ["a", "a%", "a*", "a[b]", "a_", "ab", "a\u00e9"]
    assert await names(store, prefix="a_") == ["a_"]
    assert await names(store, prefix="a%") == ["a%"]
    assert await names(store, prefix="a*") == ["a*"]
    assert await names(store, prefix="a[") == ["a[b]"]
    assert await names(store, prefix="z") == []
    assert await names(store, prefix="a", after="a_", limit=1) == ["ab"]
    assert await names(store, prefix="b", after="a") == ["b"]
    assert await names(store, prefix="a", after="b") == []


async def test_a_list_shows_a_hundred_unless_told_otherwise(store):
    await store.put("", [Put(name=f"s{number:03}", lines=()) for number in range(101)])

    assert len(await store.list("")) == 100
    assert len(await store.list("", limit=200)) == 101


async def test_history_comes_in_pages(store):
    for number in range(3):
        await take(store, f"t{number}", f"q{number}", f"a{number}")

    async def page(**where):
        return [seq for seq, _ in await said(store, **where)]

    assert await page() == [1, 2, 3, 4, 5, 6]
    assert await page(limit=4) == [1, 2, 3, 4]
    assert await page(limit=9) == [1, 2, 3, 4, 5, 6]
    assert await page(after=4) == [5, 6]
    assert await page(after=6) == []
    assert await page(after=60) == []
    assert await page(after=1, limit=2) == [2, 3]


async def test_a_page_ends_with_the_entry_that_passes_its_size(store):
    lines = [line(assistant("x" * 10_000), turn_id="t", at=1.0)] * 4
    await store.put("", [Put(name="work", lines=lines)])

    async def page(**where):
        return [seq for seq, _ in await said(store, **where)]

    assert await page(most_bytes=1) == [1]
    assert await page(most_bytes=15_000) == [1, 2]
    assert await page(most_bytes=25_000, after=1) == [2, 3, 4]
    assert await page(most_bytes=1_000_000) == [1, 2, 3, 4]
    assert await page(most_bytes=25_000, limit=2) == [1, 2]
    assert await page(most_bytes=5_000, limit=2) == [1]


async def test_a_removed_session_is_gone_with_all_that_belonged_to_it(store):
    await take(store, "t1")
    await store.put("", [Put(name="work", lines=())])
    await claim_with_request(store)

    assert await store.delete("", "work")

    assert (await store.row("", "work"), await store.list("")) == (None, [])
    with pytest.raises(NotFound):
        await store.load("", "work")
    assert await store.repeated("", "work", "r") is None
    assert not await store.delete("", "work")


async def claim_with_request(store):
    claimed = await claim(store, "t2", request_id="r")
    await store.settle(claimed, ended("t2"))


async def test_a_session_made_again_starts_afresh(store):
    await take(store, "t1")
    await store.put("", [Put(name="work", lines=())])
    await claim_with_request(store)
    await ask(store, "t3")
    await store.delete("", "work")

    assert await store.ensure("", "work")

    assert unversioned(await row(store)) == SessionRow(
        name="work", message_count=0, updated_at=100.0, version=0
    )
    assert await store.load("", "work") == []
    for turn_id in ["t1", "t2", "t3", None]:
        with pytest.raises(NotFound):
            await store.find("", "work", turn_id)
    with pytest.raises(NotFound):
        await store.load("", "work", revision=2)
    claimed = await claim(store, "t1", request_id="r", expect=(await row(store)).version)
    await store.settle(claimed, ended("t1", assistant("anew")))
    assert await said(store) == [(1, "hi"), (2, "anew")]


async def test_a_session_is_not_removed_while_a_turn_is_running(store, clock):
    await claim(store, "t1")
    clock.now = 101.5
    before = await whole(store)

    with pytest.raises(SessionBusy) as caught:
        await store.delete("", "work")
    assert caught.value.details == {"chat_session": "work", "turn_id": "t1", "running_s": 1.5}
    assert await whole(store) == before


async def test_only_the_named_session_is_removed(store):
    await take(store, "t1", name="work")
    await take(store, "t2", name="works")

    await store.delete("", "work")

    assert await names(store) == ["works"]
    assert len(await store.load("", "works")) == 2
