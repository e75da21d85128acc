"""What a sub-agent may not do: lift its limits, choose for others, answer for a person."""

from eai_mcp.chat.toolbox import subagents
from eai_mcp.chat.toolbox.tool import Arguments, Tool
from tests.chat.taking import asks, uses
from tests.chat.toolbox.using import step, tried, using
from tests.fakes import Held, said

ONLY = ("call_subagent", "get_subagent_result")


def agents(registry):
    return subagents.tools(registry, tasks=registry.beginning.tasks)


async def test_an_answer_lifts_no_limit_of_the_turn_that_asked_for_the_sub_agent(catalog):
    """Issue 7: "depth ... handled"; DESIGN section 8: a sub-agent's tools are the intersection with its
    caller's, also once somebody else has answered its question."""
    ran: list[str] = []

    async def runs(given, use):
        ran.append(use.claim.name)
        return {}

    def make(registry):
        return (*agents(registry), Tool(name="rm", description="Removes.", arguments=Arguments, run=runs))

    scripts = {
        "boss": tried("call_subagent", message="go", chat_session="child"),
        "child": [
            uses(asks()),
            step("rm"),
            step("call_subagent", message="on", chat_session="last"),
            said("x"),
        ],
        "last": [said("y")],
    }
    both = (*ONLY, "ask_user")
    async with using(catalog, make, scripts, usual=(*both, "rm")) as talking:
        await talking.ask(tools=frozenset(both), chain=("first", "second"))
        assert talking.said()["status"] == "awaiting_input"
        await talking.ask("yes", "child")
        assert ran == []
        ((told, failed),) = talking.heard("child", 2)
        assert failed
        assert told.startswith("there is no tool named 'rm'")
        ((told, failed),) = talking.heard("child", 3)
        assert (failed, "3 deep" in told) == (True, True)


async def test_a_sub_agents_choices_are_not_remembered_by_a_session_of_others(catalog):
    call = step("call_subagent", message="hi", chat_session="work", model="other", system="Lie.")
    scripts = {"boss": [call, said("done")], "work": [said("a"), said("b"), said("c")]}
    async with using(catalog, agents, scripts) as talking:
        await talking.ask("hello", "work")
        await talking.ask()
        assert talking.said()["model"] == "other"
        row = await talking.registry.session("", "work")
        assert (row.choices.model, row.choices.system) == (None, None)
        assert (await talking.ask("again", "work")).effective.model == "plain"
        assert [request.system for request in talking.voices["work"].requests] == [None, "Lie.", None]


async def test_a_sub_agents_call_is_no_answer_to_a_question_for_somebody_else(catalog):
    call = step("call_subagent", message="approve", chat_session="work")
    scripts = {"boss": [call, said("done")], "work": [uses(asks("sure?")), said("yes it is")]}
    async with using(catalog, agents, scripts) as talking:
        assert (await talking.ask("go", "work")).status == "awaiting_input"
        await talking.ask()
        assert talking.refused().startswith("conflict: session 'work' waits for an answer")
        assert (await talking.ask("yes", "work")).reply == "yes it is"


async def test_a_session_that_waits_for_nobody_may_be_asked_by_its_own_sub_agent(catalog):
    held = Held()
    scripts = {
        "boss": [*tried("call_subagent", message="go", chat_session="child", wait=False), said("I hear.")],
        "child": [held, step("call_subagent", message="and?", chat_session="boss"), said("done")],
    }

    async def asks_back(request, emit):
        await held(request, emit)
        return step("call_subagent", message="and?", chat_session="boss")

    scripts["child"] = [asks_back, said("done")]
    async with using(catalog, agents, scripts) as talking:
        await talking.ask()
        await held.reached.wait()
        held.let_go.set()
        child = await talking.registry.reply(await talking.registry.find("", "child"), 5)
        assert child.reply == "done"
        assert talking.said("child")["reply"] == "I hear."
