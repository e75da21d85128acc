"""Turns that wait for other turns: lines, circles, depth, and interrupts that reach all of them."""

from dataclasses import dataclass

import anyio

from eai_mcp.calls import unheard
from eai_mcp.chat.toolbox import children, subagents
from eai_mcp.chat.toolbox.children import Child, Children
from eai_mcp.chat.toolbox.kit import Kit
from eai_mcp.chat.toolbox.use import Use
from eai_mcp.chat.values import Talk
from eai_mcp.errors import Unavailable
from eai_mcp.middleware import ToolRun
from eai_mcp.store import Claim
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import asks, outcome, texts, uses
from tests.chat.toolbox.using import step, tried, use, using
from tests.fakes import Held, said
from tests.store.taking import unpaired


def agents(registry):
    return subagents.tools(registry, tasks=registry.beginning.tasks, most_depth=2)


def calling(session, message="go", **given):
    return step("call_subagent", message=message, chat_session=session, **given)


async def stopped(talking, session="boss"):
    """The session's turn was interrupted."""
    with anyio.fail_after(5):
        done = await talking.registry.interrupt("", session)
    assert done.status == "interrupted"


async def test_who_asks_a_busy_session_stands_in_line(catalog):
    """Issue 7: "queue per busy session"."""
    held = Held()
    script = [calling("work", text, wait=False) for text in ("first", "second", "third")]
    scripts = {"boss": [*script, said("done")], "work": [held, *map(said, ("1", "2", "3"))]}
    async with using(catalog, agents, scripts) as talking:
        await talking.begin("own", "work")
        await held.reached.wait()
        await talking.ask()
        ids = [talking.said(request=number)["subagent_id"] for number in (1, 2, 3)]
        talking.voices["boss"].steps = tried("get_subagent_result", subagent_id=ids[2])
        await talking.ask()
        assert talking.said() == {
            "status": "running",
            "subagent_id": ids[2],
            "chat_session": "work",
            "queued": True,
        }
        held.let_go.set()
        talking.voices["boss"].steps = tried("get_subagent_result", subagent_id=ids[2], wait_s=5)
        await talking.ask()
        assert talking.said()["reply"] == "3"
        assert await texts(talking.registry, "work") == [
            "own",
            "done",
            "first",
            "1",
            "second",
            "2",
            "third",
            "3",
        ]


async def test_a_session_whose_question_came_meanwhile_is_not_answered_unseen(catalog):
    held = Held()

    async def asking(request, emit):
        await held(request, emit)
        return uses(asks("which?"))

    scripts = {"boss": [calling("work"), said("done")], "work": [asking]}
    async with using(catalog, agents, scripts) as talking:
        await talking.begin(session="work")
        await held.reached.wait()
        turn = await talking.begin()
        with anyio.fail_after(5):
            while not talking.registry.beginning.lines.is_taken(("", "work")):
                await anyio.lowlevel.checkpoint()
        held.let_go.set()
        await talking.registry.reply(turn, 5)
        assert talking.refused().startswith("conflict")


async def test_an_interrupt_reaches_whom_it_waits_for_whom_it_does_not_and_who_stands_in_line(catalog):
    """Issue 7: "a parent's interrupt reaches its children"."""
    own, waited, slow = Held(), Held(), Held()
    calls = uses(
        use("call_subagent", message="go", chat_session="waited"),
        use("call_subagent", message="go", chat_session="line"),
    )
    scripts = {
        "boss": [calling("slow", wait=False), calls],
        "waited": [waited],
        "slow": [slow],
        "line": [own, said("no")],
    }
    async with using(catalog, agents, scripts) as talking:
        line = await talking.begin("own", "line")
        await own.reached.wait()
        await talking.begin()
        await waited.reached.wait()
        await slow.reached.wait()
        await stopped(talking)
        assert waited.cancelled
        assert slow.cancelled
        for session in ("waited", "slow"):
            ended = await outcome(talking.registry, session=session)
            assert (ended.status, ended.warnings) == ("interrupted", (children.STOPPED,))
        kept = [one.message for one in await talking.registry.history("", "boss")]
        assert unpaired(kept) == []

        own.let_go.set()
        await talking.registry.reply(line, 5)
        talking.voices["line"].steps = [said("next")]
        await talking.ask("later", "line")
        assert await texts(talking.registry, "line") == ["own", "done", "later", "next"]
        talking.voices["boss"].steps = [said("clean")]
        assert (await talking.ask()).reply == "clean"


async def test_an_interrupt_reaches_grandchildren(catalog):
    """Issue 7: `interrupt` "while a sub-agent runs: ... history valid, next turn clean"."""
    held = Held()
    scripts = {"boss": [calling("kid")], "kid": [calling("kidskid")], "kidskid": [held]}
    async with using(catalog, agents, scripts) as talking:
        await talking.begin()
        await held.reached.wait()
        await stopped(talking)
        assert held.cancelled
        for session in ("kid", "kidskid"):
            assert (await outcome(talking.registry, session=session)).status == "interrupted"
            row = await talking.registry.session("", session)
            assert row.running is None


async def test_an_interrupt_of_a_later_turn_reaches_whom_it_looks_for(catalog):
    held = Held()
    scripts = {"boss": tried("call_subagent", message="go", chat_session="kid", wait=False), "kid": [held]}
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        await held.reached.wait()
        looking = {"subagent_id": talking.said()["subagent_id"], "wait_s": 60}
        talking.voices["boss"].steps = [step("get_subagent_result", **looking)]
        turn = await talking.begin()
        with anyio.fail_after(5):
            while len(turn.kit.begun.ends) < 1:
                await anyio.lowlevel.checkpoint()
        await stopped(talking)
        assert held.cancelled


async def test_who_was_ended_in_line_is_told_as_interrupted(catalog):
    own = Held()
    scripts = {"boss": [calling("line", wait=False), calling("line")], "line": [own], "other": []}
    async with using(catalog, agents, scripts) as talking:
        await talking.begin("own", "line")
        await own.reached.wait()
        turn = await talking.begin()
        with anyio.fail_after(5):
            while len(turn.kit.begun.ends) < 2:
                await anyio.lowlevel.checkpoint()
        await stopped(talking)
        assert turn.kit.begun.ends == {}
        known = talking.said(request=1)["subagent_id"]
        talking.voices["boss"].steps = tried("get_subagent_result", subagent_id=known, wait_s=5)
        await talking.ask()
        assert talking.said() == {"status": "interrupted", "subagent_id": known, "chat_session": "line"}


async def test_a_session_cannot_wait_for_itself_nor_for_whom_waits_for_it(catalog):
    """Issue 7: "depth, cycles and cancellation handled"; facts, eai.md 5.3: it "just waits itself out"."""
    scripts = {
        "boss": [calling("boss"), calling("kid"), said("done")],
        "kid": [calling("boss", wait=False), said("told")],
    }
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        assert "session 'boss' waits for this one" in talking.refused(request=1)
        assert "session 'boss' waits for this one" in talking.refused("kid")
        assert talking.said()["reply"] == "told"


async def test_two_sessions_cannot_wait_for_one_another(catalog):
    """Issue 7: cycles."""
    met = anyio.Event()

    async def later(request, emit):
        await met.wait()
        return calling("left")

    scripts = {"left": [calling("right"), said("done")], "right": [later, said("told"), said("answer")]}
    async with using(catalog, agents, scripts) as talking:
        right = await talking.begin(session="right")
        left = await talking.begin(session="left")
        with anyio.fail_after(5):
            while not left.kit.begun.ends:
                await anyio.lowlevel.checkpoint()
        met.set()
        await talking.registry.reply(right, 5)
        await talking.registry.reply(left, 5)
        assert "session 'left' waits for this one" in talking.refused("right", request=1)
        assert talking.said("left")["reply"] == "answer"


async def test_the_result_of_a_turn_that_waits_for_this_one_cannot_be_waited_for(catalog):
    """Issue 7: cycles."""
    known: list[str] = []
    held = Held()

    async def asks_for_its_own(request, emit):
        await held(request, emit)
        return step("get_subagent_result", subagent_id=known[0], wait_s=60)

    scripts = {"boss": [calling("kid"), said("done")], "kid": [asks_for_its_own, said("well")]}
    async with using(catalog, agents, scripts) as talking:
        turn = await talking.begin()
        await held.reached.wait()
        known += turn.kit.begun.ends
        held.let_go.set()
        await talking.registry.reply(turn, 5)
        assert "session 'kid' waits for this one" in talking.refused("kid")
        assert talking.said()["reply"] == "well"


async def test_sub_agents_are_only_so_deep(catalog):
    """Issue 7: limits on "sub-agent depth"."""
    scripts = {
        "boss": [calling("one"), said("done")],
        "one": [calling("two"), said("1")],
        "two": [calling("three"), said("2")],
    }
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        assert talking.refused("two").startswith("limit_exceeded: sub-agents may be 2 deep")
        assert talking.said()["reply"] == "1"


async def test_only_so_many_are_under_way_at_once(catalog):
    held = [Held() for _ in range(children.MOST_AT_ONCE)]
    names = [f"kid{number}" for number in range(len(held))]
    many = uses(*[use("call_subagent", message="go", chat_session=name, wait=False) for name in names])
    scripts = {
        "boss": [many, calling("more"), said("done")],
        **{n: [h] for n, h in zip(names, held, strict=True)},
    }
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        assert "64 sub-agents are under way already" in talking.refused()


async def test_nothing_is_left_when_the_registry_closes(catalog):
    """Issue 7: nothing survives the server."""
    held, own = Held(), Held()
    scripts = {
        "boss": [calling("kid", wait=False), calling("line", wait=False), said("done")],
        "kid": [held],
        "line": [own, said("late")],
    }
    store = SqliteStore(None)
    async with using(catalog, agents, scripts, store=store) as talking:
        await talking.begin("own", "line")
        await own.reached.wait()
        await talking.ask()
        await held.reached.wait()
    assert held.cancelled
    assert [row.running for row in await store.list("")] == [None] * 3
    await store.aclose()


@dataclass
class Refusing:
    """Turns that cannot begin."""

    error: Exception

    async def begin(self, space, talk):
        raise self.error

    async def stop(self, space, turn, reason=None):
        raise AssertionError


async def never_begun(error, count=1):
    """Children that could not begin, and what still knows them."""
    run = ToolRun(session="boss", turn_id="t", name="call_subagent", input={}, emit=unheard)
    of_boss = Use(claim=Claim("", "boss", "t"), run=run, kit=Kit())
    every = [Child(space="", talk=Talk(content="go", session="kid", request_id=f"{n}")) for n in range(count)]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            known = Children(Refusing(error), tasks)
            for child in every:
                known.start(child, of_boss)
    assert of_boss.kit.begun.ends == {}
    return every, known


async def test_a_bug_ends_one_child_and_not_the_server(caplog):
    (child,), _ = await never_begun(ZeroDivisionError())
    assert child.refused.code == "internal"
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


async def test_only_so_many_that_never_began_are_remembered():
    every, known = await never_begun(Unavailable("no"), children.MOST_REMEMBERED + 2)
    assert len([one for one in every if known.get("", one.id)]) == children.MOST_REMEMBERED
