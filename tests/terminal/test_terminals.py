"""All terminals together: whose they are, how many there are, and how they end."""

import os
import signal

import anyio
import anyio.lowlevel
import pytest

from eai_mcp.errors import ConfigError, Conflict, InvalidArgument, LimitExceeded, NotFound, SessionBusy
from eai_mcp.observe import Fact
from eai_mcp.terminal import Standing
from eai_mcp.terminal.sandbox import Launch
from tests.terminal.bare import alive, floor, printed


async def test_a_terminal_runs_one_script_at_a_time(ground):
    run = await ground.started("echo on; sleep 1000", until="on")
    with pytest.raises(SessionBusy, match=f"has been running {run.id}") as busy:
        await ground.terminals.run("", "work", "echo")
    assert busy.value.details["task_id"] == run.id
    assert await ground.said("echo here", at="other") == ("here\n", 0)


async def test_a_script_that_goes_on_is_found_by_its_id(ground):
    """Issue 7: waits up to a limit, then hands back a task id; output kept after exit."""
    run = await ground.started("echo on; read line; echo $line", until="on")
    assert not await run.wait(0)
    found = ground.terminals.find("", run.id)
    assert (found is run, found.status, found.exit_code) == (True, "running", None)
    await ground.terminals.write("", "work", b"more\r")
    with anyio.fail_after(10):
        assert await found.wait(9)
    assert ground.terminals.find("", run.id).page(offset=4).text == "more\n"


async def test_no_space_sees_what_another_one_has(ground):
    await ground.run("a=1; pwd")
    theirs = await ground.run("echo $a here", space="them")
    assert theirs.page().text == "here\n"
    with pytest.raises(NotFound, match="lives only in the process"):
        ground.terminals.find("", theirs.id)
    assert [row.pty_session_id for row in ground.terminals.standing("them")] == ["work"]
    with pytest.raises(NotFound):
        await ground.terminals.reset("others", "work")
    assert ground.terminals.standing("others") == []


async def test_how_terminals_stand_is_told(ground):
    await ground.run("exit", at="b")
    run = await ground.started("echo on; sleep 1000", until="on", at="a")
    ground.now += 5
    first, second = ground.terminals.standing("")
    assert (first.pty_session_id, first.alive, first.task_id, first.idle_s) == ("a", True, run.id, 5.0)
    assert first.running_s > 0
    assert second == Standing(
        pty_session_id="b", alive=False, task_id=None, running_s=None, waiting_for_input=False, idle_s=5.0
    )


async def test_a_reset_ends_all_and_forgets_the_state(ground):
    """Issue 7: reset."""
    await ground.run("a=1; cd /")
    run = await ground.started("sleep 1000 & echo $! on; sleep 1001", until="on")
    with anyio.fail_after(5):
        await ground.terminals.reset("", "work")
    assert (run.status, run.exit_code, run.note) == ("lost", None, "the terminal was reset")
    assert not alive(int(run.page().text.split()[0]))
    assert await ground.said("echo .$a; pwd | tail -c 5") == (".\nwork\n", 0)
    assert ground.sandbox.released == [("", "work")]


async def test_a_terminal_that_is_not_used_is_closed_and_keeps_its_state(ground):
    """Issue 7: idle reaping."""
    await ground.run("a=1; cd /")
    ground.now = 1799.0
    await ground.terminals.reap()
    assert [row.alive for row in ground.terminals.standing("")] == [True]
    ground.now = 1800.0
    with anyio.fail_after(5):
        await ground.terminals.reap()
    assert [row.alive for row in ground.terminals.standing("")] == [False]
    assert ground.told[-1].fields["why"] == "idle"
    assert await ground.said("echo $a; pwd") == ("1\n/\n", 0)


async def test_what_runs_long_and_is_not_asked_for_is_ended(ground):
    run = await ground.started("a=1; echo on; sleep 1000", until="on")
    ground.now = 1799.0
    await run.wait(0)
    ground.now = 2000.0
    await ground.terminals.reap()
    assert run.status == "running"
    ground.now = 3599.0
    with anyio.fail_after(5):
        await ground.terminals.reap()
    assert (run.status, run.exit_code) == ("lost", None)
    assert "not used for long" in run.note


async def test_a_terminal_that_prints_is_used(ground):
    run = await ground.terminals.run("", "work", "read line; echo more; read line")
    ground.now = 1799.0
    await ground.terminals.write("", "work", b"\r")
    ground.now = 1800.0
    await printed(run, "more")
    ground.now = 3000.0
    await ground.terminals.reap()
    assert run.status == "running"


async def test_limits_hold_for_what_is_open(tmp_path):
    async with floor(tmp_path / "two", terminals=2) as ground:
        await ground.run("true", at="a")
        await ground.run("true", at="b")
        with pytest.raises(LimitExceeded, match="2 terminals are open"):
            await ground.run("true", at="c")
        assert await ground.said("echo here", at="a") == ("here\n", 0)
        await ground.terminals.reset("", "b")
        assert await ground.said("echo here", at="c") == ("here\n", 0)


async def test_of_a_terminal_the_last_runs_are_kept(tmp_path):
    async with floor(tmp_path / "runs", runs=2) as ground:
        runs = [await ground.run(f"echo {number}; head -c 200000 /dev/zero") for number in range(3)]
        with pytest.raises(NotFound, match="the last 2 are kept"):
            ground.terminals.find("", runs[0].id)
        assert [ground.terminals.find("", run.id).page(most=3).text for run in runs[1:]] == ["1\n", "2\n"]


async def test_terminals_that_ended_long_ago_are_forgotten(tmp_path):
    async with floor(tmp_path / "old", terminals=2) as ground:
        for name in "abcd":
            ground.now += 1
            await ground.run("exit", at=name)
        assert [row.pty_session_id for row in ground.terminals.standing("")] == ["c", "d"]


async def test_nothing_survives_the_server(tmp_path):
    """Issue 7: nothing survives the server."""
    async with floor(tmp_path / "all") as ground:
        script = "trap '' HUP TERM; setsid sleep 1000 & echo $!; sleep 1001 & echo $! on; while :; do :; done"
        runs = [await ground.started(script, until="on", at=f"t{number}") for number in range(5)]
        await ground.run("sleep 1000 &", at="idle")
        pids = [int(word) for run in runs for word in run.page().text.split() if word != "on"]
        with anyio.fail_after(8):
            await ground.terminals.aclose()
        assert [pid for pid in pids if alive(pid)] == []
        assert {run.status for run in runs} == {"lost"}
        assert len(ground.sandbox.released) == 6
        with pytest.raises(Conflict, match="the server is ending"):
            await ground.terminals.run("", "work", "true")


async def test_nothing_survives_the_end_of_the_task_group(tmp_path):
    pids = []
    async with floor(tmp_path / "all") as ground:
        run = await ground.started("sleep 1000 & echo $! on; sleep 1001", until="on")
        pids = [int(run.page().text.split()[0])]
        ground.tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(8):
            await run.done.wait()
    assert not alive(pids[0])


async def test_what_happened_is_told(ground):
    run = await ground.run("echo four")
    await ground.terminals.reset("", "work")
    assert [_told(fact) for fact in ground.told] == [
        ("run.started", {"task_id": run.id, "pty_session_id": "work"}),
        ("terminal.opened", {"pty_session_id": "work"}),
        (
            "run.completed",
            {"task_id": run.id, "pty_session_id": "work", "status": "exited", "exit_code": 0, "bytes": 6},
        ),
        ("terminal.closed", {"pty_session_id": "work", "why": "reset"}),
    ]


def _told(fact: Fact):
    return fact.name, {name: value for name, value in fact.fields.items() if name != "seconds"}


@pytest.mark.parametrize("name", ["", "x" * 129])
async def test_a_name_has_a_length(ground, name):
    with pytest.raises(InvalidArgument, match="1 to 128 characters"):
        await ground.terminals.run("", name, "true")


async def test_a_script_has_a_size(ground):
    assert (await ground.said("#" * 1_000_000 + "\necho here")) == ("here\n", 0)
    with pytest.raises(LimitExceeded, match="a script may have"):
        await ground.terminals.run("", "work", "ü" * 600_000)


async def test_the_window_has_a_size(ground):
    """Issue 7: window size."""
    assert await ground.said("stty size; echo $COLUMNS") == ("50 200\n200\n", 0)


class Broken:
    """A shelter whose shell says something and ends."""

    def __init__(self, folder):
        self.folder = folder
        self.released = 0

    async def prepared(self, space: str, pty_session_id: str, *, rc: str) -> Launch:
        def release():
            self.released += 1

        return Launch(
            argv=("bash", "-c", "echo 'no room here'; exit 5"),
            env={},
            cwd=self.folder,
            scripts=self.folder,
            scripts_inside=str(self.folder),
            state=self.folder / "state",
            state_inside=str(self.folder / "state"),
            release=release,
        )


async def test_a_shell_that_does_not_start_says_why(tmp_path):
    broken = Broken(tmp_path)
    async with floor(tmp_path / "none", sandbox=broken) as ground:
        with pytest.raises(ConfigError, match="does not start: no room here"):
            await ground.terminals.run("", "work", "true")
        assert broken.released == 1
        assert not ground.terminals.standing("")[0].alive


@pytest.mark.parametrize("how", ["reset", "closed"])
async def test_a_terminal_may_be_ended_while_it_is_made(ground, how):
    refused = []

    async def begin():
        try:
            await ground.terminals.run("", "work", "true")
        except Conflict as error:
            refused.append(str(error))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
            while not any(row.alive for row in ground.terminals.standing("")):
                await anyio.lowlevel.checkpoint()
            if how == "reset":
                await ground.terminals.reset("", "work")
            else:
                await ground.terminals.aclose()
    assert ["was ended while it was made" in sentence for sentence in refused] == [True]
    assert ground.sandbox.released == [("", "work")]


async def test_a_shell_that_was_killed_from_outside_is_replaced(ground):
    """Issue 7: cwd and variables kept between scripts."""
    shell, _ = await ground.said("a=1; echo $$")
    run = await ground.started("a=2; echo on; sleep 1000", until="on")
    os.kill(int(shell), signal.SIGKILL)
    with anyio.fail_after(10):
        await run.done.wait()
    assert (run.status, run.exit_code) == ("lost", 137)
    shell, _ = await ground.said("echo $$")
    os.kill(int(shell), signal.SIGKILL)
    with anyio.fail_after(10):
        while ground.terminals.standing("")[0].alive:
            await anyio.lowlevel.checkpoint()
    assert await ground.said("echo $a") == ("1\n", 0)


async def test_a_shell_is_over_when_it_ends_whoever_has_its_terminal_open(ground):
    run = await ground.run("sleep 1000 & echo $!; disown; exit 3")
    assert (run.status, run.exit_code) == ("exited", 3)
    assert not alive(int(run.page().text))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it takes long
async def test_fifty_terminals_print_at_once(tmp_path):
    """Issue 7: 50 terminals at once with 4 MB of output each in the tests … in bounded memory."""
    async with floor(tmp_path / "fifty", spill_mb=1) as ground:
        runs = []

        async def begin(number):
            runs.append(await ground.terminals.run("", f"t{number}", "seq -w 600000 | head -c 4000000"))

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(begin, number)
        with anyio.fail_after(50):
            for run in runs:
                await run.done.wait()
        assert {(run.exit_code, run.output.total) for run in runs} == {(0, 4_571_428)}
        assert all(run.output.dropped >= run.output.total - (2 << 20) for run in runs)
        assert all(len(run.output._recent) <= 512 * 1024 for run in runs)
