"""Scripts that spoil their own shell: the next one runs, and says truly how it ended."""

import signal

import anyio
import anyio.lowlevel
import pytest

from eai_mcp.errors import StorageUnavailable
from eai_mcp.terminal import processes
from eai_mcp.terminal import state as states
from tests.terminal.bare import alive, printed

FINE = ("fine\n", 3)
TAKES_THE_FOREGROUND = """
import os, signal, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
read, write = os.pipe()
if os.fork():
    os.read(read, 1)
    os._exit(0)
os.setpgid(0, 0)
os.write(write, b"x")
while os.tcgetpgrp(0) != SHELL:
    time.sleep(0.01)
os.tcsetpgrp(0, os.getpid())
open("taken", "w").close()
time.sleep(1000)
"""


async def fine(ground):
    """How a script ends that prints a word and has a code."""
    with anyio.fail_after(15):
        return await ground.said("echo fine; (exit 3)")


def left(ground):
    """The file in which a shell leaves its state."""
    return ground.sandbox.folder("", "work").with_name("state")


@pytest.mark.parametrize(
    "script",
    [
        "rm -f STATE; mkdir -p STATE/in/it; touch STATE/in/it/file",
        "rm -f STATE; ln -s $(printf 'a%.0s' {1..300}) STATE",
        "rm -f STATE; ln -s / STATE",
        "rm -f STATE; mkfifo STATE",
        "rm -f STATE.*; mkdir -p STATE.new/in STATE.left STATE.trap",
        "mkfifo STATE.left; rm -f STATE.trap; mkfifo STATE.trap",
        "head -c 9999 /dev/urandom >STATE",
        "echo 'exit 9' >STATE",
        "rm -f STATE; mkdir -p STATE/in; chmod 000 STATE/in STATE",
    ],
)
@pytest.mark.parametrize("end", ["kill -9 $$", "true"])
async def test_whatever_lies_where_the_state_should_the_terminal_can_be_used(ground, script, end):
    await ground.run(end)
    await anyio.run_process(["bash", "-c", script.replace("STATE", str(left(ground)))])
    assert await fine(ground) == FINE
    with anyio.fail_after(10):
        await ground.terminals.reset("", "work")
    assert await fine(ground) == FINE


async def test_what_another_server_left_for_a_state_is_removed(ground):
    left(ground).joinpath("in").mkdir(parents=True)
    assert await fine(ground) == FINE


async def test_a_state_that_cannot_be_removed_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match="file/state: a program of the terminal left"):
        states.forgotten(tmp_path / "file" / "state")


async def test_a_state_that_does_not_end_is_given_up(ground):
    await ground.run("a=1; exit")
    left(ground).write_text("while :; do :; done", encoding="utf-8")
    assert await ground.said("echo .$a") == (".\n", 0)


@pytest.mark.parametrize("script", ["exec 0</dev/null", "exec 0<&-", "exec 0<&- 1>&- 2>&-", "exec >log 2>&1"])
async def test_what_a_script_does_to_its_descriptors_ends_with_it(ground, script):
    await ground.run("a=1")
    assert (await ground.run(f"{script}; echo a; true")).note == ""
    assert await ground.said("echo fine $a; (exit 3)") == ("fine 1\n", 3)


async def test_a_script_that_its_shell_did_not_begin_runs_in_another_one(ground):
    """Issue 7: exit codes seen."""
    await ground.run("a=1")
    for _ in range(5):
        pid = int((await ground.said("echo $$"))[0])
        processes.send(signal.SIGHUP, [pid])
        while alive(pid):
            await anyio.lowlevel.checkpoint()
        assert await fine(ground) == FINE
    assert await ground.said("echo $a") == ("1\n", 0)


async def test_no_program_can_read_what_ends_the_next_script(ground):
    """Issue 7: per-run random markers that output cannot forge."""
    await ground.run("true")
    run = await ground.run(f"cat {left(ground)}*; cat /proc/$$/environ /proc/$$/cmdline; env")
    assert run.page().text
    assert run.nonce not in run.page(most=1_000_000).text


async def test_an_end_counts_only_when_the_shell_has_the_terminal(ground):
    """Issue 7: per-run random markers that output cannot forge."""
    forging = "sh -c 'printf \"\\033]7777;%s;0\\007\" $0; echo there; read line' $__eai_nonce"
    run = await ground.started(f"{forging}; echo more; (exit 3)", until="there")
    await ground.terminals.write("", "work", b"\r")
    with anyio.fail_after(10):
        await run.done.wait()
    assert (run.page().text, run.exit_code) == ("there\nmore\n", 3)


async def test_what_was_typed_and_not_read_is_no_command(ground):
    run = await ground.started("echo on; sleep 0.3", until="on")
    await ground.terminals.write("", "work", b"touch typed\rhalf a li")
    with anyio.fail_after(10):
        await run.done.wait()
    assert await ground.said("ls; echo fine") == ("fine\n", 0)


@pytest.mark.parametrize(
    "script",
    [
        "readonly PROMPT_COMMAND=x",
        "readonly __eai_nonce",
        "unset __eai_nonce __eai_state PROMPT_COMMAND 2>/dev/null",
        "for v in $(compgen -v); do [ $v = a ] || unset $v; done 2>/dev/null",
        "declare -u __eai_nonce",
        "ulimit -n 3",
        "set -r",
        "shopt -s extdebug; trap false DEBUG",
        "enable -n printf",
        "builtin() { :; }",
        "stty olcuc",
        "alias builtin=false __eai_begin=false __eai_end=false __eai_prompt=false trap=false",
        "set -o posix",
        "TMOUT=1",
        "IFS=0123456789abcdef_",
        "ulimit -f 0",
    ],
)
async def test_habits_of_a_script_do_not_outlive_it(ground, script):
    await ground.run("a=one")
    with anyio.fail_after(15):
        await ground.run(f"{script}; true")
    assert await fine(ground) == FINE
    assert await ground.said('echo "$a"') == ("one\n", 0)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("trap 'echo err' ERR; false", "err\n"),
        ("trap 'echo dbg' DEBUG; :", "dbg\n"),
        ("trap 'echo out' EXIT; echo in", "in\nout\n"),
        ("trap 'echo out' EXIT; exit 1", "out\n"),
        ("trap 'echo out' EXIT; trap - EXIT; echo in", "in\n"),
    ],
)
async def test_a_trap_fires_for_the_script_that_sets_it_alone(ground, script, says):
    assert (await ground.said(f"cd /; a=1; {script}"))[0] == says
    assert await ground.said("pwd; echo $a; (exit 3)") == ("/\n1\n", 3)


async def test_a_state_that_cannot_be_written_leaves_the_former_one(ground):
    await ground.run("a=1")
    run = await ground.run("a=2; ulimit -f 0; kill -9 $$")
    assert "what the script changed in it is lost" in run.note
    assert await ground.said("echo $a; a=3; ulimit -f 0; exit 4") == ("1\n", 4)
    assert await ground.said("echo $a") == ("1\n", 0)


async def test_a_folder_for_scripts_that_is_gone_is_made_again(ground):
    await ground.run("a=1; rm -rf ../scripts")
    assert await ground.said("echo $a") == ("1\n", 0)


async def test_a_script_that_cannot_be_written_is_told(ground):
    await ground.run("rm -rf ../scripts; touch ../scripts")
    with pytest.raises(StorageUnavailable, match="the script cannot be written"):
        await ground.run("true")
    assert ground.terminals.running("", "work") is None


async def test_a_script_that_comes_while_its_terminal_is_closed_runs(ground):
    """Issue 7: idle reaping."""
    await ground.run("trap '' HUP; a=1")
    ground.now = 2000.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ground.terminals.reap)
        await anyio.lowlevel.checkpoint()
        assert await fine(ground) == FINE


async def test_a_job_that_takes_the_terminal_ends_when_the_next_script_begins(ground):
    code = TAKES_THE_FOREGROUND.replace("SHELL", "int(os.environ['SHELL_PID'])")
    await ground.run(f"a=1; cat >job.py <<'END'\n{code}END\nSHELL_PID=$$ python3 job.py")
    with anyio.fail_after(10):
        while not (ground.sandbox.folder("", "work") / "taken").exists():
            await anyio.lowlevel.checkpoint()
    assert await ground.said("echo fine $a; (exit 3)") == ("fine 1\n", 3)


async def test_jobs_that_ended_before_a_script_are_not_told_in_it(ground):
    pid, _ = await ground.said("sleep 1000 & echo $!")
    processes.send(signal.SIGKILL, [int(pid)])
    assert await fine(ground) == FINE


async def test_a_shell_that_cannot_say_how_a_script_ended_is_renewed(ground):
    await ground.run("a=1")
    run = await ground.started("builtin() { :; }; echo on", until="on")
    with anyio.fail_after(10):
        await run.done.wait()
    assert (run.status, run.exit_code) == ("exited", None)
    assert "could not tell how the script ended" in run.note
    assert await ground.said("echo $a") == ("1\n", 0)


async def test_a_shell_that_reads_in_a_script_is_not_mistaken_for_one_at_its_prompt(ground):
    run = await ground.terminals.run("", "work", "read -p 'name: ' name; echo $name")
    await printed(run, "name: ")
    assert not await run.wait(1.8, until_prompt=False)
    await ground.terminals.write("", "work", b"me\r")
    with anyio.fail_after(10):
        assert await run.wait(9, until_prompt=False)
    assert (run.page(offset=6).text, run.exit_code) == ("me\n", 0)
