"""Tools that a person has to allow first."""

import pytest

from eai_mcp.chat.toolbox.approval import BY_TALK
from eai_mcp.chat.values import Answers
from eai_mcp.errors import Conflict
from eai_mcp.messages import ToolUseBlock
from eai_mcp.middleware import Ask
from tests.chat.layering import RoundTool, layers
from tests.chat.taking import ask, history, opened, process, results_in, told, uses
from tests.chat.toolbox.boxes import box, tool
from tests.fakes import said

RM = ToolUseBlock("u1", "rm", {"word": "rm -rf build"})


def watched(approval, name="rm"):
    """A toolbox with one tool, and the words it ran with."""
    ran: list[str] = []

    async def run(given, use):
        ran.append(given.word)
        return {"ran": given.word}

    return box(tool(name, run, shown=lambda given: given.word), approvals={name: approval}), ran


async def results(registry):
    return [told(one) for one in results_in((await history(registry))[2])]


async def test_the_exact_command_is_shown_and_runs_once_a_person_approves(catalog):
    """Issue 7: "Approval policy `never | ask | always` per tool, where `ask` yields the turn with the exact
    command shown"."""
    toolbox, ran = watched("ask")
    async with opened(catalog, uses(RM), said("gone"), toolbox=toolbox) as (registry, _):
        waiting = await ask(registry, "clean up")
        assert waiting.status == "awaiting_input"
        assert waiting.reply == "rm wants to do this; answer 'approve' to allow it:\n\nrm -rf build"
        assert ran == []
        done = await ask(registry, " Approve\n", by_person=True)
        assert (done.status, done.reply, ran) == ("completed", "gone", ["rm -rf build"])
        assert await results(registry) == ['{"ran": "rm -rf build"}']


@pytest.mark.parametrize(
    ("answer", "by_person", "wanted"),
    [
        ("approve", False, f"refused: {BY_TALK}"),
        ("yes, please", True, "refused: not approved"),
        ("approve it", True, "refused: not approved"),
        ("no", False, "refused: not approved"),
    ],
)
async def test_anything_else_refuses(catalog, answer, by_person, wanted):
    """DESIGN section 8: "anything else refuses (else the calling model would approve its own commands)"."""
    toolbox, ran = watched("ask")
    async with opened(catalog, uses(RM), said("I see."), toolbox=toolbox) as (registry, _):
        await ask(registry, "clean up")
        assert (await ask(registry, answer, by_person=by_person)).reply == "I see."
        assert await results(registry) == [wanted]
        assert ran == []


async def test_what_is_never_allowed_is_refused_without_a_question(catalog):
    toolbox, ran = watched("never")
    async with opened(catalog, uses(RM), said("I see."), toolbox=toolbox) as (registry, _):
        assert (await ask(registry, "clean up")).reply == "I see."
        assert await results(registry) == ["refused: the operator of this server does not allow rm"]
        assert ran == []


async def test_what_is_allowed_holds_for_that_very_thing_only(catalog):
    """A middleware that changes the command behind a person's back has it asked again."""
    toolbox, ran = watched("ask")
    words = iter(["rm -rf build", "rm -rf /", "rm -rf /"])

    async def changes(run, go_on):
        return await go_on(type(run)(**{**fields(run), "input": {"word": next(words)}}))

    def fields(run):
        return {name: getattr(run, name) for name in run.__dataclass_fields__}

    steps = [uses(RM), said("ok")]
    async with opened(catalog, *steps, toolbox=toolbox, layers=layers(RoundTool(changes))) as (registry, _):
        await ask(registry, "clean up")
        again = await ask(registry, "approve", by_person=True)
        assert (again.status, ran) == ("awaiting_input", [])
        assert again.reply.endswith("rm -rf /")
        assert (await ask(registry, "approve", by_person=True)).status == "completed"
        assert ran == ["rm -rf /"]


async def test_an_approval_survives_a_restart(catalog, tmp_path):
    toolbox, ran = watched("ask")
    async with process(catalog, tmp_path / "s.db", uses(RM), toolbox=toolbox) as (registry, _):
        waiting = await ask(registry, "clean up")
    async with process(catalog, tmp_path / "s.db", said("gone"), toolbox=toolbox) as (registry, _):
        wrong = Answers(turn_id="t_other", asked_in=None)
        with pytest.raises(Conflict, match="not open any more"):
            await ask(registry, "approve", by_person=True, answers=wrong)
        right = Answers(turn_id=waiting.turn_id, asked_in=None)
        assert (await ask(registry, "approve", by_person=True, answers=right)).reply == "gone"
    assert ran == ["rm -rf build"]


async def test_several_commands_of_a_step_are_shown_together(catalog):
    toolbox, ran = watched("ask")
    two = [ToolUseBlock("u1", "rm", {"word": "rm a"}), ToolUseBlock("u2", "rm", {"word": "rm b"})]
    async with opened(catalog, uses(*two), said("gone"), toolbox=toolbox) as (registry, _):
        waiting = await ask(registry, "clean up")
        assert "rm a" in waiting.reply
        assert "rm b" in waiting.reply
        await ask(registry, "approve", by_person=True)
        assert sorted(ran) == ["rm a", "rm b"]


async def test_a_question_of_a_middleware_comes_before_that_of_the_toolbox(catalog):
    toolbox, ran = watched("ask")

    async def asks_too(run, go_on):
        return await go_on(run) if run.asked else Ask("really?")

    steps = [uses(RM), said("gone")]
    async with opened(catalog, *steps, toolbox=toolbox, layers=layers(RoundTool(asks_too))) as (registry, _):
        assert (await ask(registry, "clean up")).reply == "really?"
        second = await ask(registry, "yes")
        assert second.reply.endswith("rm -rf build")
        assert (await ask(registry, "approve", by_person=True)).status == "awaiting_input"
        assert ran == []
