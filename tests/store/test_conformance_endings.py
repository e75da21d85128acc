"""What every store must do: a turn ends, and another history takes the place of its session's."""

from eai_mcp.messages import assistant, line, user
from eai_mcp.store import REVISIONS_KEPT, Put
from tests.store.taking import asking, claim, ended, results, row, said, scanned, start, take, uses

HISTORY = [line(user("shorter"), turn_id="t0", at=50.0)]


async def test_a_turn_that_ends_puts_its_own_words_behind_another_history(store):
    """Issue 7: replace_chat_session_context "applied to the turn's own history as it settles"."""
    await take(store, "t1", "long", "story")
    running = await claim(store, "t2", "shorten it")
    await store.append(running, (uses("u1"), results("u1")))
    await store.settle(running, ended("t2", assistant("done"), history=HISTORY))

    assert await said(store) == [(1, "shorter"), (2, "shorten it"), (3, ""), (4, ""), (5, "done")]
    assert (await row(store)).revision == 2
    assert [one.message.text for one in await scanned(store, revision=1)] == ["long", "story"]
    outcome, reply = await store.find("", "work", "t2")
    assert (outcome.turn_id, reply) == ("t2", "done")
    _, earlier = await store.find("", "work", "t1")
    assert earlier == "story"
    await take(store, "t3", "next", "reply")
    assert (await said(store))[-2:] == [(6, "next"), (7, "reply")]


async def test_a_turn_that_comes_to_nothing_puts_nothing_in_place(store):
    await take(store, "t1", "long", "story")
    running = await claim(store, "t2", "shorten it")
    await store.settle(running, ended("t2", history=HISTORY, kept=False))
    assert await said(store) == [(1, "long"), (2, "story")]
    assert (await row(store)).revision == 1


async def test_a_turn_that_asks_waits_behind_the_other_history(store):
    await take(store, "t1", "long", "story")
    running = await claim(store, "t2", "shorten it")
    await store.settle(running, asking("t2", "sure?", history=HISTORY))
    assert await said(store) == [(1, "shorter")]

    again = await store.claim("", "work", start("t2", "yes"))
    await store.settle(again, ended("t2", assistant("done")))
    assert [text for _, text in await said(store)] == ["shorter", "shorten it", "sure?", "yes", "done"]


async def test_of_many_replaced_histories_the_last_are_kept(store):
    for number in range(REVISIONS_KEPT + 5):
        running = await claim(store, f"t{number}", f"{number}")
        await store.settle(running, ended(f"t{number}", history=HISTORY))
    assert (await row(store)).revision == REVISIONS_KEPT + 6
    assert [one.message.text for one in await scanned(store, revision=6)] == ["shorter", "4"]
    await store.put("", [Put(name="work", lines=HISTORY)])
    assert await said(store) == [(1, "shorter")]
