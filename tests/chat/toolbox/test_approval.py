"""Tools that a person has to allow first."""

import anyio
import pytest

from eai_mcp.chat.toolbox.approval import BY_TALK
from eai_mcp.chat.values import Answers
from eai_mcp.errors import Conflict
from eai_mcp.messages import INTERRUPTED, ToolUseBlock, user
from eai_mcp.middleware import Ask
from eai_mcp.store.sqlite import SqliteStore
from tests.chat.layering import RoundTool, layers
from tests.chat.taking import ask, begin, history, opened, process, result, results_in, told, uses
from tests.chat.toolbox.boxes import box, tool
from tests.fakes import said

RM = ToolUseBlock("u1", "rm", {"word": "rm -rf build"})


def watched(approval, name="rm"):
    """A toolbox with one tool, and the words it ran with."""
    ran: list[str] = []

    async def run(given, use):
        ran.append(given.word)
        return {"ran": given.word}

    return box(tool(name, run, shown=lambda given, use: given.word), approvals={name: approval}), ran


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


async def test_what_is_typed_needs_what_scripts_need(catalog):
    """What is typed into a shell is as good as a script."""
    toolbox, ran = watched("ask", "write_to_session")
    toolbox._approvals = {"execute_script": "ask"}
    use = ToolUseBlock("u1", "write_to_session", {"word": "rm -rf /"})
    async with opened(catalog, uses(use), said("I see."), toolbox=toolbox) as (registry, _):
        assert (await ask(registry, "go")).status == "awaiting_input"
        assert ran == []


async def test_two_commands_that_look_alike_are_shown_twice(catalog):
    toolbox, _ = watched("ask")
    two = [ToolUseBlock(f"u{n}", "rm", {"word": "rm a"}) for n in (1, 2)]
    async with opened(catalog, uses(*two), said("gone"), toolbox=toolbox) as (registry, _):
        assert (await ask(registry, "clean up")).reply.count("rm a") == 2


async def test_nothing_is_hidden_from_the_person_who_approves(catalog):
    toolbox, _ = watched("ask")
    odd = ToolUseBlock("u1", "rm", {"word": "ls\n\x1b[2K\u202ecod\tx"})
    async with opened(catalog, uses(odd), said("gone"), toolbox=toolbox) as (registry, _):
        assert (await ask(registry, "clean up")).reply.endswith("ls\n\\x1b[2K\\u202ecod\tx")


async def test_a_command_that_was_approved_does_not_run_twice(catalog, tmp_path):
    """A process that dies while it runs leaves a trace, and no open question."""
    path, began, ran = tmp_path / "s.db", anyio.Event(), []

    async def run(given, use):
        ran.append(given.word)
        began.set()
        await anyio.sleep_forever()

    toolbox = box(tool("rm", run, shown=lambda given, use: given.word), approvals={"rm": "ask"})
    dying = SqliteStore(path)
    async with opened(catalog, uses(RM), store=dying, toolbox=toolbox) as (here, _):
        await ask(here, "clean up")
        await begin(here, "approve", by_person=True)
        await began.wait()
        async with process(catalog, path, said("next"), toolbox=toolbox) as (there, call):
            await dying.aclose()
            assert (await ask(there, "approve", by_person=True)).reply == "next"
            closed = user((result("u1", INTERRUPTED, failed=True),))
            assert call.requests[0].messages[2] == closed
        assert ran == ["rm -rf build"]
