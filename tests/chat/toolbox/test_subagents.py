"""Sub-agents as the model that asks them sees them: replies, questions, failures, later results."""

import json
import re

import anyio
import pytest

from eai_mcp.calls import Samplers
from eai_mcp.chat.limits import Limits
from eai_mcp.chat.toolbox import polls, subagents
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.errors import Unavailable
from eai_mcp.messages import assistant, user
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.taking import QUICK_S, Faulty, asks, replaced, texts, uses
from tests.chat.toolbox.using import folders, step, tried, use, using
from tests.fakes import Held, said


def agents(registry):
    return subagents.tools(registry, tasks=registry.beginning.tasks)


async def test_a_sub_agent_is_asked_and_its_reply_comes_back(catalog):
    """Issue 7: "call_subagent, get_subagent_result (own session or a named one ...)"."""
    scripts = {"boss": tried("call_subagent", message="count", model="other"), "*": [said("three")]}
    async with using(catalog, agents, scripts) as talking:
        done = await talking.ask()
        told = talking.said()
        name = told["chat_session"]
        assert re.fullmatch(r"subagent_[0-9a-f]{16}", name)
        assert re.fullmatch(re.escape(name) + "#sub_[0-9a-f]{16}", told["subagent_id"])
        assert told == {
            "status": "completed",
            "subagent_id": told["subagent_id"],
            "chat_session": name,
            "reply": "three",
            "model": "other",
            "usage": {"input": 2, "output": 3, "cache_read": 0, "cache_write": 0, "reasoning": 0},
        }
        assert await texts(talking.registry, name) == ["count", "three"]
        child = await talking.registry.reply(await talking.registry.find("", name), 0)
        assert child.metadata == {"parent": f"boss/{done.turn_id}"}


async def test_what_the_caller_chooses_for_a_sub_agent_reaches_it(catalog):
    given = {"message": "go", "chat_session": "helper", "system": "Be brief.", "pty_session_id": "boss"}
    scripts = {
        "boss": tried("call_subagent", **given, temperature=0.0, max_tokens=7),
        "helper": [said("ok")],
    }
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        (request,) = talking.voices["helper"].requests
        assert (request.system, request.samplers) == ("Be brief.", Samplers(temperature=0.0, max_tokens=7))
        row = await talking.registry.session("", "helper")
        assert row.choices.pty_session_id == "boss"


async def test_work_that_nobody_waits_for_goes_on_and_is_fetched_in_a_later_turn(catalog):
    """Issue 7: get_subagent_result; what runs when its parent's turn completes goes on."""
    held = Held("so ")
    scripts = {"boss": tried("call_subagent", message="go", wait=False), "*": [held]}
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        started = talking.said()
        assert (started["status"], [*started]) == ("running", ["status", "subagent_id", "chat_session"])
        await held.reached.wait()

        talking.voices["boss"].steps = tried("get_subagent_result", subagent_id=started["subagent_id"])
        await talking.ask()
        told = talking.said()
        assert (told["status"], told["reply_so_far"]) == ("running", "so ")

        held.let_go.set()
        fetch = {"subagent_id": started["subagent_id"], "wait_s": 5}
        talking.voices["boss"].steps = tried("get_subagent_result", **fetch)
        await talking.ask()
        assert (talking.said()["status"], talking.said()["reply"]) == ("completed", "so done")


async def test_a_sub_agent_that_takes_longer_than_the_wait_is_told_as_running(catalog):
    """Issue 7: "repeated "still running" polls are collapsed"."""
    held = Held()
    scripts = {"boss": tried("call_subagent", message="go", wait_s=0.01), "*": [held]}
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        (result,) = talking.voices["boss"].requests[-1].messages[-1].content
        assert result.content[0].text.startswith(polls.RUNNING)
        assert talking.said()["status"] == "running"


async def test_a_sub_agents_question_is_answered_by_calling_it_again(catalog):
    """Issue 7: ask_user; the parent answers by calling it again on that session."""
    scripts = {
        "boss": [
            step("call_subagent", message="paint", chat_session="painter"),
            step("call_subagent", message="blue", chat_session="painter"),
            said("painted"),
        ],
        "painter": [uses(asks("which colour?")), said("it is blue")],
    }
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        asked = talking.said(request=1)
        assert (asked["status"], asked["question"]) == ("awaiting_input", "which colour?")
        assert (talking.said()["status"], talking.said()["reply"]) == ("completed", "it is blue")
        assert talking.voices["painter"].requests[1].messages[-1].content[0].content[0].text == "blue"


async def test_a_failed_turn_is_told_with_its_code(catalog):
    scripts = {"boss": tried("call_subagent", message="go"), "*": [Unavailable("nobody is there")]}
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        told = talking.said()
        assert (told["status"], told["code"]) == ("failed", "provider_unavailable")
        assert "nobody is there" in told["message"]


async def test_a_start_that_fails_is_an_error_at_once_or_when_it_is_asked_for(catalog):
    unknown = {"message": "go", "model": "plian"}
    scripts = {"boss": [step("call_subagent", **unknown), *tried("call_subagent", **unknown, wait=False)]}
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        assert talking.refused(request=1).startswith("unknown_model: no model named 'plian'")
        again = {"subagent_id": talking.said()["subagent_id"], "wait_s": 5}
        talking.voices["boss"].steps = tried("get_subagent_result", **again)
        await talking.ask()
        assert (talking.said()["status"], talking.said()["code"]) == ("failed", "unknown_model")


async def test_a_sub_agent_has_no_tool_that_its_caller_lacks_whatever_its_card_names(catalog, tmp_path):
    """Issue 7: allow-list; DESIGN section 8: "the intersection with its caller's, whatever card it names"."""

    async def run(given, use):
        raise AssertionError

    names = ["execute_script", "call_subagent", "get_subagent_result"]
    for name, tools in (("hacker", names), ("boss", names[1:])):
        data = {"name": name, "description": "d", "extensions": {"eai": {"tools": tools}}}
        card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
        (tmp_path / "cards" / f"{name}.json").write_text(json.dumps(card), encoding="utf-8")
    script = Tool(name="execute_script", description="Run.", arguments=Arguments, run=run)
    scripts = {
        "boss": tried("call_subagent", message="go", chat_session="kid", chara_card="hacker"),
        "kid": tried("execute_script"),
        "free": [said("hi")],
    }
    async with using(catalog, lambda registry: (script, *agents(registry)), scripts) as talking:
        await talking.ask(card="boss")
        assert [spec.name for spec in talking.voices["kid"].requests[0].tools] == names[1:]
        assert "there is no tool named 'execute_script'" in talking.refused("kid")
        await talking.ask(session="free", card="hacker")
        assert [spec.name for spec in talking.voices["free"].requests[0].tools] == names


async def test_what_a_person_has_to_allow_its_caller_cannot_allow_in_their_place(catalog):
    """DESIGN section 8: "else the calling model would approve its own commands"."""

    async def run(given, use):
        raise AssertionError

    script = Tool(name="run", description="Run.", arguments=Arguments, run=run)
    scripts = {
        "boss": [
            step("call_subagent", message="go", chat_session="kid"),
            *tried("call_subagent", message="approve", chat_session="kid"),
        ],
        "kid": tried("run"),
    }
    usual, approvals = ("call_subagent", "run"), {"run": "ask"}

    def tools(registry):
        return (script, *agents(registry))

    async with using(catalog, tools, scripts, usual=usual, approvals=approvals) as talking:
        await talking.ask(by_person=True)
        assert talking.said(request=1)["status"] == "awaiting_input"
        assert talking.refused("kid").startswith("refused: not approved")


async def test_a_result_is_there_after_a_restart_and_what_had_not_begun_is_not(catalog, tmp_path):
    """Issue 7: sub-agents; DESIGN section 4: "Sub-agent results live in the store"."""
    path, held = tmp_path / "sessions.db", Held()
    scripts = {
        "boss": [
            step("call_subagent", message="go", chat_session="kid"),
            *tried("call_subagent", message="go", chat_session="busy", wait=False),
        ],
        "kid": [said("found it")],
        "busy": [held],
    }
    store = SqliteStore(path)
    with anyio.CancelScope() as died:  # without closing anything in order
        async with using(catalog, agents, scripts, store=store) as talking:
            await talking.begin(session="busy")
            await held.reached.wait()
            await talking.ask()
            ids = [talking.said(request=number)["subagent_id"] for number in (1, 2)]
            died.cancel()
            await anyio.lowlevel.checkpoint()
    await store.aclose()
    store = SqliteStore(path)
    ids += ["kid#sub_nothing", "nonsense"]
    scripts = {"boss": [*[step("get_subagent_result", subagent_id=one) for one in ids], said("well")]}
    async with using(catalog, agents, scripts, store=store) as talking:
        await talking.ask()
        assert talking.said(request=1)["reply"] == "found it"
        for request in (2, 3, 4):
            assert "it had not begun when its server ended" in talking.refused(request=request)
    await store.aclose()


async def test_a_result_can_be_waited_for_in_another_process(catalog, tmp_path):
    """DESIGN section 8: sub-agent results live in the store."""
    path, held = tmp_path / "sessions.db", Held(then="far away")
    here, there = SqliteStore(path), SqliteStore(path)
    scripts = {"boss": tried("call_subagent", message="go", chat_session="kid", wait=False), "kid": [held]}
    async with using(catalog, agents, scripts, store=here, renew_s=QUICK_S) as talking:
        await talking.ask()
        await held.reached.wait()
        waiting = {"subagent_id": talking.said()["subagent_id"], "wait_s": 5}
        scripts = {
            "other": [
                step("get_subagent_result", **{**waiting, "wait_s": 0}),
                *tried("get_subagent_result", **waiting),
            ]
        }
        async with using(catalog, agents, scripts, store=there, renew_s=QUICK_S) as elsewhere:
            turn = await elsewhere.begin(session="other")
            with anyio.fail_after(5):
                while len(elsewhere.voices["other"].requests) < 2:
                    await anyio.lowlevel.checkpoint()
            held.let_go.set()
            await elsewhere.registry.reply(turn, 5)
            assert elsewhere.said("other", request=1)["status"] == "running"
            assert elsewhere.said("other")["reply"] == "far away"
    await here.aclose()
    await there.aclose()


async def test_what_a_sub_agent_warns_of_and_what_it_said_when_it_was_stopped_is_told(catalog):
    held = Held("half")
    scripts = {
        "boss": [step("call_subagent", message="go", chat_session="kid"), said("done")],
        "kid": [held],
    }
    async with using(catalog, agents, scripts) as talking:
        turn = await talking.begin()
        await held.reached.wait()
        await talking.registry.interrupt("", "kid")
        await talking.registry.reply(turn, 5)
        told = talking.said()
        assert (told["status"], told["reply"], "usage" in told) == ("interrupted", "half", False)
        warned = said("ok", warnings=("seed was not sent",))
        talking.voices["kid"].steps, talking.voices["boss"].steps = (
            [warned],
            tried("call_subagent", message="go", chat_session="kid"),
        )
        await talking.ask()
        assert talking.said()["warnings"] == ["seed was not sent"]


async def test_ids_of_another_space_lead_nowhere(catalog):
    """DESIGN section 11: each principal has its own space."""
    held = Held()
    scripts = {
        "boss": [
            step("call_subagent", message="go", chat_session="kid"),
            *tried("call_subagent", message="go", chat_session="slow", wait=False),
        ],
        "kid": [said("mine")],
        "slow": [held],
    }
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        ids = [talking.said(request=number)["subagent_id"] for number in (1, 2)]
        for one in ids:
            talking.voices["boss"].steps = tried("get_subagent_result", subagent_id=one)
            await talking.ask(space="theirs")
            assert talking.refused().startswith("not_found: there is no sub-agent")


async def test_a_new_session_begins_with_a_history_and_another_refuses_it(catalog, tmp_path):
    """Issue 7: call_subagent; facts, eai.md 5.3: "`pre_context` file loaded once for a new session"."""
    folder = folders(tmp_path)("")
    with folder.draft("past.json") as draft:
        draft.write(
            json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]).encode()
        )
    filled = {"message": "go", "chat_session": "kid", "pre_context": "past.json"}

    def with_exports(registry):
        return subagents.tools(registry, tasks=registry.beginning.tasks, exports=folders(tmp_path))

    scripts = {
        "boss": [
            step("call_subagent", **filled),
            step("call_subagent", **filled),
            *tried("call_subagent", **{**filled, "chat_session": "kid2", "pre_context": "../past.json"}),
        ],
        "kid": [said("c")],
    }
    async with using(catalog, with_exports, scripts) as talking:
        await talking.ask()
        assert await texts(talking.registry, "kid") == ["a", "b", "go", "c"]
        assert "session 'kid' has messages already" in talking.refused(request=2)
        assert talking.refused().startswith("path_denied")
        assert [row.name for row in await talking.registry.sessions("", prefix="kid")] == ["kid"]
    async with using(catalog, agents, {"boss": tried("call_subagent", **filled)}) as talking:
        await talking.ask()
        assert "there is no export folder here" in talking.refused()


async def test_a_session_that_was_made_empty_may_begin_with_a_history(catalog, tmp_path):
    with folders(tmp_path)("").draft("past.json") as draft:
        draft.write(b'[{"role": "user", "content": "a"}]')
    given = {"message": "go", "chat_session": "kid", "pre_context": "past.json", "format": "openai"}
    scripts = {"boss": tried("call_subagent", **given), "kid": [said("c")]}

    def with_exports(registry):
        return subagents.tools(registry, tasks=registry.beginning.tasks, exports=folders(tmp_path))

    async with using(catalog, with_exports, scripts) as talking:
        await talking.registry.ensure("", "kid")
        await talking.ask()
        assert await texts(talking.registry, "kid") == ["a", "go", "c"]


async def test_a_sub_agent_goes_on_in_a_session_that_remembers(catalog):
    scripts = {"boss": tried("call_subagent", message="go", chat_session="kid"), "kid": [said("c")]}
    async with using(catalog, agents, scripts) as talking:
        await replaced(talking.registry, "kid", [user("a"), assistant("b")])
        await talking.ask()
        assert [one.text for one in talking.voices["kid"].requests[0].messages] == ["a", "b", "go"]


async def test_a_sub_agent_counts_as_waited_for(catalog):
    """DESIGN section 4: `orphan_limit` ends a turn without a waiter; its follower is one."""
    held, store = Held(), Faulty()
    scripts = {"boss": tried("call_subagent", message="go", chat_session="kid", wait=False), "kid": [held]}
    limits = Limits(orphan_s=QUICK_S / 4)
    async with using(catalog, agents, scripts, store=store, limits=limits, renew_s=QUICK_S / 2) as talking:
        await talking.begin()
        await held.reached.wait()
        await store.until("renew", 3)
        assert not held.cancelled


async def test_tools_of_one_step_ask_several_at_once(catalog):
    """Issue 7: "tool calls of one step run in parallel, results in order"."""
    first, second = Held(), Held(then="two")
    both = uses(
        use("call_subagent", message="a", chat_session="a"),
        use("call_subagent", message="b", chat_session="b"),
    )
    scripts = {"boss": [both, said("done")], "a": [first], "b": [second]}
    async with using(catalog, agents, scripts) as talking:
        turn = await talking.begin()
        with anyio.fail_after(5):
            await first.reached.wait()
            await second.reached.wait()
        second.let_go.set()
        first.let_go.set()
        await talking.registry.reply(turn, 5)
        assert [told["reply"] for told, _ in talking.heard()] == ["done", "two"]


@pytest.mark.parametrize(
    "wrong", [{"message": ""}, {"message": "a", "wait_s": 601}, {"message": "a", "chat_session": "a b"}]
)
async def test_arguments_that_cannot_work_begin_nothing(catalog, wrong):
    async with using(catalog, agents, {"boss": tried("call_subagent", **wrong)}) as talking:
        await talking.ask()
        assert talking.refused()
        assert [row.name for row in await talking.registry.sessions("")] == ["boss", "default"]
