"""Interrupts: whatever runs is gone, and the terminal can be used."""

import anyio
import anyio.lowlevel
import pytest

from tests.terminal.bare import alive, printed

IGNORES = """
import os, signal, time
for number in (1, 2, 3, 15):
    signal.signal(number, signal.SIG_IGN)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.01)
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(1000)
    os._exit(0)
os.wait()
while not os.path.exists("pid") or not os.path.getsize("pid"):
    time.sleep(0.01)
print(open("pid").read(), flush=True)
time.sleep(1000)
"""

ENDED = {130, 143}  # a program that just becomes another one may lose a SIGINT, and is then sent SIGTERM


def python(code):
    return f"python3 - <<'END'\n{code}END"


RUNNING = {
    "a program": "sh -c 'echo $$; exec sleep 1000'; echo not here",
    "one after the other": "sh -c 'echo $$; exec sleep 1000'\nsleep 1001\necho not here",
    "a program that ignores it": python(IGNORES),
    "a loop of programs": "while :; do sh -c 'echo $$; exec sleep 1000'; done",
    "a substitution": "x=$(sh -c 'echo $$ >/dev/tty; exec sleep 1000'); echo not here",
    "a pipeline": "sh -c 'echo $$ >/dev/tty; exec sleep 1000' | cat; echo not here",
    "a background job": "sleep 1000 & echo $!; wait; echo not here",
    "a background job that ignores it": f"python3 -c '{IGNORES}' & wait; echo not here",
    "a job that nobody waits for": "setsid nohup sleep 1000 &>/dev/null & echo $!; while :; do sleep 1; done",
    "a daemon": python(DAEMON),
    "a busy shell": "sleep 1000 & echo $!; while :; do :; done",
    "a reader": "sleep 1000 & echo $!; read line; echo not here",
}
RUNNING = {kind.replace(" ", "-"): script for kind, script in RUNNING.items()}


@pytest.mark.parametrize("kind", RUNNING)
async def test_an_interrupt_leaves_nothing_of_it(ground, kind):
    """Issue 7: interrupt … no process left (checked in /proc), next turn clean."""
    shell, _ = await ground.said("a=1; echo $$")
    run = await ground.terminals.run("", "work", RUNNING[kind])
    await printed(run, "\n")
    pids = [int(word) for word in run.page().text.split() if word.isdecimal()]
    with anyio.fail_after(5):
        await run.interrupt()
    assert (run.status, run.done.is_set()) == ("interrupted", True)
    assert pids
    assert [pid for pid in pids if alive(pid)] == []
    assert "not here" not in run.page().text
    assert run.exit_code not in {0, None}
    text, code = await ground.said("echo $a $$")
    kept, same = text.split()[:2]
    # Where the machine is so busy that it was late, the shell is another one with the same state.
    assert (kept, code, same == shell.strip() or "had to be ended" in run.note) == ("1", 0, True)


async def test_a_shell_that_ignores_it_is_ended(ground):
    """Issue 7: a program that ignores INT: bounded and reported."""
    await ground.run("a=1")
    run = await ground.started(
        "trap '' INT TERM HUP; sleep 1000 & echo $! on; while :; do :; done", until="on"
    )
    with anyio.fail_after(5):
        await run.interrupt()
    assert run.status == "interrupted"
    assert "the shell had to be ended" in run.note
    assert not alive(int(run.page().text.split()[0]))
    assert await ground.said("echo $a") == ("1\n", 0)


async def test_what_an_earlier_script_left_running_stays(ground):
    earlier, _ = await ground.said("sleep 1000 & echo $!")
    run = await ground.started("echo on; sleep 1000", until="on")
    await run.interrupt()
    assert (run.exit_code in ENDED, alive(int(earlier))) == (True, True)


async def test_an_interrupt_of_what_is_over_does_nothing(ground):
    run = await ground.run("echo done; (exit 3)")
    await run.interrupt()
    assert (run.status, run.exit_code) == ("exited", 3)


async def test_an_interrupt_may_come_before_the_script_began(ground):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ground.terminals.run, "", "work", "echo not here; sleep 1000")
        while not (rows := ground.terminals.standing("")) or rows[0].task_id is None:
            await anyio.lowlevel.checkpoint()
        begun = ground.terminals.find("", rows[0].task_id)
        await begun.interrupt()
    assert (begun.status, begun.page().text) == ("interrupted", "")
    assert await ground.said("echo here") == ("here\n", 0)


async def test_two_may_interrupt_at_once(ground):
    run = await ground.started("echo on; sleep 1000", until="on")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.interrupt)
            tasks.start_soon(run.interrupt)
    assert (run.status, run.exit_code in ENDED) == ("interrupted", True)
    assert await ground.said("echo here") == ("here\n", 0)


async def test_terminals_are_interrupted_at_once(ground):
    runs = [await ground.started(python(IGNORES), until="\n", at=f"t{number}") for number in range(4)]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(run.interrupt)
    assert [run.status for run in runs] == ["interrupted"] * 4
