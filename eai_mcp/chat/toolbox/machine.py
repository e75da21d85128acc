"""The tools that work on the machine: scripts in terminals, and what is typed there."""

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eai_mcp.chat.toolbox.tool import Arguments, Tool
from eai_mcp.chat.toolbox.use import Use
from eai_mcp.errors import InvalidArgument, NoTask
from eai_mcp.messages import JsonObject
from eai_mcp.terminal import Page, keys

if TYPE_CHECKING:
    from eai_mcp.terminal.run import Run
    from eai_mcp.terminal.terminals import Terminals

MOST_SHOWN = 20_000
"""Characters of output in one result."""
MOST_REMEMBERED = 1000
TYPED_WAIT_S = 1.0

TerminalName = Annotated[
    str | None, Field(description="another terminal than this chat's own; made on first use")
]
Seconds = Annotated[float, Field(ge=0, le=600)]


class ExecuteScript(Arguments):
    """For `execute_script`."""

    script: str
    wait: Annotated[
        bool, Field(description="false: come back at once with a task_id, for what takes minutes")
    ] = True
    wait_s: Annotated[Seconds, Field(description="how long to wait before a task_id is handed back")] = 60.0
    pty_session_id: TerminalName = None


class GetTaskResult(Arguments):
    """For `get_task_result`."""

    task_id: str
    wait_s: Annotated[Seconds, Field(description="wait so long for its end; more for slow things")] = 10.0
    offset: Annotated[int | None, Field(ge=0, description="output from this byte; default: what is new")] = (
        None
    )
    tail: Annotated[int | None, Field(ge=1, description="only the last so many bytes")] = None


class WriteToSession(Arguments):
    """For `write_to_session`."""

    input: str = ""
    keys: Annotated[
        tuple[str, ...], Field(max_length=100, description="pressed after input: Enter, Ctrl-C, Up, F1 …")
    ] = ()
    pty_session_id: TerminalName = None


class ResetSession(Arguments):
    """For `reset_session`."""

    pty_session_id: TerminalName = None


class Nothing(Arguments):
    """For what takes none."""


def tools(terminals: "Terminals") -> tuple[Tool[Any], ...]:
    """Those that need terminals."""
    hands = _Hands(terminals)
    return (
        Tool(
            name="execute_script",
            description="Run a bash script in a terminal that keeps its directory, variables and functions."
            " Quick things: wait for them. Slow ones: wait=false, then get_task_result now and then; each"
            " look costs a round.",
            arguments=ExecuteScript,
            run=hands.execute,
            shown=lambda given, use: f"in terminal {_terminal(given.pty_session_id, use)!r}:\n{given.script}",
        ),
        Tool(
            name="get_task_result",
            description="How a script stands, and what it has printed since you last looked.",
            arguments=GetTaskResult,
            run=hands.result,
        ),
        Tool(
            name="write_to_session",
            description="Type to the program that a script runs: answer its prompt, press keys. Text is sent"
            " as it is; end a line with the key Enter.",
            arguments=WriteToSession,
            run=hands.write,
        ),
        Tool(
            name="reset_session",
            description="Kill everything in a terminal and start its shell anew; files stay.",
            arguments=ResetSession,
            run=hands.reset,
            shown=lambda given, use: f"reset terminal {_terminal(given.pty_session_id, use)!r}",
        ),
        Tool(
            name="list_pty_sessions",
            description="The terminals there are, and what runs in each.",
            arguments=Nothing,
            run=hands.listed,
        ),
    )


class _Hands:
    """What the tools do. It remembers how far the output of each script was shown."""

    def __init__(self, terminals: "Terminals") -> None:
        self._terminals = terminals
        self._shown: OrderedDict[str, int] = OrderedDict()

    async def execute(self, given: ExecuteScript, use: Use) -> JsonObject:
        run = await self._terminals.run(use.claim.space, _terminal(given.pty_session_id, use), given.script)
        _hold(run, use)
        if given.wait:
            await run.wait(given.wait_s)
        return self._told(run, use)

    async def result(self, given: GetTaskResult, use: Use) -> JsonObject:
        if given.offset is not None and given.tail is not None:
            raise InvalidArgument("give either offset or tail, not both", field="tail")
        run = self._terminals.find(use.claim.space, given.task_id)
        _hold(run, use)
        await run.wait(given.wait_s)
        return self._told(run, use, offset=given.offset, tail=given.tail)

    async def write(self, given: WriteToSession, use: Use) -> JsonObject:
        data = given.input.encode(errors="replace") + keys.keys(given.keys)
        if not data:
            raise InvalidArgument("give input or keys", field="input")
        terminal = _terminal(given.pty_session_id, use)
        space = use.claim.space
        run = self._terminals.running(space, terminal)
        if run is None:
            raise NoTask(f"nothing runs in terminal {terminal!r} that could be typed to; run a script")
        _hold(run, use)
        await self._terminals.write(space, terminal, data)
        await run.wait(TYPED_WAIT_S)
        return self._told(run, use)

    async def reset(self, given: ResetSession, use: Use) -> JsonObject:
        terminal = _terminal(given.pty_session_id, use)
        await self._terminals.reset(use.claim.space, terminal)
        return {"pty_session_id": terminal, "reset": True}

    async def listed(self, given: Nothing, use: Use) -> JsonObject:
        own = use.kit.pty_session_id
        return {
            "own": own,
            "terminals": [
                {
                    "pty_session_id": one.pty_session_id,
                    "alive": one.alive,
                    "task_id": one.task_id,
                    "running_s": one.running_s and round(one.running_s, 1),
                    "waiting_for_input": one.waiting_for_input,
                    "idle_s": round(one.idle_s, 1),
                }
                for one in self._terminals.standing(use.claim.space)
            ],
        }

    def _told(
        self, run: "Run", use: Use, *, offset: int | None = None, tail: int | None = None
    ) -> JsonObject:
        """How a script stands. Where it has printed nothing new, that it is running is said first."""
        if run.status != "running":
            use.kit.begun.ends.pop(run.id, None)
        page = (
            self._next(run) if offset is tail is None else run.page(offset=offset, tail=tail, most=MOST_SHOWN)
        )
        self._remember(run.id, page.next_offset)
        told: JsonObject = {"status": run.status, "task_id": run.id, "duration_s": round(run.duration_s, 2)}
        if run.status != "running":
            told["exit_code"] = run.exit_code
        elif run.waiting_for_input:
            told["waiting_for_input"] = True
        if run.note:
            told["note"] = run.note
        if page.dropped and page.offset <= page.dropped:
            told["dropped_bytes"] = page.dropped
        if page.next_offset < page.total:
            told |= {"next_offset": page.next_offset, "total_bytes": page.total}
        return {"output": page.text, **told} if page.text or run.status != "running" else told

    def _next(self, run: "Run") -> Page:
        """What was not shown yet."""
        page = run.page(offset=self._shown.get(run.id, 0), most=MOST_SHOWN)
        is_cut = run.status != "running" and page.next_offset < page.total
        return _both_ends(run, page.offset) if is_cut else page

    def _remember(self, task: str, offset: int) -> None:
        self._shown[task] = offset
        self._shown.move_to_end(task)
        while len(self._shown) > MOST_REMEMBERED:
            self._shown.popitem(last=False)


def _both_ends(run: "Run", offset: int) -> Page:
    """What is left to show of a script that is over: how it goes on, and how it ends."""
    head = run.page(offset=offset, most=MOST_SHOWN // 2)
    tail = run.page(tail=MOST_SHOWN // 2, most=MOST_SHOWN // 2)
    left_out = tail.offset - head.next_offset
    if left_out <= 0:
        return head
    gap = f"\n[… {left_out} bytes left out; offset={head.next_offset} shows them …]\n"
    return replace(tail, text=f"{head.text}{gap}{tail.text}", offset=head.offset)


def _hold(run: "Run", use: Use) -> None:
    """Let an interrupt of this turn end the script: it is what the turn is busy with."""
    use.kit.begun.ends[run.id] = run.interrupt


def _terminal(named: str | None, use: Use) -> str:
    return use.kit.pty_session_id if named is None else named
