"""Whether a program waits to be typed to, and typing to it."""

import anyio
import pytest

from eai_mcp.errors import InvalidArgument, LimitExceeded, NotFound
from eai_mcp.terminal.keys import keys
from eai_mcp.terminal.waiting import looks_like_prompt


async def waiting(run):
    with anyio.fail_after(10):
        assert not await run.wait(9)
    return run.waiting_for_input


WAITING = [
    "read -p 'name: ' name",
    "read name",
    "cat",
    "python3 -c 'input()'",
    "python3 -qi",
    "sh -c 'sh -c cat'",
    "true | sh -c 'cat </dev/tty'",
    "python3 -c 'import select; select.select([0], [], [])'",
    "python3 -c 'import select; p = select.poll(); p.register(0, 1); p.poll()'",
    "python3 -c 'import select; e = select.epoll(); e.register(0, 1); e.poll()'",
    "python3 -c 'import threading; threading.Thread(target=input).start()'",
    "printf 'more? '; python3 -c 'import os, select; select.select([0, os.pipe()[0]], [], [])'",
]
AT_WORK = [
    "printf 'name: '; sleep 1000",
    "printf 'name: '; while :; do :; done",
    "printf 'name: '; python3 -c 'while True: pass'",
    "printf 'name: '; mkfifo never; cat never",
    "python3 -c 'import os, select; select.select([0, os.pipe()[0]], [], [])'",
    "printf 'name: '; python3 -c 'import os, select; select.select([os.pipe()[0]], [], [])'",
    "printf 'name: '; sh -c 'sleep 1000 & wait'",
]


async def test_a_program_that_waits_to_be_typed_to_is_seen(ground):
    """Issue 7: detects a waiting prompt."""
    runs = [await ground.terminals.run("", f"t{number}", script) for number, script in enumerate(WAITING)]

    assert {run.script: await waiting(run) for run in runs} == dict.fromkeys(WAITING, True)
    assert [standing.waiting_for_input for standing in ground.terminals.standing("")] == [True] * len(runs)


async def test_a_program_that_is_at_work_does_not_count(ground):
    runs = [await ground.terminals.run("", f"t{number}", script) for number, script in enumerate(AT_WORK)]

    assert not await runs[-1].wait(1.0)
    assert {run.script: run.waiting_for_input for run in runs} == dict.fromkeys(AT_WORK, False)


async def test_typed_text_reaches_the_program_that_waits(ground):
    run = await ground.terminals.run("", "work", "read -p 'name: ' name; echo \"hello $name\"")
    assert await waiting(run)
    assert run.page().text == "name: "
    assert await ground.terminals.write("", "work", "Jörg".encode() + keys(["Enter"])) == 6
    with anyio.fail_after(10):
        assert await run.wait(9)
    assert (run.page(offset=6).text, run.exit_code) == ("hello Jörg\n", 0)


async def test_a_dialogue_goes_on(ground):
    run = await ground.terminals.run("", "work", "python3 -qi")
    for typed, answer in ((b"a = 6\r", ""), (b"print(a * 7)\r", "42\n"), (b"exit(3)\r", "")):
        assert await waiting(run)
        at = await ground.terminals.write("", "work", typed)
        assert not run.waiting_for_input
    with anyio.fail_after(10):
        assert await run.wait(9)
    assert "42\n" in run.page().text
    assert (at > 0, answer, run.exit_code) == (True, "", 3)


async def test_keys_work_as_at_a_terminal(ground):
    """Issue 7: raw input with named keys."""
    run = await ground.terminals.run("", "work", "cat; echo end of input; cat")
    assert await waiting(run)
    await ground.terminals.write("", "work", b"one" + keys(["Enter", "Ctrl-D"]))
    assert await waiting(run)
    await ground.terminals.write("", "work", keys(["Ctrl-C"]))
    with anyio.fail_after(10):
        assert await run.wait(9)
    assert (run.page().text.rstrip(), run.exit_code, run.status) == ("one\nend of input", 130, "exited")


async def test_much_that_is_typed_arrives_whole(ground):
    run = await ground.started("echo on; wc -c", until="on")
    with anyio.fail_after(10):
        await ground.terminals.write("", "work", b"x" * 99 + b"\n" + (b"y" * 999 + b"\n") * 300 + b"\x04")
        assert await run.wait(9, until_prompt=False)
    assert run.page().text == "on\n300100\n"


async def test_what_no_program_could_read_is_refused(ground):
    await ground.started("echo on; cat >/dev/null", until="on")
    with pytest.raises(InvalidArgument, match="at most 4095"):
        await ground.terminals.write("", "work", b"x" * 5000)


async def test_typing_to_a_program_that_does_not_read_ends(ground):
    await ground.started("echo on; sleep 1000", until="on")
    with anyio.fail_after(12), pytest.raises(LimitExceeded, match="does not read its input") as refused:
        await ground.terminals.write("", "work", (b"y" * 999 + b"\n") * 300)
    assert refused.value.details["actual"] == 300_000


@pytest.mark.parametrize(
    "typed", [b"touch typed\r", b"echo 'open\r", b"cat <<END\r", b"half a line", b"if true\r", b"a=2\r" * 900]
)
async def test_what_was_typed_and_not_read_is_gone_after_an_interrupt(ground, typed):
    """Issue 7: interrupt … next turn clean."""
    run = await ground.started("a=1; echo on; sleep 1000", until="on")
    await ground.terminals.write("", "work", typed)
    with anyio.fail_after(5):
        await run.interrupt()
    assert run.status == "interrupted"
    assert await ground.said("echo $a *") == ("1 *\n", 0)


async def test_what_is_still_being_typed_is_given_up_by_an_interrupt(ground):
    run = await ground.started("a=1; echo on; stty raw; echo raw; sleep 1000", until="raw")
    async with anyio.create_task_group() as tasks:

        async def typed():
            with pytest.raises(LimitExceeded, match="does not read its input"):
                await ground.terminals.write("", "work", b"touch typed\n" * 10_000)

        tasks.start_soon(typed)
        await anyio.wait_all_tasks_blocked()
        await run.interrupt()
    assert await ground.said("echo $a *") == ("1 *\n", 0)


async def test_typing_needs_a_script(ground):
    with pytest.raises(NotFound):
        await ground.terminals.write("", "none", b"x")
    await ground.run("true")
    with pytest.raises(NotFound, match="no script runs in the terminal 'work'"):
        await ground.terminals.write("", "work", b"x")


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("Password: ", True),
        ("Continue? ", True),
        ("Proceed (y/n)", True),
        ("Proceed [Y/n] ", True),
        ("Overwrite [yes/No]? ", True),
        (">>> ", True),
        ("$ ", True),
        ("root# ", True),
        ("", False),
        ("Compiling", False),
        ("45%", False),
        ("[=====     ]", False),
        ("done.", False),
    ],
)
def test_a_line_that_asks_looks_like_it(line, asks):
    assert looks_like_prompt(line) is asks
