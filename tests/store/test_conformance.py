"""What every store must do, run on each of them."""

import pytest

from eai_mcp.errors import Conflict, NotFound, SessionBusy
from eai_mcp.messages import Usage, assistant, user
from eai_mcp.store import Choices, Claim, Entry, Outcome, Running, SessionRow, Settlement
from eai_mcp.store.memory import OUTCOMES_KEPT, MemoryStore


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory"])
async def store(clock):
    store = MemoryStore(now=clock)
    yield store
    await store.aclose()


def ended(turn_id, **fields):
    return Settlement(outcome=Outcome(turn_id=turn_id, status="completed", report={}), **fields)


async def take(store, name, turn_id, said, reply, space=""):
    claim = await store.claim(space, name, turn_id, user(said))
    await store.settle(claim, ended(turn_id, messages=(assistant(reply),)))


async def test_a_settled_turn_is_in_the_history(store, clock):
    claim = await store.claim("", "work", "t1", user("hi"))
    clock.now = 101.0
    choices, usage = Choices(model="m"), Usage(input=3, output=5)
    await store.settle(claim, ended("t1", messages=(assistant("hello"),), choices=choices, usage=usage))

    assert await store.load("", "work") == [
        Entry(1, "t1", 100.0, user("hi")),
        Entry(2, "t1", 101.0, assistant("hello")),
    ]
    row = SessionRow(name="work", message_count=2, updated_at=101.0, choices=choices, usage=usage)
    assert await store.row("", "work") == row


async def test_a_running_turn_shows_in_the_row_and_not_in_the_history(store):
    await store.claim("", "work", "t1", user("hi"))

    row = await store.row("", "work")
    assert row is not None
    assert row.running == Running("t1", 100.0)
    assert (await store.load("", "work"), row.message_count) == ([], 0)


async def test_a_second_turn_is_refused_while_one_is_running(store, clock):
    await store.claim("", "work", "t1", user("hi"))
    clock.now = 103.25

    with pytest.raises(SessionBusy, match=r"turn t1 has been running for 3\.2 s") as caught:
        await store.claim("", "work", "t2", user("hi again"))
    assert caught.value.details == {"chat_session": "work", "turn_id": "t1", "running_s": 3.2}


async def test_a_turn_that_came_to_nothing_leaves_no_message(store):
    await take(store, "work", "t1", "one", "1")
    claim = await store.claim("", "work", "t2", user("two"))
    await store.settle(claim, ended("t2", kept=False, usage=Usage(input=7)))
    await take(store, "work", "t3", "three", "3")

    said = [(entry.seq, entry.message.text) for entry in await store.load("", "work")]
    assert said == [(1, "one"), (2, "1"), (3, "three"), (4, "3")]
    row = await store.row("", "work")
    assert row is not None
    assert row.usage == Usage(input=7)


async def test_choices_stay_when_a_turn_sets_none(store):
    claim = await store.claim("", "work", "t1", user("hi"))
    await store.settle(claim, ended("t1", choices=Choices(model="m", prompt="p")))
    await take(store, "work", "t2", "more", "ok")

    row = await store.row("", "work")
    assert row is not None
    assert row.choices == Choices(model="m", prompt="p")


async def test_a_turn_can_be_settled_once_only(store):
    claim = await store.claim("", "work", "t1", user("hi"))
    await store.settle(claim, ended("t1"))

    with pytest.raises(Conflict, match="turn t1 of session 'work' has already ended"):
        await store.settle(claim, ended("t1"))
    await store.claim("", "work", "t2", user("next"))
    with pytest.raises(Conflict):
        await store.settle(Claim("", "work", "t1"), ended("t1"))


async def test_an_outcome_is_found_by_its_turn_or_as_the_last(store):
    await take(store, "work", "t1", "one", "1")
    await take(store, "work", "t2", "two", "2")

    first, reply = await store.outcome("", "work", "t1")
    assert (first.turn_id, reply) == ("t1", "1")
    last, reply = await store.outcome("", "work")
    assert (last.turn_id, reply) == ("t2", "2")


async def test_a_turn_without_a_reply_has_an_empty_one(store):
    claim = await store.claim("", "work", "t1", user("hi"))
    await store.settle(claim, ended("t1", kept=False))

    assert (await store.outcome("", "work", "t1"))[1] == ""


@pytest.mark.parametrize("turn_id", ["t9", None])
async def test_an_outcome_that_is_not_there_is_said_to_be_not_found(store, turn_id):
    await store.ensure("", "work")

    with pytest.raises(NotFound, match="session 'work' has no finished turn"):
        await store.outcome("", "work", turn_id)


async def test_old_outcomes_make_room_in_memory(clock):
    store = MemoryStore(now=clock)
    for number in range(OUTCOMES_KEPT + 1):
        await take(store, "work", f"t{number}", "q", "a")

    with pytest.raises(NotFound):
        await store.outcome("", "work", "t0")
    assert (await store.outcome("", "work", "t1"))[0].turn_id == "t1"


async def test_unknown_sessions_are_not_found(store):
    with pytest.raises(NotFound, match="no session named 'none'"):
        await store.load("", "none")
    assert await store.row("", "none") is None


async def test_a_session_is_made_once(store):
    assert await store.ensure("", "work")
    assert not await store.ensure("", "work")
    assert await store.load("", "work") == []


async def test_history_comes_in_pages(store):
    for number in range(3):
        await take(store, "work", f"t{number}", f"q{number}", f"a{number}")

    async def page(**where):
        return [entry.seq for entry in await store.load("", "work", **where)]

    assert await page(limit=4) == [1, 2, 3, 4]
    assert await page(after=4) == [5, 6]
    assert await page(after=6) == []
    assert await page(after=1, limit=2) == [2, 3]


async def test_sessions_are_listed_in_byte_order_and_in_pages(store):
    for name in ["b", "a", "B", "ab", "c"]:
        await store.ensure("", name)

    async def names(**where):
        return [row.name for row in await store.list("", **where)]

    assert await names() == ["B", "a", "ab", "b", "c"]
    assert await names(limit=2) == ["B", "a"]
    assert await names(after="a", limit=2) == ["ab", "b"]
    assert await names(prefix="a") == ["a", "ab"]
    assert await names(prefix="a", after="a") == ["ab"]
    assert await names(prefix="z") == []


async def test_spaces_do_not_see_each_other(store):
    await take(store, "work", "t1", "mine", "yes", space="ann")
    await store.claim("bob", "work", "t2", user("his"))

    assert [row.name for row in await store.list("ann")] == ["work"]
    assert await store.list("") == []
    assert len(await store.load("ann", "work")) == 2
    assert await store.load("bob", "work") == []
    with pytest.raises(NotFound):
        await store.outcome("bob", "work", "t1")
