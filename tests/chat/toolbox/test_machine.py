"""The tools that work in terminals, with real shells and no sandbox."""

import json
from contextlib import asynccontextmanager
from typing import Any

import anyio

from eai_mcp.chat.toolbox import machine
from eai_mcp.messages import ToolUseBlock
from eai_mcp.terminal import Limits
from eai_mcp.terminal.terminals import Terminals
from tests.chat.taking import ask, asks, begin, history, opened, results_in, told, uses
from tests.chat.toolbox.boxes import box
from tests.fakes import Held, said
from tests.terminal.bare import Bare


@asynccontextmanager
async def working(catalog, folder, *steps, **fields):
    """A registry whose model works in terminals, and these; its last step is "done"."""
    async with anyio.create_task_group() as tasks:
        terminals = Terminals(sandbox=Bare(folder), tasks=tasks, limits=Limits())
        toolbox = box(*machine.tools(terminals))
        try:
            async with opened(catalog, *steps, said("done"), toolbox=toolbox, **fields) as (registry, _):
                yield registry, terminals
        finally:
            with anyio.CancelScope(shield=True):
                await terminals.aclose()
            tasks.cancel_scope.cancel()


def use(name, number=1, **given):
    return ToolUseBlock(f"u{number}", name, given)


async def said_by_tools(registry, session="default"):
    """Each result: what it said, read if it is JSON, or the words of a failure."""
    results = [one for message in await history(registry, session) for one in results_in(message)]
    return [told(one) if one.failed else json.loads(told(one)) for one in results]


async def test_what_is_printed_is_told_once_and_can_be_read_again(catalog, tmp_path):
    """Issue 7: "output kept after exit, readable by offset and tail"."""
    script = "echo one; read -r; echo two"

    async def looks(request, emit):
        task = json.loads(told(results_in(request.messages[-1])[0]))["task_id"]
        again = [{}, {"offset": 0}, {"tail": 5}, {"offset": 1, "tail": 1}]
        return uses(*(use("get_task_result", n, task_id=task, **more) for n, more in enumerate(again)))

    steps = [uses(use("execute_script", script=script)), uses(use("write_to_session", keys=["Enter"])), looks]
    async with working(catalog, tmp_path, *steps) as (registry, _):
        await ask(registry, "go")
        first, typed, nothing, whole, tail, wrong = await said_by_tools(registry)
        assert (first["status"], first["output"], first["waiting_for_input"]) == ("running", "one\n", True)
        assert (typed["status"], typed["exit_code"]) == ("exited", 0)
        assert typed["output"].endswith("two\n")
        assert nothing["output"] == ""
        assert whole["output"].startswith("one\n")
        assert tail["output"] == "two\n"
        assert wrong == "invalid_argument: give either offset or tail, not both"


async def test_a_script_that_is_not_waited_for_goes_on_beside_the_turn(catalog, tmp_path):
    steps = [uses(use("execute_script", script="read -r; echo late", wait=False))]
    async with working(catalog, tmp_path, *steps, said("next")) as (registry, _):
        await ask(registry, "go")
        (begun,) = await said_by_tools(registry)
        assert (begun["status"], "output" in begun) == ("running", False)
        assert json.dumps(begun).startswith('{"status": "running"')


async def test_terminals_are_a_sessions_own_or_shared(catalog, tmp_path):
    """Issue 7: "one by `pty_session_id`, made on first use, shared or separate from chat sessions"."""
    show = uses(use("execute_script", script="echo ${mark:-none}"))
    steps = [
        uses(use("execute_script", script="mark=mine")),
        said("ok"),
        show,
        said("ok"),
        show,
        said("ok"),
        show,
    ]
    async with working(catalog, tmp_path, *steps) as (registry, _):
        await ask(registry, "go", session="a")
        await ask(registry, "go", session="b")
        await ask(registry, "go", session="c", pty_session_id="a")
        await ask(registry, "go", session="c", pty_session_id="")
        assert [one["output"] for one in await said_by_tools(registry, "b")] == ["none\n"]
        assert [one["output"] for one in await said_by_tools(registry, "c")] == ["mine\n", "none\n"]


async def test_terminals_are_listed_and_reset(catalog, tmp_path):
    steps = [
        uses(use("execute_script", script="mark=mine", pty_session_id="other")),
        uses(use("list_pty_sessions")),
        uses(use("reset_session", pty_session_id="other")),
        uses(use("execute_script", script="echo ${mark:-none}", pty_session_id="other")),
        uses(use("reset_session", pty_session_id="unknown"), use("get_task_result", 2, task_id="task_x")),
        uses(use("write_to_session"), use("write_to_session", 2, keys=["Hyper-Q"])),
    ]
    async with working(catalog, tmp_path, *steps) as (registry, _):
        await ask(registry, "go")
        _, listed, reset, after, *wrong = await said_by_tools(registry)
        (row,) = listed["terminals"]
        assert listed["own"] == "default"
        assert (row["pty_session_id"], row["alive"], row["task_id"]) == ("other", True, None)
        assert reset == {"pty_session_id": "other", "reset": True}
        assert after["output"] == "none\n"
        assert [text.partition(":")[0] for text in wrong] == [
            "not_found",
            "not_found",
            "invalid_argument",
            "invalid_argument",
        ]


async def test_one_terminal_runs_one_script_at_a_time(catalog, tmp_path):
    two = uses(use("execute_script", script="read -r"), use("execute_script", 2, script="echo hi"))
    async with working(catalog, tmp_path, two) as (registry, _):
        await ask(registry, "go")
        came = await said_by_tools(registry)
        busy = [one for one in came if isinstance(one, str)]
        assert len(busy) == 1
        assert busy[0].startswith("busy: the terminal 'default' has been running task_")


async def test_nothing_is_typed_where_nothing_runs(catalog, tmp_path):
    """A shell that waits would run it, and no interrupt would know of that."""
    steps = [
        uses(use("execute_script", script="true")),
        uses(use("write_to_session", input="sleep 1000", keys=["Enter"])),
    ]
    async with working(catalog, tmp_path, *steps) as (registry, _):
        await ask(registry, "go")
        _, typed = await said_by_tools(registry)
        assert typed == "no_task: nothing runs in terminal 'default' that could be typed to; run a script"


async def test_an_interrupt_ends_a_script_of_an_earlier_turn_that_is_waited_for(catalog, tmp_path):
    asked = anyio.Event()

    async def looks(request, emit):
        first = next(one for message in request.messages for one in results_in(message))
        asked.set()
        return uses(use("get_task_result", 2, task_id=json.loads(told(first))["task_id"], wait_s=60))

    steps = [uses(use("execute_script", script="sleep 1000", wait=False)), said("ok"), looks]
    async with working(catalog, tmp_path, *steps) as (registry, terminals):
        await ask(registry, "go")
        run = terminals.running("", "default")
        turn: Any = await begin(registry, "and?")
        await asked.wait()
        with anyio.fail_after(5):
            while run.id not in turn.kit.begun.ends:  # noqa: ASYNC110 - nothing tells that a tool waits
                await anyio.sleep(0.01)
        await registry.interrupt("", "default")
        assert run.status == "interrupted"


async def test_what_ran_before_a_question_ends_with_its_turn(catalog, tmp_path):
    for ends in ("by an interrupt of the question", "by an interrupt of the answer"):
        held = Held()
        both = uses(use("execute_script", script="sleep 1000", wait=False), asks())
        async with working(catalog, tmp_path, both, held) as (registry, terminals):
            assert (await ask(registry, "go")).status == "awaiting_input"
            run = terminals.running("", "default")
            if ends == "by an interrupt of the answer":
                await begin(registry, "yes")
                await held.reached.wait()
            await registry.interrupt("", "default")
            assert run.status == "interrupted", ends


async def test_an_interrupted_turn_ends_what_it_left_running_and_no_more(catalog, tmp_path):
    """Issue 7: "interrupt ... also with `pty_session_id` different from the session's name"."""
    slow = use("execute_script", script="sleep 1000", wait=False, pty_session_id="x")
    steps = [uses(slow), said("ok"), uses(use("execute_script", script="sleep 1000", pty_session_id="y"))]
    async with working(catalog, tmp_path, *steps, said("x")) as (registry, terminals):
        await ask(registry, "go")
        await begin(registry, "again")
        with anyio.fail_after(5):
            while terminals.running("", "y") is None:  # noqa: ASYNC110 - nothing tells of a start
                await anyio.sleep(0.01)
        await registry.interrupt("", "default")
        assert terminals.running("", "x") is not None
        assert terminals.running("", "y") is None


async def test_of_a_long_output_the_beginning_and_the_end_are_shown(catalog, tmp_path):
    """Issue 7: "output per tool" is bounded, "readable by offset and tail"."""

    async def looks(request, emit):
        first = json.loads(told(results_in(request.messages[-1])[0]))
        offset = int(first["output"].partition("offset=")[2].partition(" ")[0])
        return uses(use("get_task_result", 2, task_id=first["task_id"], offset=offset))

    steps = [uses(use("execute_script", script="echo begin; seq 1 20000; echo end")), looks]
    async with working(catalog, tmp_path, *steps) as (registry, _):
        await ask(registry, "go")
        whole, middle = await said_by_tools(registry)
        assert whole["output"].startswith("begin\n1\n2\n")
        assert whole["output"].endswith("\n20000\nend\n")
        assert len(whole["output"]) < 21_000
        assert "next_offset" not in whole
        assert middle["output"].split("\n")[1].isdecimal()
        assert middle["next_offset"] < middle["total_bytes"]


async def test_half_a_character_can_be_typed(catalog, tmp_path):
    steps = [
        uses(use("execute_script", script="read -r word; echo got $word")),
        uses(use("write_to_session", input="a\ud800", keys=["Enter"])),
    ]
    async with working(catalog, tmp_path, *steps) as (registry, _):
        await ask(registry, "go")
        assert "got a?" in (await said_by_tools(registry))[1]["output"]
